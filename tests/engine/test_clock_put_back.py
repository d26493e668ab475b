"""The clock of Redis is put back, as by a fail-over to a host that is behind: jobs of the dead wait no longer."""

from __future__ import annotations

from datetime import timedelta

from jobs.engine import Fleet, keys
from tests.conftest import wait_until
from tests.engine.leases import lease, leases_of
from tests.engine.samples import jobs as samples
from tests.engine.stepped_clock import SteppedRedis

BEHIND = timedelta(seconds=-120)


def test_a_dead_workers_job_is_given_back_after_a_lease(stepped: Fleet, stepped_redis: SteppedRedis) -> None:
    (job,) = stepped.client.enqueue(samples.double, [{}])
    dead, other = leases_of(stepped, "dead"), leases_of(stepped, "other")
    dead.renew("busy", [])
    other.reap()
    (run,) = lease(dead)
    stepped_redis.put_off(BEHIND)
    told: list[tuple[list[tuple[str, str]], list[str]]] = []

    def is_over() -> bool:
        told.append(other.reap())
        return any(runs for runs, _ in told) and any(dead for _, dead in told)

    wait_until(is_over, 10)
    assert [each for runs, _ in told for each in runs] == [(job.id, "requeued")]
    assert [each for _, dead in told for each in dead] == ["dead"]
    assert dead.renew("busy", [(job.id, run.execution_id, "default")]).lost == {run.execution_id}


def test_a_living_workers_leases_stay(stepped: Fleet, stepped_redis: SteppedRedis) -> None:
    stepped.client.enqueue(samples.double, [{}])
    worker = leases_of(stepped)
    worker.reap()
    (run,) = lease(worker)
    stepped_redis.put_off(BEHIND)
    assert worker.reap() == ([], [])
    assert worker.renew("busy", [(run.job_id, run.execution_id, "default")]).lost == set()
    assert stepped.redis.zcard(keys.LEASES) == 1
