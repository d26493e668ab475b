"""Which runs are due after a silence: late ones whatever the policy, missed ones as it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.engine import InvalidJob
from jobs.engine.schedules import GRACE, CatchUp, Cron, Every, Overlap, Periodic, due
from jobs.engine.schedules.periodic import of_text

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
HOURS = Every(HOUR)


def hourly(catch_up: CatchUp, limit: int = 100) -> Periodic:
    return Periodic(HOURS, "queue", catch_up, limit)


@pytest.mark.parametrize(
    ("catch_up", "runs", "missed"),
    [("none", [], 5), ("last", [NOON], 4), ("all", [NOON - n * HOUR for n in (4, 3, 2, 1, 0)], 0)],
)
def test_of_the_times_that_were_missed_the_policy_says_which_are_run(
    catch_up: CatchUp, runs: list[datetime], missed: int
) -> None:
    found = due(hourly(catch_up), NOON - 4 * HOUR, NOON + MINUTE)
    assert (list(found.runs), found.missed, found.next) == (runs, missed, NOON + HOUR)


@pytest.mark.parametrize("catch_up", ["none", "last", "all"])
def test_a_time_that_is_a_few_seconds_past_is_not_missed(catch_up: CatchUp) -> None:
    found = due(hourly(catch_up), NOON, NOON + GRACE)
    assert (found.runs, found.missed) == ((NOON,), 0)


def test_times_that_follow_each_other_within_seconds_are_all_run_after_a_hand_over() -> None:
    found = due(Periodic(Every(SECOND), "queue", "last"), NOON, NOON + 5 * SECOND)
    assert found.runs == tuple(NOON + n * SECOND for n in range(6))


def test_the_last_missed_time_is_not_run_beside_one_that_is_only_late() -> None:
    found = due(hourly("last"), NOON - 2 * HOUR, NOON + SECOND)
    assert (found.runs, found.missed) == ((NOON,), 2)


def test_catching_up_is_bounded_and_keeps_the_newest() -> None:
    found = due(hourly("all", 3), NOON - 1000 * HOUR, NOON + MINUTE)
    assert (found.runs, found.missed) == ((NOON - 2 * HOUR, NOON - HOUR, NOON), 998)


def test_after_years_of_silence_it_is_still_told_soon() -> None:
    found = due(Periodic(Every(SECOND), "queue", "all"), NOON - timedelta(days=3000), NOON)
    assert len(found.runs) == GRACE // SECOND + 1 + 100


def test_nothing_is_due_before_the_first_time() -> None:
    found = due(hourly("all"), NOON + HOUR, NOON + HOUR - SECOND)
    assert (found.runs, found.missed, found.next) == ((), 0, NOON + HOUR)


@settings(deadline=None)
@given(
    st.sampled_from(
        [HOURS, Every(7 * MINUTE), Cron("*/20 2,3 * * *", "Europe/Berlin"), Cron("30 2 * * *", "America/New_York")]
    ),
    st.lists(st.timedeltas(SECOND, timedelta(hours=30)), min_size=1, max_size=8),
)
def test_however_the_looks_fall_each_time_is_due_once(times: Every | Cron, waits: list[timedelta]) -> None:
    periodic = Periodic(times, "queue", "all", 1000)
    start = at = datetime(2026, 3, 28, 20, tzinfo=UTC)
    since, found = times.following(start), []
    for wait in waits:
        at += wait
        if at >= since:
            here = due(periodic, since, at)
            found += here.runs
            since = here.next
    expected, each = [], times.following(start)
    while each <= at:
        expected.append(each)
        each = times.following(each)
    assert found == expected


@given(
    st.sampled_from([HOURS, Every(timedelta(microseconds=1_234_567)), Cron("0 7 * * 1-5", "Europe/Berlin")]),
    st.sampled_from(["skip", "queue"]),
    st.sampled_from(["none", "last"]),
    st.integers(1, 1000),
)
def test_a_declaration_is_what_its_text_tells(
    times: Every | Cron, overlap: Overlap, catch_up: CatchUp, limit: int
) -> None:
    periodic = Periodic(times, overlap, catch_up, limit)
    assert of_text(periodic.text) == periodic


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"every": 0}', '{"every": 60, "jitter": 3}', '{"cron": "x", "timezone": "UTC"}']
)
def test_a_text_that_tells_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(InvalidJob):
        of_text(text)
