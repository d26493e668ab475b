"""What liveness, readiness and the health document say."""

from __future__ import annotations

from typing import Literal

from webapp.schemas import Moment, Out


class Alive(Out):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Out):
    """Whether requests can be served: for each check "ok" or what is wrong with it; "degraded" without a worker.

    The workers and schedulers alive are for information, and null while nobody knows; so are the circuit breakers
    (`LANE/PROVIDER`) that are `open` or `half_open`.
    """

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, str]
    breakers: dict[str, str] | None = None
    workers: int | None = None
    schedulers: int | None = None


class JobQueueHealth(Out):
    """Whether jobs go through Redis (they run in the web processes otherwise), and whether it answers."""

    enabled: bool
    redis: bool


class Health(Out):
    """The health document."""

    status: Literal["ok", "degraded"]
    timestamp: Moment
    jobQueue: JobQueueHealth
    workers: int | None = None
    schedulers: int | None = None
