"""A worker's slots: how many are free in all and in each lane, and which queue each job is taken from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from jobs.engine.lanes import DEFAULT_LANE


class Slots:
    """Counts what children work on, each on jobs of one lane; every lane has its own bound within the worker's."""

    def __init__(self, concurrency: int, lanes: Mapping[str, int]) -> None:
        self.concurrency = concurrency
        self._lanes = dict(lanes)
        self._taken: Counter[str] = Counter()
        self.held = 0
        """Slots for runs that were leased and are not shared out yet, of lanes that are not known yet."""

    @property
    def free(self) -> int:
        """Slots that nothing runs in."""
        return max(0, self.concurrency - self._taken.total() - self.held)

    def has_room(self, lane: str) -> bool:
        """Whether a job of that lane may begin."""
        return self.free > 0 and self._taken[self._known(lane)] < self._lanes[self._known(lane)]

    def free_by_lane(self) -> dict[str, int]:
        """Free slots of each lane."""
        return {lane: max(0, bound - self._taken[lane] - self.held) for lane, bound in self._lanes.items()}

    def taken(self) -> dict[str, int]:
        """Slots in use, by lane, without the lanes of which none is; of any thread."""
        return {lane: number for lane, number in self._taken.copy().items() if number}

    def take(self, lane: str) -> None:
        """A child begins with jobs of that lane."""
        self._taken[self._known(lane)] += 1

    def give(self, lane: str) -> None:
        """It has ended with them."""
        self._taken[self._known(lane)] -= 1

    def _known(self, lane: str) -> str:
        return lane if lane in self._lanes else DEFAULT_LANE


class QueueOrder:
    """Which queue each job is looked for first: smooth weighted round-robin, or always the first.

    Smooth weighted round-robin spreads the picks (6/3/1 gives c d c c d c l ...) and is exact over each full round:
    the algorithm of nginx's upstream module.
    """

    def __init__(self, queues: Sequence[str], weights: Mapping[str, int], strict: bool) -> None:
        self._round = [1] if strict else _smooth_round([weights.get(queue, 1) for queue in queues])
        self._at = 0

    def picks(self, count: int) -> list[int]:
        """For each of the next `count` jobs the number (from 1) of the queue to look at first."""
        rounds = (self._at + count) // len(self._round) + 1
        return (self._round * rounds)[self._at : self._at + count]

    def taken(self, count: int) -> None:
        """So many of the picks were used; the next jobs go on from there."""
        self._at = (self._at + count) % len(self._round)


def _smooth_round(weights: Sequence[int]) -> list[int]:
    current, picks = [0] * len(weights), []
    for _ in range(sum(weights)):
        current = [value + weight for value, weight in zip(current, weights, strict=True)]
        best = max(range(len(current)), key=current.__getitem__)
        current[best] -= sum(weights)
        picks.append(best + 1)
    return picks
