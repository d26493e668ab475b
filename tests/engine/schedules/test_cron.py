"""Cron in time zones: right across every change of the clocks, compared with the clock itself and with croniter."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jobs.engine import InvalidJob
from jobs.engine.schedules import Cron

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # by half an hour
    "Africa/Cairo",  # at midnight
    "Asia/Kathmandu",  # +05:45, never
    "America/St_Johns",
    "Pacific/Apia",
]
CHANGES = [
    datetime(2026, 3, 29, 1, tzinfo=UTC),  # Berlin
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),  # New York
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
    datetime(2026, 4, 23, 22, tzinfo=UTC),  # Cairo
    datetime(2026, 10, 29, 21, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),  # Apia leaves a day out
]


def field(low: int, high: int, *, star: bool = True) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.lists(number, min_size=2, max_size=2, unique=True).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    some = st.lists(number.map(str) | span, min_size=1, max_size=3).map(",".join)
    steps = st.integers(1, high).map(lambda step: f"*/{step}")
    return st.just("*") | steps | some if star else some


EXPRESSIONS = st.tuples(field(0, 59), field(0, 23), st.just("*") | field(1, 28), st.just("*"), field(0, 6)).map(
    " ".join
)
FIXED = st.tuples(field(0, 59, star=False), field(0, 23, star=False), st.just("* *"), field(0, 6)).map(" ".join)
NEAR_A_CHANGE = st.tuples(st.sampled_from(CHANGES), st.timedeltas(-2 * DAY, 2 * DAY)).map(
    lambda pair: pair[0] + pair[1]
)
MOMENTS = NEAR_A_CHANGE | st.datetimes(datetime(2020, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def times(cron: Cron, after: datetime) -> Iterator[datetime]:
    while True:
        after = cron.following(after)
        yield after


def numbers(text: str, low: int, high: int) -> set[int]:
    """What a field of the generated kind names, read without the parser under test."""
    if text.startswith("*"):
        return set(range(low, high + 1, int(text.partition("/")[2] or 1)))
    spans = [part.partition("-") for part in text.split(",")]
    return {number for first, dash, last in spans for number in range(int(first), int(last if dash else first) + 1)}


class Clock:
    """The wall clock of a zone, watched minute by minute: what the times of an expression are by definition."""

    def __init__(self, expression: str, zone: str) -> None:
        minutes, hours, days, _, weekdays = expression.split()
        self.zone = ZoneInfo(zone)
        self.is_fixed = not (minutes.startswith("*") or hours.startswith("*"))
        self.minutes, self.hours = numbers(minutes, 0, 59), numbers(hours, 0, 23)
        self.days, self.weekdays = numbers(days, 1, 31), numbers(weekdays, 0, 6)
        self.both = days.startswith("*") or weekdays.startswith("*")

    def names(self, day: date, hour: int, minute: int) -> bool:
        on_day, on_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        on_date = (on_day and on_weekday) if self.both else (on_day or on_weekday)
        return on_date and hour in self.hours and minute in self.minutes

    def times(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """What happens while the clock is watched; a jump ahead shows all minutes that it leaves out at once."""
        seen: set[datetime] = set()
        before = (first - MINUTE).astimezone(self.zone).replace(tzinfo=None)
        at = first
        while at <= last:
            shown = at.astimezone(self.zone).replace(tzinfo=None)
            wall = [shown]
            if self.is_fixed and shown > before:
                wall = [before + n * MINUTE for n in range(1, (shown - before) // MINUTE + 1)]
            fresh = [each for each in wall if not (self.is_fixed and each in seen)]
            if any(self.names(each.date(), each.hour, each.minute) for each in fresh):
                yield at
            seen.update(wall)
            before, at = shown, at + MINUTE


@settings(max_examples=40, deadline=None)
@given(EXPRESSIONS | FIXED, st.sampled_from(ZONES), NEAR_A_CHANGE)
def test_the_times_are_those_that_one_sees_who_watches_the_clock(expression: str, zone: str, start: datetime) -> None:
    first = start.replace(second=0, microsecond=0)
    clock, end = Clock(expression, zone), first + 2 * DAY
    warm = list(clock.times(first - DAY, end))
    found = list(islice(times(Cron(expression, zone), first - MINUTE), 3000))
    assert [at for at in found if at <= end] == [at for at in warm if at >= first][:3000]


@settings(max_examples=40, deadline=None)
@given(EXPRESSIONS, st.datetimes(datetime(2020, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_croniter_finds_the_same_times_where_no_clock_is_changed(expression: str, start: datetime) -> None:
    theirs = croniter(expression, start, day_or=not any(expression.split()[n].startswith("*") for n in (2, 4)))
    assert list(islice(times(Cron(expression), start), 20)) == [theirs.get_next(datetime) for _ in range(20)]


@settings(deadline=None)
@given(EXPRESSIONS | FIXED, st.sampled_from(ZONES), MOMENTS)
def test_now_lies_between_the_latest_time_and_the_following_one(expression: str, zone: str, now: datetime) -> None:
    cron = Cron(expression, zone)
    latest, following = cron.latest(now), cron.following(now)
    assert latest <= now < following
    assert cron.following(latest) == following
    assert cron.latest(following - timedelta(microseconds=1)) == latest


@settings(deadline=None)
@given(FIXED, st.sampled_from(ZONES), NEAR_A_CHANGE)
def test_no_date_is_left_out_and_none_comes_twice_where_hour_and_minute_are_fixed(
    expression: str, zone: str, start: datetime
) -> None:
    minute, hour, *_, weekdays = expression.split()
    assume(weekdays == "*" and zone != "Pacific/Apia")
    one = f"{min(numbers(minute, 0, 59))} {min(numbers(hour, 0, 23))} * * *"
    dates = [at.astimezone(ZoneInfo(zone)).date() for at in islice(times(Cron(one, zone), start), 6)]
    assert {later - earlier for earlier, later in pairwise(dates)} == {DAY}


def berlin(*parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("30 2 * * *", berlin(2026, 3, 28, 12), [berlin(2026, 3, 29, 3, 0), berlin(2026, 3, 30, 2, 30)]),
        ("30 2 * * *", berlin(2026, 10, 24, 12), [berlin(2026, 10, 25, 2, 30), berlin(2026, 10, 26, 2, 30)]),
        ("0 2,3 * * *", berlin(2026, 3, 29, 0), [berlin(2026, 3, 29, 3, 0), berlin(2026, 3, 30, 2, 0)]),
        ("0 * * * *", berlin(2026, 3, 29, 1, 30), [berlin(2026, 3, 29, 3, 0), berlin(2026, 3, 29, 4, 0)]),
        ("0 * * * *", berlin(2026, 10, 25, 1, 30), [berlin(2026, 10, 25, 2), berlin(2026, 10, 25, 2, fold=1)]),
        ("*/30 2 * * *", berlin(2026, 3, 29, 0), [berlin(2026, 3, 30, 2, 0), berlin(2026, 3, 30, 2, 30)]),
        ("0 7 * * 1-5", berlin(2026, 3, 27, 12), [berlin(2026, 3, 30, 7), berlin(2026, 3, 31, 7)]),
    ],
)
def test_what_a_change_of_the_clocks_does_in_berlin(expression: str, after: datetime, expected: list[datetime]) -> None:
    found = list(islice(times(Cron(expression, "Europe/Berlin"), after), len(expected)))
    assert found == [each.astimezone(UTC) for each in expected]


@pytest.mark.parametrize(
    ("expression", "zone", "reason"),
    [
        ("0 7 * *", "UTC", "five fields"),
        ("0 0 7 * * *", "UTC", "five fields"),
        ("@daily", "UTC", "five fields"),
        ("61 * * * *", "UTC", "Bad minute"),
        ("0 0 31 2 *", "UTC", "Bad day-of-month"),
        ("0 0 * 6 MON#6", "UTC", "Bad day-of-week"),
        ("0 7 * * *", "Mars/Olympus_Mons", "no time zone"),
        ("0 7 * * *", "", "no time zone"),
        ("0 7 * * *", "../../etc/passwd", "no time zone"),
    ],
)
def test_what_is_no_expression_or_zone_is_refused(expression: str, zone: str, reason: str) -> None:
    with pytest.raises(InvalidJob, match=reason):
        Cron(expression, zone)


def test_the_rarest_day_is_found() -> None:
    assert Cron("0 0 29 2 *").following(datetime(2097, 1, 1, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)
