"""What RQ promises its clients besides running their jobs holds on FleetWorkers: retries, repeats, limits, groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rq import Callback, Repeat
from rq import Queue as RQQueue
from rq import Retry as RQRetry
from rq.group import Group
from rq.job import Job
from rq.rate_limit import RateLimit, RateLimitRegistry
from rq.registry import FinishedJobRegistry, ScheduledJobRegistry
from rq.results import Result

from jobs.engine import Fleet, keys
from jobs.engine.scripts import script
from tests.conftest import wait_until
from tests.engine import foreign_functions as functions
from tests.engine import kitted
from tests.engine.conftest import fetch, until_ended
from tests.engine.foreign.conftest import ADMITTED, Spawn, lines, types
from tests.engine.lossy_proxy import LossyProxy


def test_a_job_may_return_a_retry_and_fails_once_that_was_too_often(queue: RQQueue, burst: Callable[..., None]) -> None:
    job = queue.enqueue(functions.come_again, 2)
    burst()
    job.refresh()
    assert (job.get_status(), job.number_of_retries) == ("failed", 2)
    assert types(job) == [Result.Type.RETRIED, Result.Type.RETRIED, Result.Type.MAX_RETRIES_EXCEEDED]
    assert job.id in queue.failed_job_registry.get_job_ids()


def test_a_returned_retry_with_an_interval_waits_for_the_scheduler(queue: RQQueue, burst: Callable[..., None]) -> None:
    job = queue.enqueue(functions.come_again, 2, 60, True, retry=RQRetry(max=4))
    burst()
    job.refresh()
    assert (job.get_status(), job.number_of_retries, job.retries_left) == ("scheduled", 1, 4)
    assert job.should_enqueue_at_front()
    assert job.id in ScheduledJobRegistry(queue=queue).get_job_ids()


def test_a_retry_goes_to_the_front_where_the_client_said_so(
    queue: RQQueue, burst: Callable[..., None], tmp_path: Path
) -> None:
    path = tmp_path / "order"
    queue.enqueue(functions.fail, str(path), retry=RQRetry(max=1, enqueue_at_front=True))
    queue.enqueue(functions.append, str(path), "next")
    burst()
    assert lines(path) == ["ran", "ran", "next"]


def test_a_job_may_give_up_its_own_retries(queue: RQQueue, burst: Callable[..., None], tmp_path: Path) -> None:
    job = queue.enqueue(functions.give_up_retrying, str(tmp_path / "ran"), retry=RQRetry(max=3))
    burst()
    assert (job.get_status(), lines(tmp_path / "ran")) == ("failed", ["ran"])


def test_a_repeated_job_runs_again_as_often_as_asked(
    queue: RQQueue, burst: Callable[..., None], tmp_path: Path
) -> None:
    job = queue.enqueue(functions.append, str(tmp_path / "ran"), "ran", repeat=Repeat(times=2))
    later = queue.enqueue(functions.append, str(tmp_path / "later"), "ran", repeat=Repeat(times=1, interval=60))
    burst()
    assert lines(tmp_path / "ran") == ["ran"] * 3
    assert (job.get_status(), len(job.results())) == ("finished", 3)
    assert (later.get_status(), lines(tmp_path / "later")) == ("scheduled", ["ran"])
    assert job.connection.zcard(keys.FOLLOW_UPS) == 0


def test_a_dead_workers_repeat_is_done_by_another_and_only_once(
    fleet: Fleet, queue: RQQueue, burst: Callable[..., None], tmp_path: Path
) -> None:
    job = queue.enqueue(functions.append, str(tmp_path / "ran"), "ran", repeat=Repeat(times=1))
    burst()
    for _ in range(2):
        fleet.redis.zadd(keys.FOLLOW_UPS, {f"{job.id}:{fetch_settled(fleet, job)}": 1})
        fleet.redis.hset(job.key, "repeats_left", 1)
        burst()
    assert lines(tmp_path / "ran") == ["ran"] * 4


def test_a_burst_does_not_end_before_what_a_dead_worker_left_is_done(
    fleet: Fleet, queue: RQQueue, burst: Callable[..., None], spawn: Spawn, proxy: LossyProxy, tmp_path: Path
) -> None:
    job = queue.enqueue(functions.append, str(tmp_path / "ran"), "ran", repeat=Repeat(times=1))
    burst()
    fleet.redis.zadd(keys.FOLLOW_UPS, {f"{job.id}:{fetch_settled(fleet, job)}": 1})
    fleet.redis.hset(job.key, "repeats_left", 1)
    claim, lease, seen = script("claim_follow_ups").sha.encode(), script("lease").sha.encode(), []
    proxy.holds_request = lambda request, _: claim in request
    proxy.holds_reply = lambda request, _: lease in request and seen.append(request)
    worker = spawn("worker.py", "--burst", REDIS_URL=proxy.url, FOREIGN_JOBS=ADMITTED)
    wait_until(lambda: seen and proxy.held)
    proxy.release()
    assert worker.wait(60) == 0
    assert lines(tmp_path / "ran") == ["ran"] * 3


def fetch_settled(fleet: Fleet, job: Job) -> str:
    return str((fleet.redis.hget(job.key, "settled") or b"").decode())


def test_a_failed_job_is_run_again_without_the_database_that_durable_ones_need(
    fleet: Fleet, queue: RQQueue, burst: Callable[..., None], tmp_path: Path
) -> None:
    assert kitted.counts.durable
    jobs = [queue.enqueue(functions.fail, str(tmp_path / f"{n}"), retry=RQRetry(n) if n else None) for n in range(2)]
    burst(JOB_MODULES=kitted.__name__)
    for each in jobs:
        fleet.jobs.retry(each.id)
    burst(JOB_MODULES=kitted.__name__)
    assert [len(lines(tmp_path / f"{n}")) for n in range(2)] == [2, 4]


def test_at_most_so_many_jobs_of_a_rate_limit_wait_or_run(
    fleet: Fleet, queue: RQQueue, burst: Callable[..., None], tmp_path: Path
) -> None:
    limit = RateLimit("crawl", 1)
    path = str(tmp_path / "ran")
    jobs = [
        queue.enqueue(functions.fail, path, retry=RQRetry(max=1), rate_limit=limit),
        queue.enqueue(functions.append, path, "second", rate_limit=limit),
        queue.enqueue(functions.come_again, 1, 60, rate_limit=limit),
        queue.enqueue(functions.append, path, "last", rate_limit=limit, result_ttl=0),
    ]
    assert [job.get_status() for job in jobs] == ["queued"] + ["rate_limited"] * 3
    burst()
    assert sorted(lines(tmp_path / "ran")) == ["last", "ran", "ran", "second"]
    assert [job.get_status() for job in jobs[:3]] == ["failed", "finished", "scheduled"]
    assert RateLimitRegistry("crawl", connection=fleet.redis).get_allowed_job_ids() == []
    assert not Job.exists(jobs[3].id, fleet.redis)


def test_a_quarantined_job_holds_no_slot_of_its_rate_limit(
    fleet: Fleet, queue: RQQueue, burst: Callable[..., None], tmp_path: Path
) -> None:
    queue.enqueue("os.getcwd", rate_limit=RateLimit("crawl", 1))
    waiting = queue.enqueue(functions.append, str(tmp_path / "ran"), "ran", rate_limit=RateLimit("crawl", 1))
    burst()
    assert (waiting.get_status(), fleet.redis.zcard(keys.QUARANTINE)) == ("finished", 1)


def test_a_group_shows_its_jobs_and_their_ends(fleet: Fleet, queue: RQQueue, burst: Callable[..., None]) -> None:
    group = Group.create(connection=fleet.redis)
    added = [RQQueue.prepare_data(functions.add, (1, 2)) for _ in range(2)]
    group.enqueue_many(queue, [*added, RQQueue.prepare_data(functions.add, (1, 2), result_ttl=0)])
    burst()
    assert [job.get_status() for job in group.get_jobs()] == ["finished"] * 2


@pytest.mark.parametrize(("kept", "time_to_live"), [(-1, -1), (30, 30), (None, 500)])
def test_a_result_is_kept_as_long_as_the_client_said(
    fleet: Fleet, queue: RQQueue, burst: Callable[..., None], kept: int | None, time_to_live: int
) -> None:
    job = queue.enqueue(functions.add, 1, 2, result_ttl=kept)
    burst()
    lives = fleet.redis.ttl(job.key)
    assert lives == -1 if time_to_live == -1 else 0 < lives <= time_to_live
    assert fleet.redis.ttl(keys.results(job.id)) in range(lives - 2, lives + 1)
    assert job.id in FinishedJobRegistry(queue=queue).get_job_ids()


def test_what_a_job_waited_for_is_forgotten_with_it(fleet: Fleet, queue: RQQueue, burst: Callable[..., None]) -> None:
    first, second = queue.enqueue(functions.add, 1, 2), queue.enqueue(functions.add, 1, 2)
    child = queue.enqueue(functions.add, 1, 2, depends_on=[first, second], result_ttl=30)
    burst()
    assert child.get_status() == "finished"
    assert 0 < fleet.redis.ttl(child.dependencies_key) <= 30


def test_the_time_a_job_may_wait_is_no_time_it_may_run(
    fleet: Fleet, queue: RQQueue, spawn_worker: Spawn, tmp_path: Path
) -> None:
    expired = queue.enqueue(functions.append, str(tmp_path / "expired"), "ran", ttl=1)
    fleet.redis.delete(expired.key)
    job = queue.enqueue(functions.wait_for, str(tmp_path / "go"), ttl=600)
    assert fleet.redis.ttl(job.key) > 0
    spawn_worker(FOREIGN_JOBS=ADMITTED)
    wait_until(lambda: lines(tmp_path / "go.begun"))
    assert fleet.redis.ttl(job.key) == -1
    (tmp_path / "go").touch()
    wait_until(lambda: job.get_status() == "finished")
    assert lines(tmp_path / "expired") == []


def test_a_job_sees_rqs_own_timeout_and_may_tidy_up(
    fleet: Fleet, queue: RQQueue, burst: Callable[..., None], tmp_path: Path
) -> None:
    job = queue.enqueue(functions.heed_rqs_timeout, str(tmp_path / "told"), job_timeout=1)
    burst()
    result = job.latest_result()
    assert result is not None
    assert (job.get_status(), lines(tmp_path / "told")) == ("failed", ["tidied up"])
    assert "rq.timeouts.JobTimeoutException" in str(result.exc_string)


def test_coroutines_run_and_results_that_are_no_json_are_not_kept(queue: RQQueue, burst: Callable[..., None]) -> None:
    later, unserializable = queue.enqueue(functions.double_later, 4), queue.enqueue(functions.unserializable)
    burst()
    assert later.return_value() == 8
    assert (unserializable.get_status(), unserializable.return_value()) == ("finished", "Unserializable return value")


def test_callbacks_see_how_the_job_ended_and_a_broken_one_fails_it(
    queue: RQQueue, burst: Callable[..., None], tmp_path: Path
) -> None:
    callback = Callback(functions.status_in_callback)
    meta: dict[str, Any] = {"path": str(tmp_path / "told")}
    queue.enqueue(functions.add, 1, 2, on_success=callback, meta=meta)
    queue.enqueue(functions.fail, str(tmp_path / "ran"), on_failure=callback, meta=meta)
    broken = Callback(functions.broken_callback)
    failed = queue.enqueue(functions.add, 1, 2, on_success=broken, on_failure=callback, meta=meta)
    burst()
    assert lines(tmp_path / "told") == ["finished int", "failed ValueError", "failed TypeError"]
    assert failed.get_status() == "failed"


def test_what_is_admitted_but_can_not_be_imported_fails(queue: RQQueue, burst: Callable[..., None]) -> None:
    job = queue.enqueue(f"{functions.__name__}.not_deployed_yet", retry=RQRetry(max=1))
    burst()
    result = job.latest_result()
    assert result is not None
    assert (job.get_status(), "not_deployed_yet" in str(result.exc_string)) == ("failed", True)


def test_meta_that_a_job_saves_stays(fleet: Fleet, queue: RQQueue, burst: Callable[..., None], tmp_path: Path) -> None:
    job = queue.enqueue(functions.note_in_meta, str(tmp_path / "ran"), meta={"kept": 1})
    burst()
    assert fetch(fleet, job.id).meta == {"kept": 1, "note": "default"}
    assert until_ended(fleet, fleet.jobs.get(job.id)).status == "completed"
