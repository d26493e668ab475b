"""What a survey tells: one frozen model a thing, as the API and the command line print them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from jobs.engine.breakers import State

WorkerState = Literal["idle", "busy", "paused", "draining", "lost"]


class Told(BaseModel):
    """A part of a survey; times are UTC, durations are seconds."""

    model_config = ConfigDict(frozen=True)


class Counts(Told):
    """Jobs by state: `waiting` ones in a queue's list, `parked` ones for a lane's slots, a limit, a turn or a window.

    Of a queue, `completed` and `failed` jobs are those that are kept; of a lane, all there ever were.
    """

    active: int = 0
    waiting: int = 0
    completed: int = 0
    failed: int = 0
    delayed: int = 0
    parked: int = 0


class Queued(Told):
    """A queue; `oldest_wait` is how long the one waits that was put on it first, None where nobody waits."""

    name: str
    counts: Counts
    oldest_wait: float | None = None
    workers: int = 0
    paused: bool = False


class Window(Told):
    """A lane's rate window: of `count` begins in `period` so many are used; `opens_at` is when the next may begin."""

    count: int
    period: float
    used: int = 0
    opens_at: datetime | None = None


class LaneBreaker(Told):
    """A breaker of the lane that is not closed."""

    provider: str
    state: State
    until: datetime


class OpenBreaker(LaneBreaker):
    """A breaker that is not closed; `until` then the next probe may begin, `times` is how often in a row it opened."""

    lane: str
    since: datetime | None = None
    times: int = 0
    reason: str = ""

    @property
    def name(self) -> str:
        """`LANE/PROVIDER`."""
        return f"{self.lane}/{self.provider}"


class Lane(Told):
    """A lane: `slots` of each worker; `estimated` says that `waiting` or `delayed` come from samples of the queues."""

    name: str
    counts: Counts
    slots: int
    windows: tuple[Window, ...] = ()
    breakers: tuple[LaneBreaker, ...] = ()
    paused: bool = False
    estimated: bool = False


class Gate(Told):
    """A limit, turn or window before which jobs wait, by its key; `held` counts the runs under a limit."""

    key: str
    kind: Literal["limit", "turn", "window"]
    waiting: int
    held: int = 0
    most: int | None = None


class Running(Told):
    """A run of a worker."""

    id: str
    type: str
    queue: str
    lane: str
    tenant: str = ""
    attempt: int = 1
    since: datetime


class Worker(Told):
    """A worker, of this fleet or (`is_ours` false) RQ's own; what it does not tell is None or empty.

    `heartbeat_age` is how long ago it showed that it lives; `memory` is in bytes, of all its processes, shared pages
    counted once; `cpu` is their processor time so far.
    """

    name: str
    state: WorkerState
    is_ours: bool = True
    queues: tuple[str, ...] = ()
    slots: int = 1
    busy: int = 0
    lanes: dict[str, int] = {}
    running: tuple[Running, ...] = ()
    memory: int | None = None
    cpu: float | None = None
    processes: int | None = None
    version: str = ""
    host: str = ""
    pid: int | None = None
    started_at: datetime | None = None
    heartbeat_age: float | None = None
    paused: bool = False


class Scheduler(Told):
    """A scheduler; one of them leads."""

    name: str
    leads: bool
    heartbeat_age: float
