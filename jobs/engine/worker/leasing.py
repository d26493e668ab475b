"""The worker's words with Redis: lease, renew, settle, reap. Each call may be repeated after a lost reply."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import redis

from jobs.engine import views
from jobs.engine.broker import translate_errors
from jobs.engine.fleet import Fleet
from jobs.engine.keys import PREFIX
from jobs.engine.lanes import DEFAULT_LANE
from jobs.engine.scripts import script
from jobs.engine.worker.running import Running, of_reply

HORIZON = timedelta(hours=2)
"""How far ahead RQ's own records of a run reach, so that no RQ clean-up ever takes a living run for abandoned."""
WORKER_KEPT = timedelta(seconds=60)
GRACE_AFTER_OUTAGE = timedelta(seconds=3)


@dataclass(frozen=True)
class Leased:
    """What a lease call gave: runs, queues that are paused, and whether the call stopped before it had seen all."""

    runs: list[Running]
    blocked: frozenset[str]
    more: bool


@dataclass(frozen=True)
class Renewal:
    """What a renewal found: executions that are no longer this worker's, those to cancel, ids in its own inboxes."""

    lost: set[str]
    cancelled: set[str]
    waiting: int


class Leases:
    """The scripts' arguments and replies, for one worker on one connection."""

    def __init__(self, client: redis.Redis, worker: str, queues: Sequence[str], fleet: Fleet) -> None:
        self._client, self._worker, self._queues, self._fleet = client, worker, list(queues), fleet
        self._lease_ms = int(fleet.settings.lease.total_seconds() * 1000)

    def lease(self, request: str, picks: Sequence[int], free: Mapping[str, int]) -> Leased:
        """Take up to one run a pick; the same `request` gets the same answer. Raises BrokerUnavailable."""
        with translate_errors():
            reply = script("lease")(
                self._client, PREFIX, self._worker, request, _now(), self._lease_ms, _seconds(HORIZON),
                len(picks), DEFAULT_LANE, json.dumps(free), len(self._queues), *self._queues, *picks,
            )  # fmt: skip
        server_time = datetime.fromtimestamp(reply[0] / 1000, UTC)
        blocked = frozenset(name for name in reply[1].decode().split(",") if name)
        runs = [of_reply(each, server_time, self._fleet) for each in reply[2]]
        return Leased(runs, blocked, len(reply) > 3 and bool(reply[3]))

    def renew(self, state: str, runs: Sequence[tuple[str, str, str]]) -> Renewal:
        """Renew the worker and its runs (id, execution, queue). Raises BrokerUnavailable."""
        with translate_errors():
            lost, cancelled, waiting = script("renew")(
                self._client, PREFIX, self._worker, _now(), self._lease_ms, _seconds(HORIZON), state,
                _seconds(WORKER_KEPT), json.dumps(self._queues), *(part for run in runs for part in run),
            )  # fmt: skip
        return Renewal({each.decode() for each in lost}, {each.decode() for each in cancelled}, waiting)

    def settle(self, settlements: Sequence[list[str | bytes | float]]) -> list[str]:
        """Write outcomes; a word each: ok, again or stale. Raises BrokerUnavailable."""
        with translate_errors():
            words = script("settle")(
                self._client, PREFIX, self._worker, _now(), *(part for each in settlements for part in each)
            )
        return [word.decode() for word in words]

    def reap(self) -> tuple[list[tuple[str, str]], list[str]]:
        """Give back what the dead held: (job id, requeued/quarantined/dropped) of each, and the workers found dead."""
        with translate_errors():
            reaped, dead = script("reap")(self._client, PREFIX, _now(), int(GRACE_AFTER_OUTAGE.total_seconds() * 1000))
        return [(job_id.decode(), word.decode()) for job_id, _, word in reaped], [name.decode() for name in dead]

    def maintain(self) -> None:
        """Forget what has expired in RQ's registries."""
        with translate_errors():
            script("maintain")(self._client, PREFIX)

    def leave(self) -> None:
        """Say that this worker is gone: its inboxes are empty and nothing is leased."""
        with translate_errors(), self._client.pipeline() as pipe:
            pipe.zrem(f"{PREFIX}:fleet:workers", self._worker)
            pipe.srem(f"{PREFIX}:fleet:dead", self._worker)
            pipe.hdel(f"{PREFIX}:fleet:worker-queues", self._worker)
            pipe.delete(f"{PREFIX}:fleet:lease-reply:{self._worker}")
            pipe.execute()


def _now() -> str:
    return views.rfc3339(datetime.now(UTC))


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
