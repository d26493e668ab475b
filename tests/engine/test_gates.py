"""Limits, turns and rate windows, one script call at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from jobs.engine import Fleet, JobView, Queue, keys
from jobs.engine.outcome import Outcome
from jobs.engine.worker.leasing import SLOT, Ask, Leased, Leases
from jobs.engine.worker.running import Running
from jobs.settings import Settings
from tests.conftest import wait_until
from tests.engine.leases import leases_of, put, reap_all, settle
from tests.engine.samples import gated as samples

DONE = Outcome("finished")
TOLD = {"folder": "/"}


def ask(leases: Leases, count: int = 10) -> Leased:
    room = SLOT * count
    return leases.lease(Ask(uuid4().hex[:20], room, {"default": room, "audit": room}))


def lease(leases: Leases, count: int = 10) -> list[Running]:
    return ask(leases, count).runs


def ids(found: list[Running] | list[JobView]) -> list[str]:
    return [each.job_id if isinstance(each, Running) else each.id for each in found]


def filed(fleet: Fleet, gate: str, queue: str = "default") -> int:
    return fleet.redis.llen(keys.waiting(queue, gate))


def test_a_limit_holds_for_the_whole_fleet_and_each_end_lets_the_next_begin(fleet: Fleet) -> None:
    jobs = samples.pair.enqueue_many([TOLD] * 5)
    assert (fleet.redis.llen(keys.queue("default")), filed(fleet, "limit:samples.pair")) == (2, 3)
    one, other = leases_of(fleet, "w1"), leases_of(fleet, "w2")
    first, second = lease(one), lease(other)
    assert (ids(first), second) == ([jobs[0].id, jobs[1].id], [])
    for number in (2, 3, 4):
        assert settle(one, (first.pop(0), DONE)) == ["ok"]
        first += lease(other)
        assert ids(first)[-1] == jobs[number].id
    assert settle(one, *((run, DONE) for run in first)) == ["ok", "ok"]
    assert left_over(fleet) == []


def left_over(fleet: Fleet) -> list[str]:
    """The gates' keys that are left."""
    kinds = ("held", "holds", "admitted", "waiting", "gates")
    return sorted(key.decode() for kind in kinds for key in fleet.redis.scan_iter(f"{keys.FLEET}:{kind}*"))


def test_a_limit_by_a_field_is_one_limit_for_each_value(fleet: Fleet) -> None:
    flows = ["a", "a", 'b:="% *', 'b:="% *', 7, 7, "é" * 100, "é" * 100]
    jobs = samples.flow.enqueue_many([{"flow_id": each} for each in flows])
    worker = leases_of(fleet)
    first = lease(worker)
    assert ids(first) == [jobs[n].id for n in (0, 2, 4, 6)]
    settle(worker, *((run, DONE) for run in first))
    assert sorted(ids(lease(worker))) == sorted(jobs[n].id for n in (1, 3, 5, 7))


@pytest.mark.parametrize("kind", ["failed", "cancelled", "retry", "released", "lost", "quarantined"])
def test_however_a_run_ends_its_place_is_free(fleet: Fleet, kind: str) -> None:
    jobs = samples.pair.enqueue_many([TOLD] * 3)
    worker = leases_of(fleet)
    first = lease(worker)
    settle(worker, (first[0], Outcome(kind)))
    given_back = kind in ("released", "lost")
    assert ids(lease(worker)) == [jobs[0 if given_back else 2].id]
    assert fleet.redis.zcard(keys.held("limit:samples.pair")) == 2


def test_what_a_dead_worker_ran_frees_its_place_and_goes_first(fleet: Fleet) -> None:
    jobs = samples.pair.enqueue_many([TOLD] * 6)
    lease(leases_of(fleet, "dies"))
    assert reap_all(fleet, 2) == ["requeued", "requeued"]
    assert sorted(ids(lease(leases_of(fleet)))) == sorted(ids(jobs[:2]))
    assert fleet.redis.zcard(keys.held("limit:samples.pair")) == 2


@pytest.mark.parametrize("tool", ["deleted", "cancelled"])
def test_a_run_whose_job_rq_deleted_or_cancelled_frees_its_place(fleet: Fleet, tool: str) -> None:
    samples.pair.enqueue_many([TOLD] * 3)
    worker = leases_of(fleet)
    first = lease(worker)
    if tool == "deleted":
        fleet.redis.delete(keys.job(first[0].job_id))
    else:
        fleet.redis.hset(keys.job(first[0].job_id), "status", "canceled")
    assert lease(worker) == []
    assert settle(worker, (first[0], DONE)) == ["stale"]
    assert len(lease(worker)) == 1


def test_jobs_that_were_never_filed_are_held_to_the_limit_too(fleet: Fleet) -> None:
    for number in range(300):
        put(fleet.redis, f"plain-{number}", lane="default", gates="limit:samples.pair=99")
    worker = leases_of(fleet)
    leased = ask(worker)
    assert ids(leased.runs) == ["plain-0", "plain-1"], "the release's count, not the job's, is what holds"
    while leased.more:
        leased = ask(worker)
        assert leased.runs == []
    assert filed(fleet, "limit:samples.pair") == 298
    assert fleet.redis.llen(keys.queue("default")) == 0


def test_a_queue_does_not_wait_for_another_ones_jobs_of_the_same_limit(fleet: Fleet) -> None:
    low = samples.pair.enqueue_many([TOLD] * 5, priority=Queue.LOW)
    urgent = samples.pair.enqueue(TOLD, priority=Queue.CRITICAL)
    assert ids(lease(leases_of(fleet, queue="critical"))) == [urgent.id]
    assert ids(lease(leases_of(fleet, queue="low"))) == [low[0].id]


def test_cancelling_and_running_again_leave_no_gap_and_no_double(fleet: Fleet) -> None:
    jobs = samples.pair.enqueue_many([TOLD] * 6)
    for cancelled in (jobs[0], jobs[2], jobs[3]):
        assert fleet.jobs.cancel(cancelled.id).status == "cancelled"
    worker = leases_of(fleet)
    assert fleet.jobs.retry(jobs[3].id).status == "queued"
    first = lease(worker)
    assert ids(first) == [jobs[4].id, jobs[1].id]
    settle(worker, *((run, DONE) for run in first))
    second = lease(worker)
    assert ids(second) == [jobs[5].id, jobs[3].id]
    settle(worker, *((run, DONE) for run in second))
    assert (lease(worker), left_over(fleet)) == ([], [])


def test_deleted_jobs_are_dropped_from_a_line_on_the_way(fleet: Fleet) -> None:
    jobs = samples.pair.enqueue_many([TOLD] * 500)
    worker = leases_of(fleet)
    first = lease(worker)
    fleet.redis.delete(*(keys.job(job.id) for job in jobs[2:-1]))
    settle(worker, (first[0], DONE))
    for _ in range(3):
        worker.sweep()
    assert ids(lease(worker)) == [jobs[-1].id]


def test_tickets_of_jobs_that_rq_deleted_or_moved_are_given_to_the_next(fleet: Fleet) -> None:
    jobs = samples.pair.enqueue_many([TOLD] * 4)
    fleet.redis.delete(keys.job(jobs[0].id))
    fleet.redis.hset(keys.job(jobs[1].id), "status", "canceled")
    worker = leases_of(fleet)
    assert worker.sweep() == 2
    assert ids(lease(worker)) == ids(jobs[2:])


def test_a_ticket_whose_job_left_the_list_untold_is_given_to_the_next(fleet: Fleet) -> None:
    jobs = samples.pair.enqueue_many([TOLD] * 3)
    fleet.redis.lrem(keys.queue("default"), 1, jobs[0].id)
    tickets = keys.admitted("default", "limit:samples.pair")
    fleet.redis.zadd(tickets, dict.fromkeys(ids(jobs[:2]), 1))
    worker = leases_of(fleet)
    assert worker.sweep() == 1
    assert sorted(ids(lease(worker))) == sorted(ids(jobs[1:]))


def test_a_place_that_is_held_without_a_lease_is_freed_by_the_sweep(fleet: Fleet) -> None:
    samples.pair.enqueue_many([TOLD] * 3)
    worker = leases_of(fleet)
    lost = lease(worker)[0]
    member = f"{lost.job_id}:{lost.execution_id}"
    fleet.redis.zrem(keys.LEASES, member)
    assert (worker.sweep(), lease(worker)) == (0, []), "its process may live for a moment more"
    fleet.redis.zadd(keys.held("limit:samples.pair"), {member: 1})
    assert (worker.sweep(), len(lease(worker))) == (1, 1)


def test_a_limit_that_a_release_raised_or_removed_lets_those_go_on_that_wait(fleet: Fleet, environ: Any) -> None:
    samples.pair.enqueue_many([TOLD] * 9)
    before = leases_of(fleet)
    assert len(lease(before)) == 2
    newer = Fleet(Settings.from_env({**environ, "QUEUE_LIMIT__SAMPLES_PAIR": "5"})).discover()
    after = leases_of(newer, "w2")
    after.sweep()
    assert len(lease(after)) == 3
    newer.close()


def test_tenants_take_turns(fleet: Fleet) -> None:
    many = samples.fair.enqueue_many([{"tenant_id": "big"}] * 50)
    worker = leases_of(fleet)
    running = lease(worker, 4)
    assert ids(running) == ids(many[:4]), "nobody else waits, so one tenant may have every slot"
    small = [samples.fair.enqueue({"tenant_id": name}) for name in ("one", "two")]
    begun = []
    for _ in range(4):
        settle(worker, (running.pop(0), DONE))
        running += lease(worker, 1)
        begun += ids(running[-1:])
    assert begun == [many[4].id, small[0].id, small[1].id, many[5].id]
    assert fleet.redis.llen(keys.queue("default")) == 1, "one job of a tenant at a time is in RQ's list"


@pytest.mark.parametrize("count", [2000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_thousands_of_jobs_of_a_tenant_delay_another_s_by_one_a_slot(fleet: Fleet, count: int) -> None:
    samples.fair.enqueue_many({"tenant_id": "big"} for _ in range(count))
    worker = leases_of(fleet)
    running = lease(worker)
    single = samples.fair.enqueue({"tenant_id": "small"})
    settle(worker, *((run, DONE) for run in running))
    assert single.id in ids(lease(worker))
    assert filed(fleet, "turn:samples.fair:tenant_id:big") > count - 30


@pytest.mark.parametrize("how", ["cancelled", "cancelled by RQ", "deleted by RQ"])
def test_a_turn_is_not_lost_with_the_job_that_had_it(fleet: Fleet, how: str) -> None:
    jobs = samples.fair.enqueue_many([{}] * 3)
    worker = leases_of(fleet)
    if how == "cancelled":
        fleet.jobs.cancel(jobs[0].id)
    elif how == "cancelled by RQ":
        fleet.redis.hset(keys.job(jobs[0].id), "status", "canceled")
        worker.sweep()
    else:
        fleet.redis.delete(keys.job(jobs[0].id))
        worker.sweep()
    assert ids(lease(worker)) == ids(jobs[1:])


def test_a_tenants_flow_that_is_busy_keeps_nobodys_turn(fleet: Fleet) -> None:
    busy, waits, free = samples.both.enqueue_many([{"flow_id": name} for name in ("a", "a", "b")])
    worker = leases_of(fleet)
    running = lease(worker)
    assert ids(running) == [busy.id, free.id]
    other = samples.both.enqueue({"tenant_id": "other"})
    settle(worker, (running[1], DONE))
    assert ids(lease(worker)) == [other.id]
    settle(worker, (running[0], DONE))
    assert ids(lease(worker)) == [waits.id]


def test_delayed_jobs_take_turns_when_they_are_due(fleet: Fleet, spawn: Callable[..., Any]) -> None:
    for _ in range(3):
        samples.fair.enqueue_in(timedelta(0), {})
    spawn("worker.py", "--scheduler")
    wait_until(lambda: filed(fleet, "turn:samples.fair:tenant_id:acme") == 2)
    assert fleet.redis.llen(keys.queue("default")) == 1
