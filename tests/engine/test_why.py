"""Why a job waits: the reason that is told is the one that keeps it, and it is gone when that is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from rq import Queue as RQQueue
from rq import Worker
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, JobView, NotFound, Queue, Waiting, keys
from jobs.engine.worker.leasing import SLOT, Ask, Leases
from tests.engine.leases import leases_of, settle
from tests.engine.samples import gated
from tests.engine.samples import jobs as samples
from tests.engine.test_gates import DONE, TOLD, lease


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return {**environ, "AUDIT_RATE_LIMIT_PER_HOUR": "2"}


@pytest.fixture
def worker(fleet: Fleet) -> Leases:
    """A worker that listens to the queue `default`."""
    worker = leases_of(fleet)
    worker.renew("idle", [])
    return worker


def why(fleet: Fleet, job: JobView) -> Waiting:
    """The reason, which a job that waits always has."""
    found = fleet.jobs.why(job.id, job.tenant)
    assert found is not None
    return found


def told(fleet: Fleet, job: JobView) -> tuple[str, str | None, int | None]:
    found = why(fleet, job)
    return found.reason, found.what, found.ahead


def test_a_place_in_the_queue_is_counted(fleet: Fleet, worker: Leases) -> None:
    first, second = samples.double.enqueue_many([{}, {}])
    assert (told(fleet, first), told(fleet, second)) == (("queue", None, 0), ("queue", None, 1))
    assert why(fleet, second).text == "It is in its queue, behind 1 others."
    lease(worker, 1)
    assert (fleet.jobs.why(first.id), told(fleet, second)) == (None, ("queue", None, 0))
    fleet.redis.lmove(keys.queue("default"), keys.inbox("w1", "default"), "LEFT", "RIGHT")
    assert told(fleet, second) == ("queue", None, 0)


def test_a_long_queue_is_searched_for_a_while_only(fleet: Fleet, worker: Leases) -> None:
    fleet.redis.rpush(keys.queue("default"), *range(10_000))
    job = samples.double.enqueue({})
    assert (why(fleet, job).ahead, why(fleet, job).at_least) == (10_000, True)
    assert "behind at least 10000 others" in why(fleet, job).text


def test_a_queue_that_nobody_listens_to_says_so(fleet: Fleet) -> None:
    leases_of(fleet, queue="low").renew("idle", [])
    job = samples.double.enqueue({})
    assert told(fleet, job) == ("no_worker", "queue:default", None)
    stock = Worker([RQQueue("default", connection=fleet.redis)], connection=fleet.redis, serializer=JSONSerializer)
    stock.register_birth()
    assert told(fleet, job) == ("queue", None, 0), "RQ's own workers count"


def test_what_is_paused_or_suspended_is_named(fleet: Fleet, worker: Leases) -> None:
    job = samples.double.enqueue({})
    for what in ("lane:default", "queue:default", "worker:w1"):
        fleet.pauses.pause(what)
        assert told(fleet, job) == ("paused", what, None)
        fleet.pauses.resume(what)
    fleet.redis.set("rq:suspended", 1)
    assert told(fleet, job)[0] == "suspended"
    fleet.redis.delete("rq:suspended")
    assert told(fleet, job)[0] == "queue"


def test_another_worker_that_is_not_paused_takes_the_queue(fleet: Fleet, worker: Leases) -> None:
    job = samples.double.enqueue({})
    leases_of(fleet, "w2").renew("idle", [])
    fleet.pauses.pause("worker:w1")
    assert told(fleet, job)[0] == "queue"


def test_a_full_lane_is_named(fleet: Fleet, worker: Leases) -> None:
    jobs = samples.double.enqueue_many([{}] * 3)
    worker.lease(Ask("r1", 3 * SLOT, {"default": SLOT}))
    assert told(fleet, jobs[2]) == ("lane_full", "lane:default", 1)
    lease(worker)
    assert fleet.jobs.why(jobs[2].id) is None


def test_what_keeps_a_plain_clients_job_is_told_too(fleet: Fleet, worker: Leases) -> None:
    queue = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer)
    first, second = (fleet.jobs.get(queue.enqueue("tests.engine.foreign_functions.add", 1, n).id) for n in range(2))
    assert (told(fleet, first), told(fleet, second)) == (("queue", None, 0), ("queue", None, 1))
    for what in ("queue:default", "lane:default"):
        fleet.pauses.pause(what)
        assert told(fleet, second) == ("paused", what, None)
        fleet.pauses.resume(what)
    worker.lease(Ask("r1", 2 * SLOT, {"default": SLOT}))
    assert (fleet.jobs.why(first.id), told(fleet, second)) == (None, ("lane_full", "lane:default", 0))
    later = queue.enqueue_in(timedelta(hours=1), "tests.engine.foreign_functions.add", 1, 2)
    assert why(fleet, fleet.jobs.get(later.id)).reason == "scheduled"


def test_a_limit_names_the_jobs_that_hold_it_but_not_another_tenants(fleet: Fleet, worker: Leases) -> None:
    theirs = gated.pair.enqueue(TOLD, tenant="other")
    ours, waits, last = gated.pair.enqueue_many([TOLD] * 3, tenant="acme")
    running = lease(worker)
    found = why(fleet, waits)
    assert (found.reason, found.what, found.ahead) == ("limit", "limit:samples.pair", 0)
    assert (found.jobs, found.others) == ((ours.id,), 1)
    assert theirs.id not in str(found)
    settle(worker, *((run, DONE) for run in running))
    assert (told(fleet, waits), told(fleet, last)) == (("queue", None, 0), ("queue", None, 1))


def test_a_turn_counts_the_tenants_own_jobs(fleet: Fleet, worker: Leases) -> None:
    jobs = gated.fair.enqueue_many([{"tenant_id": "acme"}] * 3)
    assert told(fleet, jobs[0]) == ("queue", None, 0)
    assert (why(fleet, jobs[1]).reason, why(fleet, jobs[1]).ahead) == ("turn", 1)
    assert why(fleet, jobs[2]).ahead == 2


def test_a_rate_window_says_until_when(fleet: Fleet, worker: Leases) -> None:
    jobs = gated.metered.enqueue_many([TOLD] * 3)
    lease(worker)
    found = why(fleet, jobs[2])
    assert (found.reason, found.what, found.ahead) == ("rate_window", "lane:audit", 0)
    assert found.until is not None
    assert timedelta(minutes=59) < found.until - datetime.now(UTC) <= timedelta(minutes=60, seconds=1)


def test_a_delay_and_a_retry_say_until_when(fleet: Fleet, worker: Leases) -> None:
    when = datetime(2040, 1, 1, 12, 0, 0, 5000, tzinfo=UTC)
    delayed = why(fleet, samples.double.enqueue_at(when, {}))
    assert (delayed.reason, delayed.until) == ("scheduled", when)
    job = samples.later.enqueue(TOLD)
    (running,) = lease(worker)
    again = type(DONE)("retry", wait=timedelta(minutes=10))
    settle(worker, (running, again))
    found = why(fleet, job)
    assert (found.reason, found.until is not None) == ("retry", True)


def test_a_job_that_depends_on_others_names_them(fleet: Fleet, worker: Leases) -> None:
    first = samples.double.enqueue({})
    queue = RQQueue("default", connection=fleet.redis, serializer=JSONSerializer)
    second = queue.enqueue("time.time", depends_on=first.id)
    found = fleet.jobs.why(second.id)
    assert found is not None
    assert (found.reason, found.jobs) == ("dependencies", (first.id,))


def test_a_job_that_was_taken_out_of_its_list_by_hand_is_not_said_to_be_in_it(fleet: Fleet, worker: Leases) -> None:
    job = samples.double.enqueue({}, priority=Queue.DEFAULT)
    fleet.redis.lrem(keys.queue("default"), 1, job.id)
    assert told(fleet, job)[0] == "nowhere"


def test_a_job_that_does_not_wait_has_no_reason_and_another_tenants_is_unknown(fleet: Fleet, worker: Leases) -> None:
    job = samples.double.enqueue({}, tenant="acme")
    with pytest.raises(NotFound):
        fleet.jobs.why(job.id, "other")
    (running,) = lease(worker)
    assert fleet.jobs.why(job.id) is None
    settle(worker, (running, DONE))
    assert fleet.jobs.why(job.id) is None
