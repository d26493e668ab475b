"""A worker's slots: how many are free in all and in each lane, and which queue each looks at first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from jobs.engine.lanes import DEFAULT_LANE


class Slots:
    """Counts what runs; every lane has its own bound within the worker's."""

    def __init__(self, concurrency: int, lanes: Mapping[str, int]) -> None:
        self.concurrency = concurrency
        self._lanes = dict(lanes)
        self._taken: Counter[str] = Counter()

    @property
    def free(self) -> int:
        """Slots that nothing runs in."""
        return max(0, self.concurrency - self._taken.total())

    def free_by_lane(self) -> dict[str, int]:
        """Free slots of each lane."""
        return {lane: max(0, bound - self._taken[lane]) for lane, bound in self._lanes.items()}

    def take(self, lane: str) -> None:
        """A run begins."""
        self._taken[lane if lane in self._lanes else DEFAULT_LANE] += 1

    def give(self, lane: str) -> None:
        """A run has ended."""
        self._taken[lane if lane in self._lanes else DEFAULT_LANE] -= 1


class QueueOrder:
    """Which queue a slot looks at first: smooth weighted round-robin, or always the first.

    Smooth weighted round-robin spreads the picks (6/3/1 gives c d c c d c l ...) and is exact over each full round:
    the algorithm of nginx's upstream module.
    """

    def __init__(self, queues: Sequence[str], weights: Mapping[str, int], strict: bool) -> None:
        self._weights = [1 if strict else weights.get(queue, 1) for queue in queues]
        self._strict = strict
        self._current = [0] * len(queues)

    def picks(self, count: int) -> list[int]:
        """For each of `count` slots the number (from 1) of the queue to look at first."""
        return [1] * count if self._strict else [self._pick() for _ in range(count)]

    def _pick(self) -> int:
        self._current = [value + weight for value, weight in zip(self._current, self._weights, strict=True)]
        best = max(range(len(self._current)), key=self._current.__getitem__)
        self._current[best] -= sum(self._weights)
        return best + 1
