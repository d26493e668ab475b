"""Tiny jobs that a request was given together share a lease: what happens to one of them is as if it had its own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from jobs.engine import Conflict, Fleet, JobView, keys, reports
from jobs.engine.outcome import Outcome
from jobs.engine.reports import Report
from jobs.engine.worker.leasing import SLOT, Ask, Leases
from jobs.engine.worker.pace import NEEDED
from jobs.engine.worker.running import Running
from tests.conftest import wait_until
from tests.engine.conftest import fetch, names_of_events, until_ended, until_told
from tests.engine.leases import leases_of, put, settle
from tests.engine.samples import jobs as samples

FINISHED = Outcome("finished", value="1")
LIFE = ["job:queued", "job:started", "job:completed"]
REQUEST = "0123456789abcdef0123"


def share(leases: Leases, request: str = REQUEST) -> list[Running]:
    """All that waits, in one request of a worker that knows these types to be tiny."""
    tiny = {"samples.double": 1, "samples.gate": 1}
    return leases.lease(Ask(request, 10 * SLOT, {"default": 10 * SLOT}, tiny=tiny)).runs


def started(fleet: Fleet) -> set[str]:
    """What RQ's tools show as running, as `ID:EXECUTION`."""
    registry = StartedJobRegistry("default", connection=fleet.redis, serializer=JSONSerializer)
    return {member.decode() for member in fleet.redis.zrange(registry.key, 0, -1)}


def held(fleet: Fleet) -> tuple[int, int]:
    """How many batches and how many leases there are."""
    return fleet.redis.zcard(keys.BATCHES), fleet.redis.zcard(keys.LEASES)


def waiting(fleet: Fleet) -> list[str]:
    return [job_id.decode() for job_id in fleet.redis.lrange(keys.queue("default"), 0, -1)]


def lose(fleet: Fleet) -> dict[str, str]:
    """The worker is dead for as long as its lease: what the reaper says of each job."""

    def reaped() -> dict[str, str]:
        fleet.redis.zadd(keys.BATCHES, {REQUEST: 1}, xx=True)
        return dict(leases_of(fleet, "reaper").reap()[0])

    return wait_until(reaped)


def test_a_batch_has_one_lease_and_each_job_its_whole_life(fleet: Fleet) -> None:
    leases, jobs = leases_of(fleet), samples.double.enqueue_many([{}] * 3)
    runs = share(leases)
    assert held(fleet) == (1, 0)
    assert {fleet.jobs.get(job.id).status for job in jobs} == {"started"}
    assert settle(leases, *((run, FINISHED) for run in runs[:2])) == ["ok", "ok"]
    assert held(fleet) == (1, 0)
    assert settle(leases, (runs[2], FINISHED)) == ["ok"]
    assert (held(fleet), fleet.redis.exists(f"{keys.FLEET}:batch:{REQUEST}")) == ((0, 0), 0)
    assert [names_of_events(fleet, job) for job in jobs] == [LIFE] * 3
    assert [fetch(fleet, job.id).return_value() for job in jobs] == [1, 1, 1]


def test_an_outcome_counts_once_however_often_it_comes(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    samples.double.enqueue_many([{}] * 2)
    runs = share(leases)
    assert settle(leases, (runs[0], FINISHED), (runs[0], FINISHED)) == ["ok", "again"]
    assert settle(leases, *((run, FINISHED) for run in runs)) == ["again", "ok"]
    assert settle(leases, *((run, FINISHED) for run in runs)) == ["again", "again"]


def test_a_repeated_request_gets_what_it_still_holds(fleet: Fleet) -> None:
    leases = leases_of(fleet)
    samples.double.enqueue_many([{}] * 3)
    first = share(leases)
    settle(leases, (first[1], FINISHED))
    again = share(leases)
    assert [run.execution_id for run in again] == [first[0].execution_id, first[2].execution_id]
    assert settle(leases, *((run, FINISHED) for run in again)) == ["ok", "ok"]


def test_a_repeated_request_whose_runs_were_given_back_gets_executions_that_nobody_had(fleet: Fleet) -> None:
    jobs = samples.double.enqueue_many([{}] * 2)
    first = share(leases_of(fleet))
    lose(fleet)
    fleet.redis.lmove(keys.queue("default"), keys.queue("default"), "LEFT", "RIGHT")
    again = share(leases_of(fleet))
    assert [run.job_id for run in again] == [jobs[1].id, jobs[0].id]
    assert not {run.execution_id for run in first} & {run.execution_id for run in again}
    assert settle(leases_of(fleet), *((run, FINISHED) for run in first)) == ["stale", "stale"]
    assert settle(leases_of(fleet), *((run, FINISHED) for run in again)) == ["ok", "ok"]


def test_jobs_of_other_kinds_in_the_same_request_have_leases_of_their_own(fleet: Fleet) -> None:
    leases, tiny = leases_of(fleet), samples.double.enqueue({})
    put(fleet.redis, "foreign")
    died, other = samples.double.enqueue({}), samples.report.enqueue({})
    fleet.redis.hset(keys.job(died.id), mapping={"attempts": "0", "deaths": "1"})
    runs = share(leases)
    assert [(run.job_id, run.in_batch) for run in runs] == [
        (tiny.id, True), ("foreign", False), (died.id, False), (other.id, False),
    ]  # fmt: skip
    assert held(fleet) == (1, 3)
    assert started(fleet) == {f"{run.job_id}:{run.execution_id}" for run in runs[1:]}
    assert settle(leases, *((run, FINISHED) for run in runs if run.job_id != "foreign")) == ["ok"] * 3


def test_what_a_dead_worker_held_goes_back_to_the_front_in_its_order_uncharged(fleet: Fleet) -> None:
    leases, jobs = leases_of(fleet), samples.double.enqueue_many([{}] * 4)
    runs = share(leases)
    behind = samples.double.enqueue({})
    settle(leases, (runs[1], FINISHED))
    assert lose(fleet) == {jobs[n].id: "requeued" for n in (0, 2, 3)}
    assert waiting(fleet) == [jobs[n].id for n in (0, 2, 3)] + [behind.id]
    assert [fleet.jobs.get(jobs[n].id).attempts for n in (0, 2, 3)] == [0, 0, 0]
    assert settle(leases, *((run, FINISHED) for run in runs)) == ["stale", "again", "stale", "stale"]
    assert held(fleet) == (0, 0)


def test_a_worker_that_was_stopped_past_its_lease_can_not_overwrite_the_second_run(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    late = share(leases_of(fleet))
    lose(fleet)
    now = share(leases_of(fleet, "w2"), "f" * 20)
    assert leases_of(fleet).record([(run.job_id, run.execution_id, run.queue) for run in late]) == 0
    assert settle(leases_of(fleet), (late[0], Outcome("failed"))) == ["stale"]
    assert settle(leases_of(fleet, "w2"), (now[0], FINISHED)) == ["ok"]
    assert fleet.jobs.get(job.id).status == "completed"


def test_rq_may_delete_or_cancel_one_of_a_batch(fleet: Fleet) -> None:
    leases, jobs = leases_of(fleet), samples.double.enqueue_many([{}] * 3)
    runs = share(leases)
    fetch(fleet, jobs[0].id).delete()
    fetch(fleet, jobs[1].id).cancel()
    assert settle(leases, *((run, FINISHED) for run in runs)) == ["stale", "stale", "ok"]
    assert held(fleet) == (0, 0)
    assert fleet.jobs.get(jobs[1].id).status == "cancelled"


def test_one_of_a_batch_can_be_cancelled(fleet: Fleet) -> None:
    leases, job = leases_of(fleet), samples.double.enqueue({})
    (run,) = share(leases)
    fleet.jobs.cancel(job.id)
    with pytest.raises(Conflict):
        fleet.jobs.retry(job.id)
    assert settle(leases, (run, Outcome("released"))) == ["ok"]
    assert fleet.jobs.get(job.id).status == "cancelled"


def test_a_job_that_rq_put_back_waits_until_its_batch_is_done_with_it(fleet: Fleet) -> None:
    leases, job = leases_of(fleet), samples.double.enqueue({})
    (run,) = share(leases)
    fleet.redis.hset(keys.job(job.id), "status", "queued")
    fleet.redis.rpush(keys.queue("default"), job.id)
    assert share(leases_of(fleet, "w2"), "f" * 20) == []
    assert fleet.jobs.get(job.id).status == "scheduled"
    assert settle(leases, (run, FINISHED)) == ["stale"]
    assert held(fleet) == (0, 0)


def test_progress_is_told_after_the_start(fleet: Fleet) -> None:
    leases, job = leases_of(fleet), samples.double.enqueue({})
    (run,) = share(leases)
    about = (run.job_id, run.execution_id, run.job_type, run.attempt)
    for percent in (10, 20):
        reports.write(fleet.redis, [Report("progress", *about, {"stage": "half", "percent": percent})])
    assert settle(leases, (run, FINISHED)) == ["ok"]
    assert names_of_events(fleet, job) == [*LIFE[:2], "job:progress", "job:progress", LIFE[2]]


@pytest.mark.parametrize("how", ["renewed", "recorded"])
def test_a_run_that_takes_long_gets_its_own_lease_and_is_seen_by_rq(fleet: Fleet, how: str) -> None:
    leases, jobs = leases_of(fleet), samples.double.enqueue_many([{}] * 2)
    runs = share(leases)
    slow = (runs[1].job_id, runs[1].execution_id, runs[1].queue)
    for _ in range(2):
        assert leases.renew("busy", [slow]).lost == set() if how == "renewed" else leases.record([slow]) in (0, 1)
        assert (held(fleet), started(fleet)) == ((1, 1), {":".join(slow[:2])})
    assert names_of_events(fleet, jobs[1]) == LIFE[:2]
    runs[1].renewed = how == "renewed"
    assert settle(leases, *((run, FINISHED) for run in runs)) == ["ok", "ok"]
    assert (held(fleet), started(fleet)) == ((0, 0), set())
    assert [names_of_events(fleet, job) for job in jobs] == [LIFE, LIFE]


def test_a_worker_shows_a_run_that_takes_longer_than_its_like(
    fleet: Fleet, spawn_worker: Callable[..., subprocess.Popen[bytes]], folder: Path
) -> None:
    spawn_worker(LEASE="3600")

    def gate(name: str) -> JobView:
        return samples.gate.enqueue({"folder": str(folder), "name": name})

    (folder / "short.go").touch()
    for _ in range(2 * NEEDED):
        until_ended(fleet, gate("short"))
    slow = gate("long")
    until_told(folder, name="long")
    wait_until(lambda: [each for each in started(fleet) if each.startswith(slow.id)])
    assert names_of_events(fleet, slow) == LIFE[:2]
    (folder / "long.go").touch()
    assert until_ended(fleet, slow).status == "completed"
    assert (names_of_events(fleet, slow), started(fleet)) == (LIFE, set())


@pytest.mark.parametrize("job_id", [f" {'1' * 31}", f"{'1' * 31}\n", f"1\0{'1' * 30}", f"-{'1' * 30}:", "1" * 31 + "ü"])
def test_an_id_that_is_almost_32_digits_is_set_aside(fleet: Fleet, job_id: str) -> None:
    put(fleet.redis, job_id)
    jobs = samples.double.enqueue_many([{}] * 2)
    assert {run.job_id for run in share(leases_of(fleet))} == {job.id for job in jobs}
    assert fleet.redis.zscore(keys.QUARANTINE, job_id) is not None


def test_what_a_short_answer_tells_is_what_the_job_s_hash_says(fleet: Fleet) -> None:
    jobs = samples.double.enqueue_many([{}] * 2)
    odd = samples.double.enqueue({}, tenant="größer\n1")
    fleet.redis.hset(keys.job(jobs[1].id), mapping={"correlation_id": "a\nb", "lane": "unheard of"})
    fleet.redis.hset(keys.job(odd.id), "correlation_id", "of a request")
    runs = {run.job_id: run for run in share(leases_of(fleet))}
    for job_id, run in runs.items():
        stored = {name.decode(): value.decode() for name, value in fleet.redis.hgetall(keys.job(job_id)).items()}
        assert run.in_batch
        assert (run.data.decode(), run.execution_id) == (stored["data"], stored["execution"])
        assert (run.job_type, run.tenant) == (stored["type"], stored.get("tenant", ""))
        assert (run.correlation_id, run.queue, run.lane) == (stored.get("correlation_id", ""), "default", "default")
        assert (run.attempt, run.timeout) == (1, timedelta(seconds=int(stored["timeout"])))
        assert run.enqueued_at == datetime.fromisoformat(stored["enqueued_at"]).timestamp()
    assert len(runs) == 3
