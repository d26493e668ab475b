"""Jobs that fail on stock workers are letters, too: once each, also when their worker died or a reply was lost."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rq import Queue, Worker
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, JobView, keys, letter_finding
from jobs.engine.scripts import script
from tests.conftest import wait_until
from tests.engine.dead_letters.conftest import failure, ids, let_die
from tests.engine.lossy_proxy import LossyProxy
from tests.engine.samples import jobs as samples
from tests.engine.samples import mortal

FUNCTIONS = "tests.engine.foreign_functions"
Drain = Callable[[], None]


def abandon(fleet: Fleet, job: JobView) -> None:
    """As a stock worker that died in the job leaves it, until RQ's own clean-up comes."""
    fleet.redis.lrem(keys.queue("default"), 1, job.id)
    fleet.redis.hset(keys.job(job.id), mapping={"status": "started", "retries_left": 0})
    registry = StartedJobRegistry("default", connection=fleet.redis, serializer=JSONSerializer)
    fleet.redis.zadd(registry.key, {f"{job.id}:dead": 1})
    registry.cleanup()


def test_a_job_whose_stock_worker_died_is_a_letter(fleet: Fleet) -> None:
    job = samples.double.enqueue({}, tenant="acme")
    abandon(fleet, job)
    assert (fleet.jobs.get(job.id).status, ids(fleet)) == ("failed", [])
    assert letter_finding.find(fleet.redis, fleet.settings) == 1
    assert letter_finding.find(fleet.redis, fleet.settings) == 0
    letter = fleet.dead_letters.get(job.id)
    assert (letter.type, letter.tenant, letter.text) == ("samples.double", "acme", "WorkerLost: its worker was lost")
    assert letter.died_at - datetime.now(UTC) < timedelta(minutes=1)
    fleet.dead_letters.retry_one(job.id, by="me")
    assert ids(fleet) == []


def test_a_plain_job_that_failed_on_a_stock_worker_is_a_letter(fleet: Fleet, folder: Path) -> None:
    queue = Queue("reports", connection=fleet.redis, serializer=JSONSerializer)
    job = queue.enqueue(f"{FUNCTIONS}.fail", str(folder / "job.told"), description="a plain job")
    Worker([queue], connection=fleet.redis, serializer=JSONSerializer).work(burst=True)
    assert Job.fetch(job.id, connection=fleet.redis, serializer=JSONSerializer).get_status() == "failed"
    letter_finding.find(fleet.redis, fleet.settings)
    (letter,) = fleet.dead_letters.find().items
    assert (letter.id, letter.type, letter.text.partition(":")[0]) == (job.id, "a plain job", "ValueError")


def test_one_look_of_any_worker_is_enough_for_a_while(fleet: Fleet) -> None:
    abandon(fleet, samples.double.enqueue({}))
    assert letter_finding.find(fleet.redis, fleet.settings, every=timedelta(hours=1)) == 1
    abandon(fleet, samples.double.enqueue({}))
    assert letter_finding.find(fleet.redis, fleet.settings, every=timedelta(hours=1)) == 0
    assert letter_finding.find(fleet.redis, fleet.settings) == 1


def test_workers_find_them(fleet: Fleet, spawn_worker: Callable[..., object]) -> None:
    job = samples.double.enqueue({})
    abandon(fleet, job)
    spawn_worker()
    wait_until(lambda: ids(fleet) == [job.id])


def test_letters_that_went_because_of_the_bounds_are_not_found_again(fleet: Fleet) -> None:
    jobs = samples.double.enqueue_many([{}] * 4)
    for job in jobs:
        abandon(fleet, job)
    bounds = {"dead_letter_max_count": 2, "dead_letter_max_age": timedelta(hours=1)}
    settings = fleet.settings.model_copy(update=bounds)
    fleet.redis.hset(keys.job(jobs[0].id), "ended_at", "2026-01-01T00:00:00.000000Z")
    assert letter_finding.find(fleet.redis, settings) == 3
    script("bound_dead_letters")(fleet.redis, keys.PREFIX, 3600, 2, 500, "")
    assert letter_finding.find(fleet.redis, settings) == 0
    assert len(ids(fleet)) == 2


def test_a_round_goes_on_where_the_last_one_ended(fleet: Fleet) -> None:
    jobs = samples.double.enqueue_many([{}] * 1500)
    for job in jobs:
        fleet.redis.hset(keys.job(job.id), "status", "failed")
    fleet.redis.zadd(keys.registry("failed", "default"), {job.id: 9e9 for job in jobs})
    rounds = [letter_finding.find(fleet.redis, fleet.settings) for _ in range(8)]
    assert sum(rounds) == 1500
    assert max(rounds) < 1500


def test_a_letter_whose_answer_was_lost_is_counted_once(
    fleet: Fleet, environ: dict[str, str], stock_worker: Drain, folder: Path
) -> None:
    proxy = LossyProxy(fleet.redis.connection_pool.connection_kwargs["port"])
    lost: list[bytes] = []

    def once(request: bytes, _reply: bytes) -> bool:
        is_first = script("bury").sha.encode() in request and b"NOSCRIPT" not in _reply and not lost
        lost.extend([request] if is_first else [])
        return is_first

    proxy.loses_reply = once
    environ["REDIS_URL"] = proxy.url
    job = mortal.once.enqueue({"folder": str(folder), "number": 3})
    script("bury")(fleet.redis, keys.PREFIX, "none", "x", json.dumps(failure().letter(1)), "", "1")
    stock_worker()
    assert len(lost) == 1
    assert ids(fleet) == [job.id]
    assert fleet.dead_letters.exhausted()[0].types == {"mortal.once": 1}
    (group,) = fleet.dead_letters.groups().items
    assert group.seen == 1
    proxy.close()


@pytest.mark.parametrize(
    "told", [b"", b"\xff\xfe", b64encode(zlib.compress(b"Traceback\nno colon here at all")), b"x" * 10_000]
)
def test_whatever_rq_noted_of_it_makes_a_letter(fleet: Fleet, told: bytes) -> None:
    job = samples.double.enqueue({})
    fleet.redis.hset(keys.job(job.id), "status", "failed")
    fleet.redis.xadd(keys.results(job.id), {"type": 2, "exc_string": told})
    fleet.redis.zadd(keys.registry("failed", "default"), {job.id: 9e9})
    letter_finding.find(fleet.redis, fleet.settings)
    assert fleet.dead_letters.get(job.id).text.startswith("Failed")


def test_a_letter_that_a_fleet_worker_wrote_stays_as_it_is(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    let_die(fleet, [job])
    before = fleet.dead_letters.get(job.id)
    assert letter_finding.find(fleet.redis, fleet.settings) == 0
    assert fleet.dead_letters.get(job.id) == before
