"""A letter tells also of the runs that died with their worker, or with their process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer

from jobs.engine import Fleet, keys
from jobs.engine.outcome import Outcome
from tests.engine.dead_letters.conftest import let_die
from tests.engine.leases import lease, leases_of, reap_all, settle
from tests.engine.samples import jobs as samples

DIED = Outcome("lost", error_type="WorkerLost", message="its process died")


def test_a_run_whose_worker_died_is_in_the_history(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    (run,) = lease(leases_of(fleet, "dead"))
    assert reap_all(fleet, 1) == ["requeued"]
    let_die(fleet, [job], worker="alive")
    lost, last = fleet.dead_letters.get(job.id).history
    assert (lost.outcome, lost.worker, lost.execution, lost.number) == ("lost", "dead", run.execution_id, 1)
    assert (lost.text, lost.traceback) == ("WorkerLost: its worker was lost", "")
    assert lost.began_at is not None and lost.ended_at is not None
    assert timedelta(0) <= lost.ended_at - lost.began_at + timedelta(seconds=1)
    assert abs(datetime.now(UTC) - lost.began_at) < timedelta(minutes=5)
    assert (last.outcome, last.worker, last.number) == ("failed", "alive", 1)


def test_a_run_whose_process_died_is_in_the_history(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    leases = leases_of(fleet, "one")
    (run,) = lease(leases)
    assert settle(leases, (run, DIED)) == ["ok"]
    let_die(fleet, [job])
    lost, last = fleet.dead_letters.get(job.id).history
    assert (lost.outcome, lost.worker, lost.execution) == ("lost", "one", run.execution_id)
    assert (lost.text, last.outcome) == ("WorkerLost: its process died", "failed")


@pytest.mark.parametrize("month", range(1, 13))
def test_its_beginning_is_the_time_that_its_worker_wrote(fleet: Fleet, month: int) -> None:
    began = datetime(2024 + month % 3, month, 28 if month % 2 else 1, 23, 59, 58, 123456, tzinfo=UTC)
    job = samples.double.enqueue({})
    lease(leases_of(fleet, "dead"))
    fleet.redis.hset(keys.job(job.id), "started_at", f"{began:%Y-%m-%dT%H:%M:%S.%f}Z")
    reap_all(fleet, 1)
    let_die(fleet, [job])
    assert fleet.dead_letters.get(job.id).history[0].began_at == began


def test_rqs_own_tools_read_it(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    (run,) = lease(leases_of(fleet, "dead"))
    reap_all(fleet, 1)
    (result,) = Job.fetch(job.id, connection=fleet.redis, serializer=JSONSerializer).results()
    assert (result.type, result.worker_name, result.execution_id) == (Result.Type.RETRIED, "dead", run.execution_id)


def test_results_that_somebody_spoiled_keep_no_job_from_being_given_back(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    lease(leases_of(fleet, "dead"))
    fleet.redis.set(keys.results(job.id), "no stream")
    assert reap_all(fleet, 1) == ["requeued"]


def test_spoiled_results_keep_no_job_whose_process_died_from_being_given_back(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    leases = leases_of(fleet)
    (run,) = lease(leases)
    fleet.redis.set(keys.results(job.id), "no stream")
    assert settle(leases, (run, DIED)) == ["ok"]
    (again,) = lease(leases)
    assert (again.job_id, again.attempt) == (job.id, 1)


def test_a_job_whose_workers_all_died_shows_each_run_in_quarantine(fleet: Fleet) -> None:
    job = samples.double.enqueue({})
    for n in range(5):
        lease(leases_of(fleet, f"w{n}"))
        reap_all(fleet, 1)
    details = fleet.dead_letters.get(job.id)
    assert (details.state, [run.worker for run in details.history]) == ("quarantined", [f"w{n}" for n in range(5)])
    assert fleet.redis.ttl(keys.results(job.id)) > 0
