"""The narrow windows of a job's life: the worker dies, or sleeps too long, exactly there."""

from __future__ import annotations

from jobs.engine import Queue
from tests.chaos import journal
from tests.chaos.herd import Worker
from tests.chaos.stage import Stage
from tests.chaos.test_lost_replies import LEASE, asks, environ, gives, proxy
from tests.conftest import wait_until
from tests.engine.lossy_proxy import LossyProxy

__all__ = ["environ", "proxy"]


def held_worker(stage: Stage, proxy: LossyProxy) -> Worker:
    """A worker behind the proxy once the proxy holds what it was told to."""
    (worker,) = stage.herd.start(REDIS_URL=proxy.url)
    wait_until(lambda: proxy.held)
    stage.herd.until_ready(1)
    return worker


def runs_of(stage: Stage, job_id: str) -> int:
    return sum(1 for run in journal.read(stage.journal) if run.id == job_id)


def test_killed_between_the_lease_and_its_reply(stage: Stage, proxy: LossyProxy) -> None:
    (job_id,) = stage.client().burst(1)
    proxy.holds_reply = gives("lease", job_id)
    worker = held_worker(stage, proxy)
    stage.herd.kill(worker, "parent", stage.rng)
    stage.herd.start()
    stage.drain()
    proxy.release()
    assert (runs_of(stage, job_id), stage.final(job_id).attempts) == (1, 1)
    stage.judge()


def test_a_lease_that_has_run_out_when_its_reply_comes_is_not_begun(stage: Stage, proxy: LossyProxy) -> None:
    (job_id,) = stage.client().burst(1)
    proxy.holds_reply = gives("lease", job_id)
    held_worker(stage, proxy)
    stage.herd.start()
    stage.drain()
    proxy.release()
    stage.client().burst(20, 0.1)
    stage.until_all_resume(20.0)
    stage.drain()
    assert runs_of(stage, job_id) == 1
    stage.judge()


def test_killed_between_the_end_of_a_job_and_its_settlement(stage: Stage, proxy: LossyProxy) -> None:
    (job_id,) = stage.client().burst(1)
    proxy.holds_request = asks("settle", job_id)
    worker = held_worker(stage, proxy)
    stage.herd.kill(worker, "tree", stage.rng)
    stage.herd.start()
    stage.drain()
    assert runs_of(stage, job_id) == 2
    stage.judge()


def test_a_settlement_that_arrives_during_the_second_run_is_refused(stage: Stage, proxy: LossyProxy) -> None:
    (job_id,) = stage.client().burst(1, 1.0)
    proxy.holds_request = asks("settle", job_id)
    worker = held_worker(stage, proxy)
    stage.herd.kill(worker, "tree", stage.rng)
    stage.herd.start()
    wait_until(lambda: runs_of(stage, job_id) == 2)
    proxy.release()
    stage.drain()
    first, second = journal.read(stage.journal)
    assert stage.final(job_id).settled == second.token != first.token
    stage.judge()


def test_killed_while_the_reply_to_its_settlement_is_on_the_way(stage: Stage, proxy: LossyProxy) -> None:
    (job_id,) = stage.client().burst(1)
    proxy.holds_reply = asks("settle", job_id)
    worker = held_worker(stage, proxy)
    stage.herd.kill(worker, "parent", stage.rng)
    stage.herd.start()
    stage.client().burst(1, LEASE)
    stage.drain()
    assert runs_of(stage, job_id) == 1
    stage.judge()


def test_killed_while_an_id_is_on_its_way_to_the_inbox(stage: Stage, proxy: LossyProxy) -> None:
    proxy.holds_reply = lambda request, reply: b"\r\nBLMOVE\r\n" in request and not reply.startswith((b"$-1", b"*-1"))
    (worker,) = stage.herd.start(REDIS_URL=proxy.url)
    wait_until(lambda: sum("b" in each["flags"] for each in stage.fleet.redis.client_list()) == len(Queue))
    (job_id,) = stage.client().burst(1)
    wait_until(lambda: proxy.held)
    stage.herd.kill(worker, "parent", stage.rng)
    stage.herd.start()
    stage.drain()
    assert (runs_of(stage, job_id), stage.final(job_id).attempts) == (1, 1)
    stage.judge()


def test_stopped_with_its_children_and_woken_after_the_second_run(stage: Stage) -> None:
    (sleeper,) = stage.herd.start()
    (job_id,) = stage.client().burst(1, 1.0)
    wait_until(lambda: stage.began())
    stage.herd.stop(sleeper, with_children=True)
    stage.herd.start()
    stage.drain()
    before = stage.final(job_id)
    stage.herd.wake(sleeper)
    stage.client().burst(20, 0.1)
    stage.until_all_resume(20.0)
    stage.drain()
    assert stage.final(job_id) == before
    stage.judge()
