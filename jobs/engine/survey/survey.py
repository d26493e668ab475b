"""The survey of a fleet on Redis; every method raises BrokerUnavailable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jobs.engine import keys
from jobs.engine.broker import translate_errors
from jobs.engine.census import SCHEDULER_IS_GONE_AFTER
from jobs.engine.policy import Queue
from jobs.engine.statistics.history import History, Moment, Range
from jobs.engine.survey import workers
from jobs.engine.survey.bulkheads import bulkheads
from jobs.engine.survey.gates import gates
from jobs.engine.survey.places import Place, places
from jobs.engine.survey.shapes import Counts, Gate, Lane, OpenBreaker, Queued, Scheduler, Worker

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

REGISTRIES = ("wip", "finished", "failed", "scheduled")


class Survey:
    """What operators see of a fleet. No method reads more than a bounded number of jobs."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._history = History(lambda: fleet.redis, self.names)

    @property
    def names(self) -> list[str]:
        """The queues there are, the most urgent first."""
        return list(dict.fromkeys([*(queue.value for queue in Queue), *self._fleet.settings.queue_weights]))

    def queues(self) -> list[Queued]:
        """Each queue with its counts and how long its first job has waited."""
        found = places(self._fleet.redis, self.names)
        kept = self._kept()
        waits = self._waits(found)
        listening = Counter(queue for worker in self.workers() if worker.state != "lost" for queue in worker.queues)
        paused = self._fleet.pauses.all()
        return [
            Queued(
                name=name,
                counts=_counts_of(name, found, kept[name]),
                oldest_wait=max((wait for queue, wait in waits if queue == name), default=None),
                workers=listening[name],
                paused=f"queue:{name}" in paused,
            )
            for name in self.names
        ]

    def lanes(self) -> list[Lane]:
        """Each lane with its counts, slots, windows and breakers that are not closed."""
        scheduled = {name: kept["scheduled"] for name, kept in self._kept().items()}
        return bulkheads(self._fleet, places(self._fleet.redis, self.names), scheduled, self.workers())

    def history(self, wanted: Range) -> list[Moment]:
        """What each queue did in the points of a range, the oldest first; each past point is read once."""
        return self._history.read(wanted)

    def gates(self, most: int = 100) -> list[Gate]:
        """Limits, turns and windows before which jobs wait, those with the most first."""
        return gates(self._fleet, places(self._fleet.redis, self.names))[:most]

    def workers(self) -> list[Worker]:
        """Every worker that is registered, also one that was lost of late."""
        paused = self._fleet.pauses.all()
        lease_ms = round(self._fleet.settings.lease.total_seconds() * 1000)
        return workers.workers(self._fleet.redis, lease_ms, lambda name: f"worker:{name}" in paused)

    def schedulers(self) -> list[Scheduler]:
        """Every living scheduler."""
        return workers.schedulers(self._fleet.redis, SCHEDULER_IS_GONE_AFTER.total_seconds())

    def breakers(self) -> list[OpenBreaker]:
        """Those that are not closed, by name."""
        return [OpenBreaker(**asdict(each)) for each in self._fleet.breakers.all()]

    @translate_errors()
    def suspended(self) -> bool:
        """Whether `rq suspend` has stopped all workers."""
        return bool(self._fleet.redis.exists(f"{keys.PREFIX}:suspended"))

    @translate_errors()
    def _kept(self) -> dict[str, dict[str, int]]:
        with self._fleet.redis.pipeline(transaction=False) as pipe:
            for name in self.names:
                for registry in REGISTRIES:
                    pipe.zcard(keys.registry(registry, name))
            counts = iter(pipe.execute())
        return {name: {registry: next(counts) for registry in REGISTRIES} for name in self.names}

    @translate_errors()
    def _waits(self, found: Sequence[Place]) -> list[tuple[str, float]]:
        """For each list the seconds since its first job was put on its queue."""
        begun = [place for place in found if place.first]
        with self._fleet.redis.pipeline(transaction=False) as pipe:
            for place in begun:
                pipe.hget(keys.job(place.first), "enqueued_at")
            stamps: list[Any] = pipe.execute(raise_on_error=False)
        now = datetime.now(UTC)
        waits = ((place.queue, _age(stamp, now)) for place, stamp in zip(begun, stamps, strict=True))
        return [(queue, wait) for queue, wait in waits if wait is not None]


def _counts_of(name: str, found: Iterable[Place], kept: dict[str, int]) -> Counts:
    mine = [place for place in found if place.queue == name]
    return Counts(
        active=kept["wip"],
        waiting=sum(place.length for place in mine if place.kind == "list"),
        completed=kept["finished"],
        failed=kept["failed"],
        delayed=kept["scheduled"],
        parked=sum(place.length for place in mine if place.kind != "list"),
    )


def _age(stamp: Any, now: datetime) -> float | None:
    try:
        return max(0.0, (now - datetime.fromisoformat(stamp.decode())).total_seconds())
    except (ValueError, AttributeError, TypeError):
        return None
