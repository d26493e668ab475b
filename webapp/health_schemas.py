"""What liveness, readiness and the health document say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jobs.engine.moments import Moment
from webapp.schemas import In, Out


class Alive(Out):
    """The process answers."""

    status: Literal["ok"] = "ok"


VITAL = "(redis|database|storage)"


class ReadinessQuery(In):
    """Checks, with commas between, that shall not make the answer a 503; what they find is told all the same."""

    exclude: str = Field("", pattern=f"^({VITAL}(,{VITAL}){{0,2}})?$")


class Readiness(Out):
    """Whether requests can be served: for each check "ok" or what is wrong with it.

    Redis, database and storage are "ok", "failed" or give "no answer"; workers and schedulers are "ok" or "none" when
    nobody gives signs of life; breakers are "ok" or "open"; "unknown" is what only Redis knows while it is away.
    The numbers of workers and schedulers are null then, and so are the circuit breakers (`LANE/PROVIDER`) that are
    `open` or `half_open`.
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
