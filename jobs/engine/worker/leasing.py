"""The worker's words with Redis: lease, renew, settle, reap. Each call may be repeated after a lost reply."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import redis

from jobs.engine import views
from jobs.engine.broker import translate_errors
from jobs.engine.fleet import Fleet
from jobs.engine.foreign import KEPT
from jobs.engine.keys import PREFIX
from jobs.engine.lanes import DEFAULT_LANE
from jobs.engine.scripts import script
from jobs.engine.server_names import Admission
from jobs.engine.worker.packing import settle_command
from jobs.engine.worker.reading import Told
from jobs.engine.worker.running import Running
from jobs.engine.worker.settlements import Settlement

SLOT = 32
"""What a slot is counted in: room for one job, or for so many tiny ones."""
HORIZON = timedelta(hours=2)
"""How far ahead RQ's own records of a run reach, so that no RQ clean-up ever takes a living run for abandoned."""
WORKER_KEPT = timedelta(seconds=60)
NO_NAMES: frozenset[str] = frozenset()
GRACE_AFTER_OUTAGE = timedelta(seconds=3)


@dataclass(frozen=True)
class Ask:
    """A request: room in 32nds of a slot, in all and a lane; what a tiny job takes of it; where to look first.

    One that is sent ahead (`early`) waits behind a BLMOVE, and counts only while the worker still runs nothing: that is
    what the `generation` stands for. Any other one counts only when the worker knows of all jobs that it was given:
    `known` is the request that was given the last.
    """

    request: str
    room: int
    lanes: Mapping[str, int]
    picks: Sequence[int] = ()
    idle: bool = True
    tiny: Mapping[str, int] = field(default_factory=dict)
    early: bool = False
    generation: str = ""
    known: str = ""


@dataclass(eq=False)
class Leased:
    """What a lease call gave: runs (read when looked at), queues that are paused, whether there may be more."""

    told: Told = field(repr=False)
    server_time: datetime
    blocked: frozenset[str]
    more: bool
    must_drain: bool
    """Whether the worker must lease no more until it runs nothing: for a job that has to run alone."""
    runs_alone: bool
    """Whether it was given that job."""
    opens_in: timedelta | None
    """Until the next rate window opens before which somebody waits."""
    paused_lanes: frozenset[str]
    outdated: str | None = None
    """Where the request did not fit any more and nothing was done: the request that was given jobs last."""

    @cached_property
    def runs(self) -> list[Running]:
        """The runs."""
        return self.told.runs()

    @property
    def jobs(self) -> Sequence[Any]:
        """The same, unread."""
        return self.told.jobs


@dataclass(frozen=True)
class Settled:
    """What became of each outcome (ok, again, stale or refused), and how many of the runs have follow-ups."""

    words: list[str]
    followed: int


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
        self._counts, self._windows = fleet.limit_counts, fleet.windows
        gates = {"counts": self._counts, "windows": self._windows}
        self._gates = json.dumps(gates) if any(gates.values()) else ""
        self.admission = Admission()
        """From when on connections are ones to lease over."""
        self.kept = KEPT
        """How long results of plain RQ jobs are kept that do not say: RQ's `--results-ttl`."""

    def lease(self, ask: Ask) -> Leased:
        """Take runs for the room there is; the same request gets the same answer. Raises BrokerUnavailable."""
        with translate_errors():
            return self.leased(script("lease")(self._client, *self.lease_arguments(ask)))

    def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Write outcomes. Raises BrokerUnavailable."""
        with translate_errors():
            return settled(script("settle")(self._client, *self.settle_arguments(settlements)), len(settlements))

    def settle_arguments(self, settlements: Sequence[Settlement]) -> list[str | bytes | float]:
        """What the settle script is called with."""
        heads: dict[str, int] = {}
        runs: list[str | bytes | float] = []
        for head, own, _ in settlements:
            runs.append(heads.setdefault(head, len(heads) + 1))
            runs += own
        return [PREFIX, self._worker, _now(), len(heads), *heads, *runs]

    def settle_command(self, settlements: Sequence[Settlement]) -> bytes:
        """The whole call of the settle script, as it goes to Redis."""
        return settle_command(script("settle").sha, (PREFIX, self._worker, _now()), settlements)

    def lease_arguments(self, ask: Ask) -> list[str | bytes | float]:
        """What the lease script is called with."""
        picks = "".join(chr(48 + number) for number in ask.picks)
        return [
            PREFIX, self._worker, ask.request, "" if ask.early else _now(), self._lease_ms, _seconds(HORIZON),
            ask.room, "1" if ask.idle else "", DEFAULT_LANE,
            json.dumps(ask.lanes), json.dumps(ask.tiny), self._gates,
            ask.generation, ask.known, picks, *self._queues,
        ]  # fmt: skip

    def lease_command(self, ask: Ask) -> list[str | bytes | float]:
        """The whole call of the lease script."""
        return ["EVALSHA", script("lease").sha, 0, *self.lease_arguments(ask)]

    def leased(self, reply: Any) -> Leased:
        """What the lease script has answered."""
        if isinstance(reply, bytes):
            return self._leased_one(reply)
        server_ms, blocked, jobs, more, alone, opens_at, lanes, *briefly = reply
        request, heads = briefly or (b"", ())
        return Leased(
            told=Told(jobs, request, heads, self._fleet, self.kept),
            server_time=datetime.fromtimestamp(server_ms / 1000, UTC),
            blocked=_names(blocked) if server_ms else frozenset(),
            more=bool(more),
            must_drain=bool(alone),
            runs_alone=alone == 2,
            opens_in=timedelta(milliseconds=max(0, opens_at - server_ms)) if opens_at else None,
            paused_lanes=_names(lanes),
            outdated=None if server_ms else blocked.decode(),
        )

    def _leased_one(self, text: bytes) -> Leased:
        """The one job that woke an idle worker (lua/lib_one_job.lua)."""
        server_ms, request, *head, job = text.split(b"\n", 7)
        return Leased(
            told=Told([job], request, [head], self._fleet, self.kept),
            server_time=datetime.fromtimestamp(int(server_ms) / 1000, UTC),
            blocked=NO_NAMES,
            more=False,
            must_drain=False,
            runs_alone=False,
            opens_in=None,
            paused_lanes=NO_NAMES,
        )

    def renew(self, state: str, runs: Sequence[tuple[str, str, str]]) -> Renewal:
        """Renew the worker and its runs (id, execution, queue). Raises BrokerUnavailable."""
        with translate_errors():
            lost, cancelled, waiting = script("renew")(
                self._client, PREFIX, self._worker, _now(), self._lease_ms, _seconds(HORIZON), state,
                _seconds(WORKER_KEPT), json.dumps(self._queues), *(part for run in runs for part in run),
            )  # fmt: skip
        return Renewal({each.decode() for each in lost}, {each.decode() for each in cancelled}, waiting)

    def record(self, runs: Sequence[tuple[str, str, str]]) -> int:
        """Give runs (id, execution, queue) of batches leases of their own; how many. Raises BrokerUnavailable."""
        with translate_errors():
            recorded: int = script("record")(
                self._client, PREFIX, _now(), self._lease_ms, _seconds(HORIZON), *(part for run in runs for part in run)
            )
        return recorded

    def reap(self) -> tuple[list[tuple[str, str]], list[str]]:
        """Give back what the dead held: (job id, requeued/quarantined/dropped) of each, and the workers found dead."""
        with translate_errors():
            grace = int(GRACE_AFTER_OUTAGE.total_seconds() * 1000)
            reaped, dead = script("reap")(self._client, PREFIX, _now(), grace, self._lease_ms)
        return [(job_id.decode(), word.decode()) for job_id, _, word in reaped], [name.decode() for name in dead]

    def maintain(self) -> None:
        """Forget what has expired in RQ's registries."""
        with translate_errors():
            script("maintain")(self._client, PREFIX)

    def sweep(self) -> int:
        """Put right what happened to gates behind our back; how many tickets and holds were dropped."""
        with translate_errors():
            windows = " ".join(self._windows.values())
            dropped: int = script("sweep")(self._client, PREFIX, json.dumps(self._counts), windows)
        return dropped

    def sweep_workflows(self) -> int:
        """Move workflows on that were left behind; how many were looked at."""
        with translate_errors():
            looked: int = script("workflow_sweep")(self._client, PREFIX, _now())
        return looked

    def sweep_deferred(self) -> int:
        """Release or cancel jobs that wait for others and nobody looks after; how many that were."""
        with translate_errors():
            moved: int = script("sweep_deferred")(self._client, PREFIX, _now())
        return moved

    def leave(self) -> None:
        """Say that this worker is gone: its inboxes are empty and nothing is leased."""
        with translate_errors(), self._client.pipeline() as pipe:
            pipe.zrem(f"{PREFIX}:fleet:workers", self._worker)
            pipe.srem(f"{PREFIX}:fleet:dead", self._worker)
            pipe.hdel(f"{PREFIX}:fleet:worker-queues", self._worker)
            pipe.delete(f"{PREFIX}:fleet:lease-reply:{self._worker}")
            pipe.hset(f"{PREFIX}:worker:{self._worker}", "state", "idle")
            pipe.expire(f"{PREFIX}:worker:{self._worker}", _seconds(WORKER_KEPT))
            pipe.execute()


def settled(reply: list[Any], runs: int) -> Settled:
    """What the settle script has answered about so many runs: a word for each, or none where all would be "ok"."""
    return Settled([word.decode() for word in reply[:-1]] or ["ok"] * runs, reply[-1])


def _names(text: bytes) -> frozenset[str]:
    return frozenset(name for name in text.decode().split(",") if name)


def _now() -> str:
    return views.rfc3339(datetime.now(UTC))


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
