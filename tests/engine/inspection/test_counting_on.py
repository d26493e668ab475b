"""A dry run that may take a moment only: it tells what it counted so far, and counts on from there."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobs.engine import Fleet
from jobs.engine.inspection import Where, bound_of
from jobs.engine.inspection.bulk import FEW
from jobs.engine.places import encoded
from tests.engine.dead_letters.conftest import failure, let_die
from tests.engine.samples import jobs as samples

NO_TIME = timedelta(0)


@pytest.fixture
def crowd(fleet: Fleet) -> int:
    """As many jobs wait as a dry run needs two parts for."""
    number = FEW + 200
    samples.double.enqueue_many([{"value": each} for each in range(number)])
    return number


def test_a_dry_run_without_time_says_at_least_how_many_and_counts_on_to_the_end(fleet: Fleet, crowd: int) -> None:
    first = fleet.inspection.plan(Where(), "cancel", within=NO_TIME)
    assert (first.count, first.more, first.looked) == (FEW, True, FEW)
    last = fleet.inspection.plan(Where(), "cancel", within=NO_TIME, cursor=first.next_cursor)
    assert (last.count, last.more, last.next_cursor, last.looked) == (crowd, False, None, crowd)
    assert not {view.id for view in first.shown} & {view.id for view in last.shown}
    whole = fleet.inspection.plan(Where(), "cancel")
    assert bound_of(last.bound) == bound_of(whole.bound)
    assert (whole.count, whole.more, whole.next_cursor) == (crowd, False, None)


def test_what_was_counted_so_far_may_be_done_and_is_no_more_than_that(fleet: Fleet, crowd: int) -> None:
    first = fleet.inspection.plan(Where(), "cancel", within=NO_TIME)
    done, cursor = 0, None
    while done == 0 or cursor:
        step = fleet.inspection.carry_out(first.bound, by="ada", cursor=cursor)
        done, cursor = done + step.done, step.next_cursor
    assert done == FEW
    assert fleet.inspection.plan(Where(), "cancel").count == crowd - FEW


def test_words_that_hardly_any_job_has_are_found_by_going_on(fleet: Fleet, crowd: int) -> None:
    cursor, looked = None, []
    while not looked or cursor:
        plan = fleet.inspection.plan(Where(error="nobody says this"), "cancel", within=NO_TIME, cursor=cursor)
        cursor, looked = plan.next_cursor, [*looked, plan.looked]
        assert (plan.count, plan.more) == (0, cursor is not None)
    assert looked == [FEW, crowd]


def test_dead_letters_are_counted_on_too(fleet: Fleet) -> None:
    let_die(fleet, samples.double.enqueue_many([{"value": each} for each in range(600)]), failure())
    first = fleet.dead_letters.plan(within=NO_TIME)
    assert (first.count, first.more) == (500, True)
    last = fleet.dead_letters.plan(within=NO_TIME, cursor=first.next_cursor)
    assert (last.count, last.more, last.next_cursor) == (600, False, None)
    assert last.bound == fleet.dead_letters.plan().bound
    assert fleet.dead_letters.discard(first.bound, by="ada").done == 500
    assert fleet.dead_letters.count() == 100


@pytest.mark.parametrize("values", [["1", "a", "2"], ["1", "a", "x", 3], ["1", "a", "2", -1], ["1", "a", "2", True], 5])
def test_a_cursor_that_is_none_is_refused(fleet: Fleet, values: object) -> None:
    with pytest.raises(ValueError, match="cursor"):
        fleet.dead_letters.plan(cursor=encoded(values))
