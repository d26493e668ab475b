"""The times of periodic entries: on a grid, without drift, whatever wall clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from jobs.engine.schedules import Every
from jobs.engine.schedules.periodic import run_id

moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
intervals = st.timedeltas(timedelta(seconds=1), timedelta(days=400))


@given(moments, intervals)
def test_now_lies_between_the_latest_time_and_the_following_one(now: datetime, every: timedelta) -> None:
    latest, following = Every(every).latest(now), Every(every).following(now)
    assert latest <= now < following
    assert following - latest == every


@given(moments, intervals, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_a_late_look_does_not_shift_the_times(now: datetime, every: timedelta, late: timedelta) -> None:
    following = Every(every).following(now)
    assert (Every(every).following(following + late) - following) % every == timedelta(0)


@given(moments, intervals)
def test_each_time_has_a_run_id_of_its_own(now: datetime, every: timedelta) -> None:
    first = Every(every).latest(now)
    assert run_id("periodic-a-b", first) != run_id("periodic-a-b", first + every)


def test_a_day_lasts_24_hours_across_both_changes_to_and_from_summer_time() -> None:
    berlin, day = ZoneInfo("Europe/Berlin"), timedelta(days=1)
    for change in (datetime(2026, 3, 29, 12, tzinfo=berlin), datetime(2026, 10, 25, 12, tzinfo=berlin)):
        before = Every(day).following(change - 2 * day)
        times = [before]
        while len(times) < 4:
            times.append(Every(day).following(times[-1].astimezone(berlin)))
        assert {later - earlier for earlier, later in pairwise(times)} == {day}


def test_a_run_id_is_the_same_in_every_time_zone() -> None:
    due = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert run_id("periodic-a-b", due) == "periodic-a-b-20260329T010000Z"
    assert run_id("periodic-a-b", due.astimezone(ZoneInfo("Asia/Tokyo"))) == "periodic-a-b-20260329T010000Z"
