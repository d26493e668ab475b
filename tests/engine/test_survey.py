"""The survey: counts from where jobs really lie, estimates of long queues, and what each worker says of itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rq import Worker as RQWorker
from rq.serializers import JSONSerializer

from jobs import __version__
from jobs.engine import Fleet, Queue, keys
from jobs.engine.statistics import Counted, Tally
from jobs.engine.survey import Counts, Lane, Queued, Worker
from jobs.settings import Settings
from tests.conftest import wait_until
from tests.engine.leases import leases_of, put
from tests.engine.samples import jobs as samples
from tests.engine.test_gates import lease

Spawn = Callable[..., subprocess.Popen[bytes]]


def queue(fleet: Fleet, name: str) -> Queued:
    return next(each for each in fleet.survey.queues() if each.name == name)


def lane(fleet: Fleet, name: str) -> Lane:
    return next(each for each in fleet.survey.lanes() if each.name == name)


def worker(fleet: Fleet) -> Worker:
    (only,) = fleet.survey.workers()
    return only


def test_a_queue_counts_its_jobs_in_every_state(fleet: Fleet) -> None:
    assert [each.name for each in fleet.survey.queues()] == ["critical", "default", "low"]
    assert queue(fleet, "default") == Queued(name="default", counts=Counts())
    samples.double.enqueue_many([{}] * 4)
    samples.double.enqueue_in(timedelta(hours=1), {})
    lease(leases_of(fleet), 1)
    fleet.redis.sadd(f"{keys.FLEET}:overflowed:default", "audit")
    fleet.redis.rpush(keys.overflow("default", "audit"), "a", "b")
    fleet.redis.zadd(keys.registry("failed", "default"), {"f": 2**40})
    fleet.redis.zadd(keys.registry("finished", "default"), {"g": 2**40, "h": 2**40})
    fleet.pauses.pause("queue:default")
    found = queue(fleet, "default")
    assert found.counts == Counts(active=1, waiting=3, completed=2, failed=1, delayed=1, parked=2)
    assert found.paused and found.oldest_wait is not None
    assert queue(fleet, "low") == Queued(name="low", counts=Counts())


def test_the_oldest_wait_is_that_of_the_job_at_the_head(fleet: Fleet) -> None:
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    put(fleet.redis, "old", enqueued_at=an_hour_ago.isoformat())
    put(fleet.redis, "new", enqueued_at=datetime.now(UTC).isoformat())
    oldest = queue(fleet, "default").oldest_wait
    assert oldest is not None and 3600 <= oldest < 3700


@pytest.mark.parametrize(("number", "estimated"), [(200, False), (4000, True)])
def test_a_lanes_waiting_jobs_are_counted_or_of_long_queues_estimated(
    fleet: Fleet, number: int, estimated: bool
) -> None:
    with fleet.redis.pipeline(transaction=False) as pipe:
        for n in range(number):
            put(pipe, f"job-{n}", lane="audit" if n % 4 == 0 else "chat")
        pipe.execute()
    audit, chat = lane(fleet, "audit"), lane(fleet, "chat")
    assert (audit.estimated, audit.counts.waiting + chat.counts.waiting) == (estimated, number)
    assert audit.counts.waiting == pytest.approx(number / 4, rel=0.2 if estimated else 0)


def test_a_lane_counts_what_was_put_aside_what_ended_and_what_is_delayed(fleet: Fleet) -> None:
    fleet.redis.sadd(f"{keys.FLEET}:overflowed:low", "audit")
    fleet.redis.rpush(keys.overflow("low", "audit"), "a", "b")
    samples.audited.enqueue_in(timedelta(hours=1), {"folder": "/"})
    tally = Tally("w1")
    tally.count([Counted("low", "audit", "samples.audited", end, 1.0) for end in ("finished", "finished", "failed")])
    tally.flush(fleet.redis)
    fleet.pauses.pause("lane:audit")
    fleet.breakers.open("audit", "siem", timedelta(minutes=1))
    found = lane(fleet, "audit")
    assert found.counts == Counts(parked=2, completed=2, failed=1, delayed=1)
    assert (found.paused, found.slots, [each.provider for each in found.breakers]) == (True, 2, ["siem"])


def test_windows_and_limits_tell_how_far_they_are_used_and_who_waits(environ: dict[str, str]) -> None:
    fleet = Fleet(Settings.from_env(environ | {"AUDIT_RATE_LIMIT_PER_MINUTE": "2"})).discover()
    client = fleet.client
    client.enqueue_by_name("samples.audited", {"folder": "/"}, {})
    leases = leases_of(fleet, queue="low")
    lease(leases, 1)
    (window,) = lane(fleet, "audit").windows
    assert (window.count, window.period, window.used, window.opens_at) == (2, 60.0, 1, None)
    for _ in range(3):
        client.enqueue_by_name("samples.audited", {"folder": "/"}, {})
    lease(leases, 3)
    (window,) = lane(fleet, "audit").windows
    (gate,) = fleet.survey.gates()
    assert window.used == 2 and window.opens_at is not None and window.opens_at > datetime.now(UTC)
    assert (gate.key, gate.kind, gate.waiting) == ("window:audit:60000", "window", 2)
    assert lane(fleet, "audit").counts.parked == queue(fleet, "low").counts.parked == 2
    fleet.close()


def test_a_limit_is_named_with_how_many_it_lets_run(fleet: Fleet) -> None:
    for _ in range(5):
        fleet.enqueue("samples.pair", {"folder": "/"})
    lease(leases_of(fleet), 1)
    (gate,) = fleet.survey.gates()
    assert (gate.kind, gate.most, gate.held, gate.waiting) == ("limit", 2, 1, 3)


def test_a_worker_says_what_it_runs_and_what_it_weighs(fleet: Fleet, spawn_worker: Spawn, folder: Path) -> None:
    process = spawn_worker(WORKER_CONCURRENCY="3", RELEASE="")
    job = fleet.enqueue("samples.audited", {"folder": str(folder)}, tenant="acme")
    found = wait_until(lambda: told if (told := worker(fleet)).running and told.processes == 3 else None)
    (run,) = found.running
    assert (run.id, run.type, run.queue, run.lane, run.tenant) == (job.id, "samples.audited", "low", "audit", "acme")
    assert (datetime.now(UTC) - run.since) < timedelta(minutes=1)
    assert (found.state, found.busy, found.slots, found.lanes) == ("busy", 1, 3, {"audit": 1})
    assert (found.version, found.pid, found.is_ours) == (__version__, process.pid, True)
    assert found.memory is not None and found.memory > 10_000_000
    assert found.heartbeat_age is not None and found.heartbeat_age < 3
    assert set(found.queues) == {"critical", "default", "low"}
    assert queue(fleet, "low").workers == 1
    assert lane(fleet, "audit").counts.active == 1
    fleet.pauses.pause(f"worker:{found.name}")
    assert (worker(fleet).state, worker(fleet).paused) == ("paused", True)
    process.kill()
    process.wait(10)
    wait_until(lambda: all(each.state == "lost" for each in fleet.survey.workers()))


def test_a_worker_of_rq_is_told_apart(fleet: Fleet) -> None:
    plain = RQWorker(["default", Queue.LOW.value], connection=fleet.redis, serializer=JSONSerializer, name="plain")
    plain.register_birth()
    found = worker(fleet)
    assert (found.name, found.is_ours, found.queues, found.pid) == ("plain", False, ("default", "low"), os.getpid())
    assert found.version.startswith("rq ")


def test_the_scheduler_that_leads_is_named(fleet: Fleet, spawn: Spawn) -> None:
    spawn("worker.py", "--scheduler")
    (scheduler,) = wait_until(fleet.survey.schedulers)
    assert wait_until(lambda: [each.leads for each in fleet.survey.schedulers()] == [True])
    assert scheduler.heartbeat_age < 5 and "#" not in scheduler.name


def test_rqs_suspension_is_seen(fleet: Fleet) -> None:
    assert not fleet.survey.suspended()
    fleet.redis.set(f"{keys.PREFIX}:suspended", 1)
    assert fleet.survey.suspended()
