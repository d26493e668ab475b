"""What the keeper of the ledger does in turn: relay rows to Redis, follow what became of them, look for lost ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import redis
from sqlalchemy import RowMapping

from jobs.engine import registry
from jobs.engine.ledger import doubts, rows, steps
from jobs.engine.ledger.audit import Audit
from jobs.engine.ledger.fences import Fence
from jobs.engine.ledger.following import Follower
from jobs.engine.ledger.returning import Returned
from jobs.engine.local.orphans import Orphans
from jobs.engine.server_names import Naming
from jobs.engine.workflows.keeping import WorkflowKeeper

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

RELAY_EVERY = timedelta(milliseconds=250)
RELAY_SELDOM = timedelta(seconds=1)
AUDIT_EVERY = timedelta(seconds=1)


class Relay:
    """One process's part in keeping the ledger; `server` knows which one `client` talks to."""

    def __init__(self, fleet: Fleet, client: redis.Redis, server: Naming) -> None:
        self._fleet, self._client = fleet, client
        self._follower, self._audit = Follower(fleet, client), Audit(fleet, client)
        self._workflows, self._orphans = WorkflowKeeper(fleet), Orphans(fleet, AUDIT_EVERY)
        self._returned, self._epoch = Returned(fleet, client, server), ""
        self._relay_at = self._audit_at = self._workflows_at = 0.0

    def turn(self, epoch: str) -> bool:
        """One round in the life `epoch` of Redis; whether there is more to do at once. Raises BrokerUnavailable."""
        now = time.monotonic()
        if epoch != self._epoch:
            self._epoch = epoch
            self._audit.begin_anew()
        if self._returned.look():
            self._audit.begin_anew(youngest_first=True)
        busy = self._follower.follow()
        if now >= self._relay_at:
            relayed = self._relay(epoch)
            self._relay_at = now if relayed else now + self._relay_again().total_seconds()
            busy = busy or relayed
        if now >= self._audit_at or self._audit.hurries:
            self._look_for_lost(epoch)
            self._audit_at = now + AUDIT_EVERY.total_seconds()
            busy = busy or self._audit.hurries
        if now >= self._workflows_at:
            looks_on = self._workflows.look(self._client, epoch)
            self._workflows_at = now if looks_on else now + AUDIT_EVERY.total_seconds()
            busy = busy or looks_on
        return busy

    def follow(self) -> None:
        """Write what the stream holds."""
        while self._follower.follow():
            pass

    def look_for_new(self) -> None:
        """Push what is due, for a process that does not lead."""
        fence = self._fleet.ledger.fence()
        self._push(steps.claim_new(self._fleet.database, _known_types()), fence, first=True)

    def _look_for_lost(self, epoch: str) -> None:
        fence = self._fence(epoch)
        self._push(self._audit.look(epoch), fence, first=False)
        doubts.settle(self._fleet.database, self._client)
        self._orphans.look()

    def _relay(self, epoch: str) -> bool:
        fence = self._fence(epoch)
        stale = steps.claim_stale(self._fleet.database, _known_types(), epoch)
        self._push(stale, fence, first=False)
        fence = self._fence(epoch)
        new = steps.claim_new(self._fleet.database, _known_types())
        self._push(new, fence, first=True)
        return bool(stale or new)

    def _relay_again(self) -> timedelta:
        """Rows of types that this release does not know are read for nothing: not so often, however many they are."""
        return RELAY_SELDOM if steps.any_due(self._fleet.database) else RELAY_EVERY

    def _fence(self, epoch: str) -> Fence:
        """For claims of rows that may be in that life of Redis already, which must not be taken for another."""
        return self._fleet.ledger.fence()._replace(epoch=epoch)

    def _push(self, taken: Sequence[RowMapping], fence: Fence, *, first: bool) -> None:
        if taken:
            heads = self._fleet.client.heads
            self._fleet.ledger.push([rows.new_job_of(each, heads) for each in taken], fence, first=first)


def _known_types() -> list[str]:
    return [each.name for each in registry.all_types()]
