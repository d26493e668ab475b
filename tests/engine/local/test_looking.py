"""A pool that finds only jobs that may not begin yet tells nobody: each word of it would have all pools look again."""

from __future__ import annotations

import pytest

from jobs.engine.local import step as steps
from jobs.engine.local.claiming import Room
from jobs.engine.local.desk import Desk
from jobs.engine.local.fleet import LocalFleet
from tests.engine.samples import gated
from tests.engine.samples.jobs import Number, double

ROOM = Room(4, {"default": 4, "database": 4}, ["default"] * 4, ["critical", "default", "low"])


class Listener:
    """Counts what it is told."""

    told = 0

    def changed(self) -> None:
        self.told += 1


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"TRACES_RATE_LIMIT_PER_2SEC": "1"}


@pytest.fixture
def desk(fleet: LocalFleet) -> Desk:
    desk = Desk(fleet, "pool-1", 4, alone=True)
    desk.join("pool-1")
    return desk


@pytest.mark.parametrize("held_by", ["a pause", "a window"])
def test_a_claim_that_begins_nothing_is_told_to_nobody(fleet: LocalFleet, desk: Desk, held_by: str) -> None:
    if held_by == "a pause":
        fleet.pauses.pause("queue:default")
        double.enqueue(Number())
    else:
        for _ in range(2):
            gated.traced.enqueue({})
        assert len(desk.claim(ROOM, ()).rows) == 1
    desk.claim(ROOM, ())
    listener = Listener()
    steps.on_change(listener)
    claimed = desk.claim(ROOM, ())
    assert (claimed.rows, listener.told) == ([], 0)
    fleet.pauses.resume("queue:default")
    double.enqueue(Number())
    listener.told = 0
    assert desk.claim(ROOM, ()).rows and listener.told == 1
