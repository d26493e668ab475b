"""Going on from a place in a sorted set: nothing twice, nothing left out, whatever is gone or equal meanwhile."""

from __future__ import annotations

import random

import pytest

from jobs.engine import Fleet, places
from jobs.engine.places import Place, cursor_of, entries_after, place_of

KEY = "a-sorted-set"


def after(fleet: Fleet, place: Place, newest_first: bool) -> list[str]:
    return [member for part in entries_after(fleet.redis, KEY, place, newest_first=newest_first) for member, _ in part]


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_set_with_equal_times_is_gone_on_with_from_any_place(fleet: Fleet, newest_first: bool) -> None:
    chance = random.Random(5)
    times = [1.5, 2, 2, 2, 1795345750.353248]
    scores = {f"m{number:04}": float(chance.choice(times)) for number in range(2 * places.LOOK_AT + 200)}
    fleet.redis.zadd(KEY, scores)
    everything = after(fleet, Place(), newest_first)
    assert everything == sorted(scores, key=lambda name: (scores[name], name), reverse=newest_first)
    for at in sorted(chance.sample(range(len(everything)), 30)):
        member = everything[at]
        place = place_of(cursor_of(Place(repr(scores[member]), member)))
        assert after(fleet, place, newest_first) == everything[at + 1 :]
        fleet.redis.zrem(KEY, member)
        assert after(fleet, place, newest_first) == everything[at + 1 :]
        fleet.redis.zadd(KEY, {member: 9e9 if chance.random() < 0.5 else 0.5})
        rest = [name for name in after(fleet, place, newest_first) if name != member]
        assert rest == everything[at + 1 :]
        fleet.redis.zadd(KEY, {member: scores[member]})


@pytest.mark.parametrize("cursor", ["x", "WzEsMl0=", cursor_of(Place("-1", "a")), cursor_of(Place("1", ""))])
def test_a_strange_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(ValueError):
        place_of(cursor)
