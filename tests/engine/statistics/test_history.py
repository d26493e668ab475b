"""History for charts: right sums of steps, each past one read once, and gaps where nothing was counted."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from jobs.engine import Fleet, keys
from jobs.engine.statistics import Counted, Tally
from jobs.engine.statistics.history import RANGES, History
from jobs.engine.statistics.scopes import STEPS, Scope, step_key

SCOPE = Scope("queue", "default")


def put(fleet: Fleet, step: timedelta, begins: int, **fields: int) -> None:
    mapping = {SCOPE.field(what): number for what, number in fields.items()}
    fleet.redis.hset(step_key(step, begins), mapping=mapping)  # type: ignore[arg-type]


@pytest.fixture
def now(fleet: Fleet) -> int:
    return int(fleet.redis.time()[0])  # type: ignore[index]


@pytest.mark.parametrize(("name", "points"), [("1h", 180), ("24h", 144), ("7d", 168)])
def test_a_range_has_as_many_points_as_a_chart_has_room_for(fleet: Fleet, now: int, name: str, points: int) -> None:
    found = History(lambda: fleet.redis, ["default"]).read(RANGES[name])
    length = RANGES[name].point
    assert len(found) == points
    assert {later.at - earlier.at for earlier, later in pairwise(found)} == {length}
    assert 0 <= now - found[-1].at.timestamp() <= length.total_seconds() + 1
    assert all(moment.queues == {} for moment in found)


@pytest.mark.parametrize("wanted", RANGES.values(), ids=RANGES)
def test_what_steps_of_one_point_counted_is_added_and_levels_are_the_last(fleet: Fleet, now: int, wanted) -> None:  # type: ignore[no-untyped-def]
    assert dict(STEPS)[wanted.step] >= wanted.span, "such steps are kept for so long"
    length, step = int(wanted.point.total_seconds()), int(wanted.step.total_seconds())
    begins = now // length * length - 10 * length
    for n in range(wanted.together):
        put(fleet, wanted.step, begins + n * step, finished=5, failed=1, waiting=n, r3=5, r6=1)
    found = History(lambda: fleet.redis, ["default"]).read(wanted)
    (moment,) = [moment for moment in found if moment.queues]
    values = moment.queues["default"]
    assert moment.at.timestamp() == begins
    assert values.ends == {"finished": 5 * wanted.together, "failed": wanted.together}
    assert values.levels == {"waiting": wanted.together - 1}
    assert values.run.count == 6 * wanted.together


def test_what_workers_count_is_seen_at_once_and_what_is_past_is_not_read_again(fleet: Fleet, now: int) -> None:
    wanted, history = RANGES["1h"], History(lambda: fleet.redis, ["default"])
    past = now // 20 * 20 - 600
    put(fleet, wanted.step, past, finished=3)
    assert [m.queues["default"].ends for m in history.read(wanted) if m.queues] == [{"finished": 3}]
    fleet.redis.delete(step_key(wanted.step, past))
    tally = Tally("w1")
    tally.count([Counted("default", "chat", "chat.reply", "finished", 0.5)])
    tally.flush(fleet.redis)
    ends = [m.queues["default"].ends for m in history.read(wanted) if m.queues]
    assert ends == [{"finished": 3}, {"finished": 1}]
    assert fleet.redis.exists(keys.STATISTICS_TOTAL)
