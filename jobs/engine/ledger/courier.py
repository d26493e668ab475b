"""Bringing claimed rows to Redis, and taking their next step: once, whoever else tries and however late it gets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from jobs.engine.errors import BrokerUnavailable
from jobs.engine.ledger import pushing, steps
from jobs.engine.ledger.fences import Fence, Fences
from jobs.engine.new_jobs import NewJob

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

AWAY_FOR = timedelta(seconds=1)
"""So long nobody else in this process waits for a Redis that did not answer; the relay looks again."""
AT_ONCE = 500
TRIES = 2
log = structlog.get_logger("ledger")


class Courier:
    """Pushes for one process."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._away_until = 0.0
        self.fences = Fences(lambda: fleet.redis)

    @property
    def is_away(self) -> bool:
        """Whether Redis failed to answer within the last second."""
        return time.monotonic() < self._away_until

    def note_away(self) -> None:
        """Redis did not answer."""
        self._away_until = time.monotonic() + AWAY_FOR.total_seconds()

    def fence(self) -> Fence:
        """What a claim needs before it is made. Raises BrokerUnavailable."""
        try:
            return self.fences.get()
        except BrokerUnavailable:
            self.note_away()
            raise

    def push(self, new: Sequence[NewJob], fence: Fence, *, first: bool) -> set[str]:
        """Push jobs whose rows were claimed after `fence` was made; the ids of those that have arrived.

        `first` says that nobody has pushed them before, so that those that were not sent are `pending` again. Raises
        BrokerUnavailable.
        """
        arrived: set[str] = set()
        for at in range(0, len(new), AT_ONCE):
            if not pushing.is_there(self._fleet.redis):
                self.note_away()
                if first:
                    steps.give_back(self._fleet.database, [each.id for each in new[at:]])
                raise BrokerUnavailable("Redis can't be reached")
            arrived |= self._push(new[at : at + AT_ONCE], fence, first)
        return arrived

    def _push(self, new: Sequence[NewJob], fence: Fence, first: bool, tries: int = TRIES) -> set[str]:
        """Those for which it is too late are claimed anew, and pushed if nobody else has done so meanwhile."""
        if self.fences.is_over(fence):
            return self._push_anew(new, first, tries)
        try:
            pushed = pushing.push(self._fleet.redis, new, fence)
        except BrokerUnavailable:
            self.note_away()
            raise
        self.fences.hear(pushed.epoch, pushed.time)
        self._note(new, pushed, first)
        taken = [each for at, each in enumerate(new) if at not in pushed.refused]
        steps.confirm(self._fleet.database, sorted(each.id for each in taken if each.head.durable), fence.epoch)
        steps.forget(self._fleet.database, [each.id for each in taken if not each.head.durable])
        late = [new[at] for at in sorted(pushed.late)]
        return {each.id for each in taken} | (self._push_anew(late, first, tries) if late else set())

    def _push_anew(self, new: Sequence[NewJob], first: bool, tries: int) -> set[str]:
        if tries <= 1:
            return set()
        fence = self.fence()
        ids = {each["id"] for each in steps.claim_again(self._fleet.database, [each.id for each in new], fence.epoch)}
        return self._push([each for each in new if each.id in ids], fence, first, tries - 1) if ids else set()

    def _note(self, new: Sequence[NewJob], pushed: pushing.Pushed, first: bool) -> None:
        if first and pushed.held:
            steps.give_back(self._fleet.database, [new[at].id for at in sorted(pushed.held)], steps.AGAIN)
        for at, failure in pushed.failed.items():
            log.error("a durable job can't be pushed", job_id=new[at].id, error=str(failure))
