"""Nothing in Redis is trusted: what this fleet did not sign is set aside unread, and never imported or run."""

from __future__ import annotations

import json
import pickle
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rq import Queue as RQQueue
from rq.serializers import PickleSerializer

from jobs.engine import Fleet, Untrusted, connect, envelope, keys
from jobs.engine.envelope import Envelope
from jobs.settings import Settings
from tests.conftest import wait_until
from tests.engine.conftest import told, until_ended, until_quarantined
from tests.engine.samples import gated
from tests.engine.samples import jobs as samples

Spawn = Callable[..., subprocess.Popen[bytes]]


class Canary:
    """Unpickling this touches a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def change(fleet: Fleet, job_id: str, edit: Callable[[list[Any]], None]) -> None:
    """Rewrite an enqueued job's arguments as somebody with access to Redis might."""
    call = json.loads(fleet.redis.hget(keys.job(job_id), "data") or b"")
    edit(call)
    fleet.redis.hset(keys.job(job_id), "data", json.dumps(call))


def other_payload(call: list[Any]) -> None:
    call[2][1] = call[2][1].replace("one", "two")


def other_name(call: list[Any]) -> None:
    call[2][0] = "samples.dies"


def other_tenant(call: list[Any]) -> None:
    call[2][2]["tenant"] = "victim"


def no_signature(call: list[Any]) -> None:
    del call[2][2]["sig"]


def unknown_key(call: list[Any]) -> None:
    call[2][2]["kid"] = "mine"


def other_function(call: list[Any]) -> None:
    call[0], call[2] = "os.system", ["touch /tmp/owned"]


def an_instance(call: list[Any]) -> None:
    call[1] = {"py/object": "os.system"}


def no_headers(call: list[Any]) -> None:
    del call[2][2]


@pytest.mark.parametrize(
    "edit",
    [other_payload, other_name, other_tenant, no_signature, unknown_key, other_function, an_instance, no_headers],
)
def test_a_job_that_was_altered_is_set_aside_and_not_run(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, edit: Callable[[list[Any]], None]
) -> None:
    job = samples.hopeless.enqueue({"folder": str(folder), "name": "one"})
    change(fleet, job.id, edit)
    data = fleet.redis.hget(keys.job(job.id), "data")
    spawn_worker()
    view = until_quarantined(fleet, job.id)
    assert view.error is not None
    assert view.error.type == "Quarantined"
    assert told(folder, "one") == told(folder, "two") == []
    assert fleet.redis.hget(keys.job(job.id), "data") == data, "unread and restorable"
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"


def test_a_signed_job_under_another_id_is_set_aside(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    job = samples.hopeless.enqueue({"folder": str(folder)})
    fleet.redis.copy(keys.job(job.id), keys.job("replayed"))
    fleet.jobs.cancel(job.id)
    fleet.redis.rpush(keys.queue("default"), "replayed")
    spawn_worker()
    until_quarantined(fleet, "replayed")
    assert told(folder) == []


def test_a_job_whose_type_was_swapped_in_its_hash_is_set_aside(fleet: Fleet, spawn_worker: Spawn) -> None:
    job = samples.double.enqueue({})
    fleet.redis.hset(keys.job(job.id), "type", "samples.greedy")
    spawn_worker()
    until_quarantined(fleet, job.id)


@pytest.mark.parametrize("gates", [None, "limit:samples.pair=99", "limit:samples.other=2"])
def test_a_job_whose_limits_were_altered_in_its_hash_is_set_aside(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, gates: str | None
) -> None:
    job = gated.pair.enqueue({"folder": str(folder)})
    if gates is None:
        fleet.redis.hdel(keys.job(job.id), "gates")
    else:
        fleet.redis.hset(keys.job(job.id), "gates", gates)
    spawn_worker()
    until_quarantined(fleet, job.id)
    assert told(folder) == []
    assert fleet.redis.zcard(keys.held("limit:samples.pair")) == 0


def test_an_undeclared_callback_sets_the_job_aside(fleet: Fleet, spawn_worker: Spawn) -> None:
    job = samples.double.enqueue({})
    fleet.redis.hset(keys.job(job.id), "success_callback_name", "os.system")
    spawn_worker()
    until_quarantined(fleet, job.id)


def test_a_pickle_is_never_loaded(fleet: Fleet, spawn_worker: Spawn, tmp_path: Path) -> None:
    queue = RQQueue("default", connection=fleet.redis, serializer=PickleSerializer)
    job = queue.enqueue(print, Canary(tmp_path / "owned"))
    spawn_worker(FOREIGN_JOBS="*")
    until_quarantined(fleet, job.id)
    assert not (tmp_path / "owned").exists()


def test_a_pickle_in_meta_is_never_loaded(fleet: Fleet, spawn_worker: Spawn, tmp_path: Path) -> None:
    job = samples.double.enqueue({})
    fleet.redis.hset(keys.job(job.id), "meta", pickle.dumps(Canary(tmp_path / "owned")))
    spawn_worker()
    assert until_ended(fleet, job).status == "completed"
    assert not (tmp_path / "owned").exists()


def test_malformed_jobs_are_set_aside_and_no_worker_ends(fleet: Fleet, spawn_worker: Spawn) -> None:
    worker = spawn_worker()
    fleet.redis.set(keys.job("a-string"), "x")
    fleet.redis.hset(keys.job("no-status"), "data", "x")
    fleet.redis.hset(keys.job("no-data"), mapping={"status": "queued"})
    fleet.redis.hset(keys.job("not-json"), mapping={"status": "queued", "data": b"\x80\xff", "timeout": "soon"})
    fleet.redis.hset(keys.job("bomb"), mapping={"status": "queued", "data": zlib.compress(b"[" * 10_000_000)})
    ids = ["a-string", "no-status", "no-data", "not-json", "bomb", "not-there"]
    fleet.redis.rpush(keys.queue("default"), *ids)
    wait_until(lambda: fleet.redis.zcard(keys.QUARANTINE) == 5)
    reasons = {key.decode(): json.loads(value) for key, value in fleet.redis.hgetall(keys.QUARANTINE_REASONS).items()}
    assert set(reasons) == set(ids) - {"not-there"}
    assert reasons["a-string"] == {"queue": "default", "reason": "the job is not a hash"}
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    assert worker.poll() is None


@pytest.mark.parametrize("field", ["attempts", "deaths", "retries_left", "deadline", "timeout", "topics", "unique_key"])
def test_nonsense_in_a_field_neither_stops_the_worker_nor_loses_the_job(
    fleet: Fleet, spawn_worker: Spawn, folder: Path, field: str
) -> None:
    worker = spawn_worker()
    fleet.redis.set("rq:events::nonsense:1", "no stream")
    fleet.redis.rpush(keys.FLEET + ":unique:nonsense:1", "no string")
    jobs = [samples.flaky.enqueue({"folder": str(folder), "name": f"n{n}"}) for n in range(2)]
    dying = samples.dies.enqueue({"folder": str(folder), "name": "dies"})
    for job in (*jobs, dying):
        fleet.redis.hset(keys.job(job.id), field, "nonsense:1")
    for job in (*jobs, dying):
        assert until_ended(fleet, job).status in ("completed", "quarantined")
    assert until_ended(fleet, samples.double.enqueue({})).status == "completed"
    assert worker.poll() is None
    assert fleet.redis.zcard(keys.LEASES) == 0


def test_old_signing_keys_verify_until_they_are_taken_away(environ: dict[str, str]) -> None:
    def fleet(signing: str) -> Fleet:
        return connect(Settings.from_env({**environ, "JOB_SIGNING_KEYS": signing}))

    old = fleet("k1:old-secret-0123456789")
    sealed = Envelope("id", "samples.double", "{}", "t", "c")
    args = envelope.decode(old.keys.seal("samples.double", "t").data("id", "{}", "c")).args
    rotated = fleet("k2:new-secret-0123456789,k1:old-secret-0123456789")
    assert rotated.keys.verify("id", *args) == sealed
    assert envelope.decode(rotated.keys.seal("samples.double", "t").data("id", "{}", "c")).args[2]["kid"] == "k2"
    with pytest.raises(Untrusted, match="unknown key"):
        fleet("k2:new-secret-0123456789").keys.verify("id", *args)
