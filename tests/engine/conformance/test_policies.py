"""What a job type declares holds with Redis and without."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.engine import Conflict, Fleet, IdempotencyConflict, JobView, NotFound, Queue
from tests.conftest import wait_until
from tests.engine.conftest import names_of_events, told, until_ended, until_told
from tests.engine.samples import gated
from tests.engine.samples import jobs as samples

ENDED = timedelta(seconds=30)


def open_gate(folder: Path, name: str = "job") -> None:
    (folder / f"{name}.go").touch()


def payload(folder: Path, name: str = "job") -> dict[str, str]:
    return {"folder": str(folder), "name": name}


def until_begun(fleet: Fleet, job: JobView) -> None:
    wait_until(lambda: fleet.jobs.get(job.id).status == "started")


def test_a_job_runs_and_leaves_its_result_and_its_story(fleet: Fleet) -> None:
    job = samples.double.enqueue({"value": 21})
    done = fleet.jobs.wait(job.id, None, ENDED)
    assert (done.status, done.result, done.attempts) == ("completed", {"value": 42}, 1)
    assert None not in (done.created_at, done.enqueued_at, done.started_at, done.ended_at, done.worker)
    assert names_of_events(fleet, job) == ["job:queued", "job:started", "job:completed"]


def test_progress_and_log_lines_are_kept_and_told(fleet: Fleet) -> None:
    job = samples.report.enqueue({"value": 7})
    done = until_ended(fleet, job)
    assert done.progress is not None and (done.progress.stage, done.progress.percent) == ("counting", 100)
    [line] = [line for line in fleet.jobs.log(job.id) if line.stream == "log"]
    assert (line.text, line.values, line.attempt) == ("counted", {"value": 7}, 1)
    assert fleet.jobs.log(job.id, after=line.id) == []
    names = names_of_events(fleet, job)
    assert (names[:2], names[-1]) == (["job:queued", "job:started"], "job:completed")
    assert {"job:progress", "job:output"} < set(names)


def test_an_error_is_retried_until_it_works_and_its_attempts_are_told(fleet: Fleet, folder: Path) -> None:
    job = samples.flaky.enqueue(payload(folder))
    done = until_ended(fleet, job)
    assert (done.status, done.result, done.attempts, told(folder)) == ("completed", 3, 3, ["1", "2", "3"])
    names = names_of_events(fleet, job)
    assert (names.count("job:retrying"), names.count("job:started"), names[-1]) == (2, 3, "job:completed")


def test_an_error_that_stays_fails_once_the_retries_are_spent(fleet: Fleet, folder: Path) -> None:
    failed = until_ended(fleet, samples.broken.enqueue(payload(folder)))
    assert (failed.status, failed.attempts) == ("failed", 4)
    assert failed.error is not None and failed.error.type == "RuntimeError"
    assert told(folder)[-1] == "4 True"


def test_a_permanent_error_is_not_retried(fleet: Fleet, folder: Path) -> None:
    failed = until_ended(fleet, samples.hopeless.enqueue(payload(folder)))
    assert (failed.status, failed.attempts, told(folder)) == ("failed", 1, ["ran"])
    assert failed.error is not None and failed.error.message == "the PDF is encrypted"


def test_a_retry_waits_as_long_as_the_error_says(fleet: Fleet, folder: Path) -> None:
    job = samples.later.enqueue(payload(folder))
    waits = wait_until(lambda: view if (view := fleet.jobs.get(job.id)).status == "scheduled" else None)
    reason = fleet.jobs.why(job.id)
    assert reason is not None and reason.reason == "retry" and reason.until is not None
    assert timedelta(minutes=9) < reason.until - datetime.now(UTC) < timedelta(minutes=11)
    assert waits.attempts == 1
    assert fleet.jobs.cancel(job.id).status == "cancelled"


def test_what_runs_too_long_is_stopped_and_what_does_not_heed_that_is_killed(fleet: Fleet, folder: Path) -> None:
    slow = samples.slow.enqueue(payload(folder, "slow"))
    deaf = samples.deaf.enqueue(payload(folder, "deaf"))
    for job in (slow, deaf):
        failed = until_ended(fleet, job)
        assert failed.error is not None and (failed.status, failed.error.type) == ("failed", "TimedOut")


def test_a_job_that_kills_its_process_is_quarantined_at_the_third_death(fleet: Fleet, folder: Path) -> None:
    job = samples.dies.enqueue(payload(folder))
    set_aside = until_ended(fleet, job)
    assert (set_aside.status, len(told(folder))) == ("quarantined", 3)
    assert fleet.jobs.cancel(job.id).status == "cancelled"


def test_a_result_that_is_no_json_is_a_failure(fleet: Fleet) -> None:
    failed = until_ended(fleet, samples.no_json.enqueue({}))
    assert failed.error is not None and "no JSON" in failed.error.message


def test_too_much_memory_is_a_failure(fleet: Fleet) -> None:
    assert until_ended(fleet, samples.greedy.enqueue({"value": 500})).status == "failed"


def test_a_delayed_job_begins_when_it_is_due(fleet: Fleet, folder: Path) -> None:
    due = datetime.now(UTC) + timedelta(seconds=1)
    job = samples.double.enqueue_at(due, {"value": 1})
    assert job.status == "scheduled"
    waiting = fleet.jobs.why(job.id)
    assert waiting is not None and waiting.reason == "scheduled"
    assert names_of_events(fleet, job) == []
    done = until_ended(fleet, job)
    assert done.started_at is not None and done.started_at >= due
    assert names_of_events(fleet, job) == ["job:queued", "job:started", "job:completed"]


def test_an_id_or_key_is_one_job(fleet: Fleet) -> None:
    first = samples.double.enqueue({"value": 1}, idempotency_key="k", tenant="acme")
    assert samples.double.enqueue({"value": 1}, idempotency_key="k", tenant="acme").id == first.id
    with pytest.raises(IdempotencyConflict):
        samples.double.enqueue({"value": 2}, idempotency_key="k", tenant="acme")
    assert samples.double.enqueue({"value": 1}, idempotency_key="k", tenant="other").id != first.id
    with pytest.raises(NotFound):
        fleet.jobs.get(first.id, "other")


def test_a_unique_job_is_there_once_until_it_has_ended(fleet: Fleet, folder: Path) -> None:
    first = samples.only_one.enqueue(payload(folder))
    assert samples.only_one.enqueue(payload(folder)).id == first.id
    other = samples.only_one.enqueue(payload(folder, "other"))
    until_begun(fleet, first)
    assert samples.only_one.enqueue(payload(folder)).id == first.id
    open_gate(folder), open_gate(folder, "other")
    until_ended(fleet, first), until_ended(fleet, other)
    again = samples.only_one.enqueue(payload(folder))
    assert again.id != first.id
    until_ended(fleet, again)


def test_an_ended_job_of_its_type_is_kept_by_count(fleet: Fleet) -> None:
    sent = [samples.double.enqueue({"value": number}) for number in range(7)]
    for job in sent:
        wait_until(lambda job=job: (view := fleet.jobs.get_many([job.id])[0]) is None or view.ended)  # type: ignore[misc]
    assert sum(view is not None for view in fleet.jobs.get_many([job.id for job in sent])) <= 5


def test_a_deadline_that_has_passed_fails_the_job(fleet: Fleet, folder: Path) -> None:
    job = samples.gate.enqueue(payload(folder), deadline=datetime.now(UTC) - timedelta(seconds=1))
    failed = until_ended(fleet, job)
    assert failed.error is not None and (failed.status, failed.error.type) == ("failed", "Expired")


def test_a_waiting_job_is_cancelled_at_once_and_run_again_by_hand(fleet: Fleet, folder: Path) -> None:
    job = samples.double.enqueue_in(timedelta(hours=1), {"value": 2})
    assert fleet.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(Conflict):
        fleet.jobs.cancel(job.id)
    assert fleet.jobs.retry(job.id).status in ("queued", "started", "completed")
    assert until_ended(fleet, job).result == {"value": 4}
    with pytest.raises(Conflict):
        fleet.jobs.retry(job.id)


def test_a_running_job_stops_when_it_looks_and_is_killed_when_it_does_not(fleet: Fleet, folder: Path) -> None:
    polite = samples.gate.enqueue(payload(folder, "polite"))
    stubborn = samples.stubborn.enqueue(payload(folder, "stubborn"))
    for job in (polite, stubborn):
        until_begun(fleet, job)
        fleet.jobs.cancel(job.id)
    for job in (polite, stubborn):
        assert until_ended(fleet, job).status == "cancelled"
        assert names_of_events(fleet, job)[-1] == "job:cancelled"


def test_at_most_so_many_of_a_limited_type_run_at_once(fleet: Fleet, folder: Path) -> None:
    for _ in range(8):
        gated.timed.enqueue(payload(folder))
    lines = until_told(folder, 16)
    running = most = 0
    for line in lines:
        running += 1 if line.startswith("S") else -1
        most = max(most, running)
    assert most == 2


def test_who_waits_for_a_limit_is_told_for_whom(fleet: Fleet, folder: Path) -> None:
    holding = [gated.pair.enqueue(payload(folder)) for _ in range(2)]
    until_told(folder, 2)
    third = gated.pair.enqueue(payload(folder))
    reason = wait_until(lambda: why if (why := fleet.jobs.why(third.id)) and why.reason == "limit" else None)
    assert set(reason.jobs) == {job.id for job in holding}
    open_gate(folder)
    assert until_ended(fleet, third).status == "completed"


def test_a_rate_window_lets_no_more_begin_than_it_says(fleet: Fleet) -> None:
    sent = [gated.traced.enqueue({}) for _ in range(5)]
    began = sorted(until_ended(fleet, job).started_at for job in sent)  # type: ignore[type-var]
    for number, at in enumerate(began):  # a window counts from the lease, which may be long before its job begins
        assert at - sent[0].enqueued_at >= timedelta(seconds=2) * (number // 2)  # type: ignore[operator]


def test_tenants_take_turns(fleet: Fleet) -> None:
    fleet.pauses.pause("lane:default")
    many = [gated.fair.enqueue({"tenant_id": "many"}) for _ in range(8)]
    one = gated.fair.enqueue({"tenant_id": "one"})
    fleet.pauses.resume("lane:default")
    last = until_ended(fleet, one)
    ended = [until_ended(fleet, job) for job in many]
    assert sum(job.started_at < last.started_at for job in ended) <= 3  # type: ignore[operator]


def test_a_lane_that_is_full_keeps_no_other_lane_waiting(fleet: Fleet, folder: Path) -> None:
    held = [samples.audited.enqueue(payload(folder, "held")) for _ in range(4)]
    until_told(folder, 2, "held")
    assert until_ended(fleet, samples.double.enqueue({"value": 1})).status == "completed"
    assert len(told(folder, "held")) == 2
    open_gate(folder, "held")
    assert {until_ended(fleet, job).status for job in held} == {"completed"}


def test_what_is_paused_begins_no_further_jobs(fleet: Fleet) -> None:
    assert fleet.pauses.pause("queue:low") == ["queue:low"]
    low = samples.double.enqueue({"value": 1}, priority=Queue.LOW)
    other = samples.double.enqueue({"value": 1})
    until_ended(fleet, other)
    reason = fleet.jobs.why(low.id)
    assert reason is not None and (reason.reason, reason.what) == ("paused", "queue:low")
    assert fleet.pauses.resume("queue:low") == []
    assert until_ended(fleet, low).status == "completed"


def test_an_urgent_job_goes_before_those_that_wait(fleet: Fleet, folder: Path) -> None:
    fleet.pauses.pause("queue:low", "queue:critical")
    low = [samples.owned.enqueue({}, priority=Queue.LOW) for _ in range(30)]
    urgent = samples.owned.enqueue({}, priority=Queue.CRITICAL)
    first = samples.owned.enqueue({}, priority=Queue.LOW, at_front=True)
    fleet.pauses.resume("queue:low", "queue:critical")
    done = [until_ended(fleet, job).started_at for job in (urgent, first)]
    later = [until_ended(fleet, job).started_at for job in low]
    assert sum(began < done[0] for began in later) <= 6  # type: ignore[operator]
    assert sum(began < done[1] for began in later) <= 6  # type: ignore[operator]


def test_who_follows_a_job_is_told_as_it_happens(fleet: Fleet, folder: Path) -> None:
    job = samples.gate.enqueue(payload(folder))
    with fleet.events.subscribe([f"job:{job.id}"], tenant=None, after={f"job:{job.id}": "0"}) as subscription:
        names = []
        give_up = time.monotonic() + 30
        while "job:completed" not in names and time.monotonic() < give_up:
            event = subscription.get(1)
            names += [event.name] if event else []
            if names[-1:] == ["job:started"]:
                open_gate(folder)
    assert names == ["job:queued", "job:started", "job:completed"]


def test_notes_are_shared_used_once_and_counted(fleet: Fleet) -> None:
    minute = timedelta(minutes=1)
    fleet.notes.put("a", b"word", minute)
    assert (fleet.notes.has("a"), fleet.notes.take("a"), fleet.notes.take("a")) == (True, b"word", None)
    assert (fleet.notes.claim("b", minute), fleet.notes.claim("b", minute), fleet.notes.has("c")) == (
        True,
        False,
        False,
    )
    assert [count.number for _ in range(3) for count in fleet.notes.count(["n"], minute)] == [1, 2, 3]
    assert timedelta(0) < fleet.notes.count(["n"], minute)[0].left <= minute
    fleet.notes.forget("n", "b")
    assert fleet.notes.count(["n"], minute)[0].number == 1
    fleet.notes.put("brief", b"", timedelta(milliseconds=50))
    wait_until(lambda: not fleet.notes.has("brief"))
    assert fleet.notes.claim("brief", minute)
    fleet.notes.forget("n", "b", "brief")
