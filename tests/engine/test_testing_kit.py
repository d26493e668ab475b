"""The test kit runs jobs as the fleet would: checked, signed, by policy, with events; only the waiting is gone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from jobs.engine import (
    Cancelled,
    Fleet,
    FleetError,
    IdempotencyConflict,
    InvalidPayload,
    Permanent,
    Secret,
    connect,
    current_fleet,
)
from jobs.engine.local.fleet import LocalFleet
from jobs.engine.testing import Crash, JobFailed, Kit, StillBusy
from jobs.settings import Settings
from tests.conftest import ROOT
from tests.engine.kitted import Word, chats, counts, did, endless, saves, ticks, urgent

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture(autouse=True)
def _nothing_done() -> Iterator[None]:
    did.clear()
    yield


def test_jobs_wait_until_they_are_drained_with_all_that_they_enqueue(kit: Kit) -> None:
    job = counts.enqueue(Word(text="next next it"))
    assert (job.status, did) == ("queued", [])
    ran = kit.drain()
    assert [each.result for each in ran] == [12, 7, 2]
    assert kit.jobs.get(job.id).status == "completed"
    assert kit.drain() == []


def test_events_progress_and_log_are_those_of_a_fleet(kit: Kit) -> None:
    job = counts.enqueue(Word(), tenant="acme")
    kit.drain()
    names = [event.name for event in kit.events.read(f"job:{job.id}", tenant="acme")]
    assert names == ["job:queued", "job:started", "job:progress", "job:output", "job:completed"]
    assert kit.jobs.get(job.id, "acme").progress.percent == 50
    assert [line.text for line in kit.jobs.log(job.id, "acme")] == ["counted"]


def test_a_retry_waits_for_its_time_and_the_clock_is_the_tests(kit: Kit) -> None:
    job = counts.enqueue(Word(text="recovers"))
    kit.drain()
    assert (kit.jobs.get(job.id).status, kit.jobs.get(job.id).attempts) == ("scheduled", 1)
    kit.move(10 * MINUTE)
    kit.drain()
    assert kit.jobs.get(job.id).attempts == 2
    kit.drain(forward=True)
    assert (kit.jobs.get(job.id).status, did) == ("completed", ["recovers 1", "recovers 2", "recovers 3"])


def test_what_fails_for_good_fails_and_may_fail_the_test(kit: Kit) -> None:
    job, refused = counts.enqueue(Word(text="fails")), counts.enqueue(Word(text="refuses"))
    kit.drain(forward=True)
    assert (kit.jobs.get(job.id).status, kit.jobs.get(job.id).attempts) == ("failed", 3)
    assert kit.jobs.get(refused.id).error.message == "never"
    counts.enqueue(Word(text="fails"))
    with pytest.raises(JobFailed, match=r"(?s)kitted.counts .* failed:.*as told"):
        kit.drain(forward=True, check=True)


def test_delays_and_deadlines_go_by_the_kits_clock(kit: Kit) -> None:
    later = counts.enqueue_in(HOUR, Word(text="later"))
    at = counts.enqueue_at(kit.now + 2 * HOUR, Word(text="at"))
    late = counts.enqueue_in(HOUR, Word(text="late"), deadline=kit.now + MINUTE)
    assert kit.drain() == []
    kit.move(HOUR)
    kit.drain()
    assert [kit.jobs.get(each.id).status for each in (later, at, late)] == ["completed", "scheduled", "failed"]
    assert kit.jobs.get(late.id).error.type == "Expired"
    kit.drain(forward=True)
    assert kit.jobs.get(at.id).status == "completed"


def test_the_clock_never_goes_back_and_is_right_again_after_the_test() -> None:
    with Kit() as first:
        first.move(HOUR)
        assert first.now - datetime.now().astimezone() > 59 * MINUTE
        with pytest.raises(FleetError, match="forward"):
            first.move(-MINUTE)
    with Kit() as second:
        assert second.now - datetime.now().astimezone() < MINUTE


@pytest.mark.kit("inline")
def test_inline_jobs_run_as_soon_as_they_are_enqueued_and_due(kit: Kit) -> None:
    job = counts.enqueue(Word(text="next it"))
    assert did == ["next it 1", "it 1"]
    assert kit.jobs.get(job.id).result == 7
    counts.enqueue_in(HOUR, Word(text="later"))
    assert "later 1" not in did
    kit.move(HOUR)
    assert did[-1] == "later 1"


@pytest.mark.kit("inline")
def test_inline_jobs_of_a_transaction_run_once_it_is_committed_and_never_when_it_is_not(kit: Kit) -> None:
    with kit.database.begin() as session:
        counts.enqueue(Word(text="kept"), session=session)
        assert did == []
    assert did == ["kept 1"]
    with pytest.raises(ZeroDivisionError), kit.database.begin() as session:
        counts.enqueue(Word(text="lost"), session=session)
        raise ZeroDivisionError
    kit.move(MINUTE)
    assert did == ["kept 1"]


@pytest.mark.kit("record")
def test_recorded_jobs_never_run_and_can_be_asserted_upon(kit: Kit) -> None:
    kit.assert_nothing_enqueued()
    counts.enqueue_many([Word(text="one"), Word(text="two")])
    counts.enqueue_in(HOUR, {"text": "two"})
    assert [each.payload.text for each in kit.assert_enqueued(counts)] == ["one", "two", "two"]
    assert [each.view.status for each in kit.assert_enqueued("kitted.counts", 2, text="two")] == ["queued", "scheduled"]
    kit.assert_enqueued(urgent, 0)
    with pytest.raises(AssertionError, match=r"(?s)expected 1 kitted.counts with .*'three'.*found 0.*text='one'"):
        kit.assert_enqueued(counts, 1, text="three")
    with pytest.raises(AssertionError, match=r"expected a kitted\.urgent, found 0"):
        kit.assert_enqueued(urgent)
    with pytest.raises(AssertionError, match="nothing was to be enqueued"):
        kit.assert_nothing_enqueued()
    with pytest.raises(FleetError, match="only records"):
        kit.drain()
    assert did == []


def test_what_a_fleet_refuses_a_kit_refuses(kit: Kit) -> None:
    with pytest.raises(InvalidPayload):
        counts.enqueue({"text": 7})
    counts.enqueue(Word(text="one"), idempotency_key="k")
    with pytest.raises(IdempotencyConflict):
        counts.enqueue(Word(text="two"), idempotency_key="k")
    assert urgent.enqueue(Word(text="u")).id == urgent.enqueue(Word(text="u")).id
    kit.drain()
    assert did == ["urgent u", "one 1"]


def test_secrets_are_encrypted_on_the_way(kit: Kit) -> None:
    job = urgent.enqueue(Word(key=Secret("swordfish")))
    assert kit.enqueued(urgent)[0].payload.key == Secret("swordfish")
    assert "swordfish" not in repr(kit.enqueued(urgent)[0])
    kit.drain()
    assert kit.jobs.get(job.id).result == "swordfish"


def test_a_process_may_die_in_a_test(kit: Kit) -> None:
    job = counts.enqueue(Word(text="crashes once"))
    kit.drain()
    assert did == ["crashes once 1", "crashes once 1"]
    assert (kit.jobs.get(job.id).status, kit.jobs.get(job.id).attempts) == ("completed", 1)


def test_a_crash_between_checkpoints_costs_nothing_that_was_saved(kit: Kit) -> None:
    def die(_stage: str, _percent: float) -> None:
        raise Crash

    job = saves.enqueue(Word())
    kit.stopping = True
    with pytest.raises(StillBusy):
        kit.drain(most=2)
    kit.stopping = False
    kit.on_progress = die
    kit.drain()
    assert (kit.jobs.get(job.id).result, did) == ([0, 1, 2], ["mailed", "saved 0", "saved 1", "saved 2"])


def test_a_running_job_can_be_cancelled(kit: Kit) -> None:
    job = counts.enqueue(Word())
    kit.on_progress = lambda stage, percent: kit.jobs.cancel(job.id) and None
    kit.drain()
    assert kit.jobs.get(job.id).status == "cancelled"


def test_jobs_without_an_end_are_told_from_jobs(kit: Kit) -> None:
    endless.enqueue(Word())
    with pytest.raises(StillBusy, match=r"kitted\.endless"):
        kit.drain(most=20)


def test_an_ended_job_can_be_run_again_as_if_its_outcome_was_lost(kit: Kit) -> None:
    job = saves.enqueue(Word())
    kit.drain()
    assert kit.run_again(job.id).result == [0, 1, 2]
    assert did == ["mailed", "saved 0", "saved 1", "saved 2", "saved 0", "saved 1", "saved 2"]


def test_rate_windows_let_jobs_begin_as_the_clock_moves() -> None:
    settings = Settings.from_env({"ENVIRONMENT": "test", "CHAT_RATE_LIMIT_PER_MINUTE": "2"})
    with Kit() as made:
        database = made.settings.database_url
        made.settings = settings.model_copy(update={"database_url": database, "use_job_queue": False})
        chats.enqueue_many([Word(text=str(n)) for n in range(5)])
        made.drain()
        assert did == ["chats 0", "chats 1"]
        made.move(61 * timedelta(seconds=1))
        made.drain()
        assert did == ["chats 0", "chats 1", "chats 2", "chats 3"]


def test_periodic_jobs_run_when_they_are_asked_to(kit: Kit) -> None:
    kit.move(3 * HOUR)
    kit.drain()
    assert did == []
    kit.begin_periodic()
    kit.move(HOUR)
    kit.drain()
    assert did == ["tick"]
    assert ticks.name in {each.view.type for each in kit.enqueued()}


def test_a_function_can_be_called_in_place(kit: Kit) -> None:
    told: list[tuple[str, float]] = []
    assert kit.run(counts, Word(text="word"), on_progress=lambda *each: told.append(each)) == 4
    assert told == [("counting", 50.0)]
    assert kit.run("kitted.counts", {"text": "recovers"}, attempt=3) == 8
    with pytest.raises(Permanent, match="never"):
        kit.run(counts, {"text": "refuses"})
    with pytest.raises(InvalidPayload):
        kit.run(counts, {"text": 7})
    with pytest.raises(Cancelled):
        kit.run(counts, {}, cancelled=lambda: True)
    assert kit.enqueued() == []


def test_runs_in_place_of_one_job_share_checkpoint_and_steps(kit: Kit) -> None:
    for _ in range(2):
        assert kit.run(saves, Word(), job_id="j1") == [0, 1, 2]
    kit.run(saves, Word(), job_id="j2")
    assert did.count("mailed") == 2
    assert did.count("saved 0") == 2


def test_a_kit_takes_the_place_of_the_fleet_and_gives_it_back(fleet: Fleet) -> None:
    with Kit() as kit:
        assert current_fleet() is kit
        with pytest.raises(FleetError, match="without"):
            kit.redis  # noqa: B018
    assert current_fleet() is fleet
    with pytest.raises(FleetError, match="queue, inline or record"):
        Kit(mode="later")  # type: ignore[arg-type]


def test_a_job_cannot_drain_its_kit(kit: Kit) -> None:
    job = counts.enqueue(Word())
    kit.on_progress = lambda *_: kit.drain() and None
    kit.drain()
    assert kit.jobs.get(job.id).status == "scheduled"


def test_a_kit_is_a_local_fleet_on_a_projects_own_database(settings: Settings) -> None:
    from jobs.adapters.database import migrate

    migrate(settings)
    with Kit(settings) as kit:
        counts.enqueue(Word())
        assert kit.drain()[0].result == 4
    local = connect(settings.model_copy(update={"use_job_queue": False}))
    assert isinstance(local, LocalFleet)
    assert local.ledger is not None
    local.close()


def test_the_kit_needs_neither_redis_nor_pytest() -> None:
    code = "import sys; import jobs.engine.testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
