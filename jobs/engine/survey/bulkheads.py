"""Lanes as they are now: what runs, waits and is put aside in each, its windows and its breakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from jobs.engine import keys, lanes
from jobs.engine.statistics import Scope, Values
from jobs.engine.survey import samples
from jobs.engine.survey.gates import windows
from jobs.engine.survey.places import Place
from jobs.engine.survey.shapes import Counts, Lane, LaneBreaker, Worker

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet


def bulkheads(
    fleet: Fleet, found: Sequence[Place], scheduled: Mapping[str, int], workers: Iterable[Worker]
) -> list[Lane]:
    """Every lane; `scheduled` is how many jobs are delayed in each queue. Raises BrokerUnavailable."""
    waiting = samples.mix(
        fleet.redis, [samples.Source(place.key, True, place.length) for place in found if place.kind == "list"]
    )
    delayed = samples.mix(
        fleet.redis,
        [samples.Source(keys.registry("scheduled", name), False, number) for name, number in scheduled.items()],
    )
    active = sum((Counter(worker.lanes) for worker in workers), Counter[str]())
    parked, totals, used = _parked(found), fleet.statistics.totals(), windows(fleet)
    paused, shut = fleet.pauses.all(), _breakers(fleet)

    def counts(name: str) -> Counts:
        ends = totals.get(Scope("lane", name), Values()).ends
        return Counts(
            active=active[name],
            waiting=waiting.lanes[name],
            completed=ends.get("finished", 0),
            failed=ends.get("failed", 0),
            delayed=delayed.lanes[name],
            parked=parked[name],
        )

    return [
        Lane(
            name=name,
            counts=counts(name),
            slots=slots,
            windows=used.get(name, ()),
            breakers=shut.get(name, ()),
            paused=f"lane:{name}" in paused,
            estimated=waiting.is_estimate or delayed.is_estimate,
        )
        for name, slots in lanes.concurrency(fleet.settings).items()
    ]


def _parked(found: Iterable[Place]) -> Counter[str]:
    """By lane: put aside for its slots, or filed before its rate window."""
    parked: Counter[str] = Counter()
    for place in found:
        if place.kind == "overflow":
            parked[place.name] += place.length
        elif place.kind == "gate" and place.name.startswith("window:"):
            parked[place.name.split(":")[1]] += place.length
    return parked


def _breakers(fleet: Fleet) -> dict[str, tuple[LaneBreaker, ...]]:
    shut: dict[str, tuple[LaneBreaker, ...]] = {}
    for each in fleet.breakers.all():
        told = LaneBreaker(provider=each.provider, state=each.state, until=each.until)
        shut[each.lane] = (*shut.get(each.lane, ()), told)
    return shut
