"""What the log lines of a run name besides: its job, tenant and correlation id, bound at the cost of one assignment."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Any

from structlog.contextvars import get_contextvars

_of_job: ContextVar[Mapping[str, Any]] = ContextVar("rq_fleet_job", default={})  # noqa: B039  never written to


class bound_job_context:
    """For the time of a `with` block, every line of this thread or greenlet names the job."""

    __slots__ = ("_named", "_token")

    def __init__(
        self, job_id: str, job_type: str, *, tenant: str | None = None, correlation_id: str | None = None, **more: Any
    ) -> None:
        self._named = {
            "job_id": job_id,
            "job_type": job_type,
            "tenant": tenant,
            "correlation_id": correlation_id,
            **more,
        }

    def __enter__(self) -> None:
        self._token = bind(self._named)

    def __exit__(self, *_: object) -> None:
        unbind(self._token)


def bind(named: Mapping[str, Any]) -> Token[Mapping[str, Any]]:
    """Have every line of this thread or greenlet name these besides, until `unbind`; for runs, where time counts."""
    outer = _of_job.get()
    return _of_job.set({**outer, **named} if outer else named)


unbind = _of_job.reset


def bound() -> dict[str, Any]:
    """Everything that is bound here, by structlog's own functions or for a job."""
    of_job = {name: value for name, value in _of_job.get().items() if value is not None}
    return {**get_contextvars(), **of_job}
