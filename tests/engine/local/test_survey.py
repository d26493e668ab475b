"""The survey without Redis: queues, lanes and pools are told as with it."""

from __future__ import annotations

from datetime import timedelta

from jobs.engine.local.fleet import LocalFleet
from jobs.engine.survey import Counts
from tests.engine.samples import jobs as samples


def test_queues_lanes_and_pools_are_told(fleet: LocalFleet, start_pool) -> None:  # type: ignore[no-untyped-def]
    samples.audited.enqueue({"folder": "/"})
    samples.audited.enqueue_in(timedelta(hours=1), {"folder": "/"})
    fleet.pauses.pause("queue:low", "lane:audit")
    queues = {each.name: each for each in fleet.survey.queues()}
    lanes = {each.name: each for each in fleet.survey.lanes()}
    assert queues["low"].counts == lanes["audit"].counts == Counts(waiting=1, delayed=1)
    assert queues["low"].paused and lanes["audit"].paused and not queues["default"].paused
    assert queues["low"].oldest_wait is not None and queues["default"].oldest_wait is None
    assert fleet.survey.workers() == fleet.survey.schedulers() == fleet.survey.gates() == []
    start_pool()
    (pool,) = fleet.survey.workers()
    assert (pool.state, pool.slots) == ("idle", 4)
