"""A run that this worker holds a lease on, from the lease's reply to its outcome."""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.engine import events, registry, views
from jobs.engine.errors import UnknownJob
from jobs.engine.fleet import Fleet
from jobs.engine.foreign import KEPT
from jobs.engine.outcome import Outcome
from jobs.engine.policy import Policy, Retention

DEFAULT_TIMEOUT = timedelta(seconds=180)
"""RQ's own, for jobs of plain clients that name none."""
FAILED_KEPT = timedelta(days=365)
"""RQ's own, for failed jobs of plain clients."""
LONGEST = int(timedelta(days=3660).total_seconds())
EVENTS = {
    "finished": "job:completed",
    "failed": "job:failed",
    "cancelled": "job:cancelled",
    "retry": "job:retrying",
    "released": "job:queued",
    "lost": "job:queued",
    "quarantined": "job:failed",
}


@dataclass
class Running:
    """One leased run. Times ending in `_at` are monotonic seconds; `begun` is epoch seconds."""

    job_id: str
    execution_id: str
    queue: str
    lane: str
    data: bytes = field(repr=False)
    job_type: str
    tenant: str
    correlation_id: str
    attempt: int
    timeout: timedelta | None
    expired: bool
    cancel_requested: bool
    policy: Policy | None
    values: dict[str, str] = field(repr=False, default_factory=dict)
    begun: float = field(default_factory=time.time)
    begun_at: float = field(default_factory=time.monotonic)
    kill_at: float | None = None
    cancelling: bool = False
    has_begun: bool = False
    has_ended: bool = False

    @property
    def rq_retry(self) -> tuple[int, list[float]]:
        """RQ's own retries of a plain client's job: how many are left, and the waits in seconds."""
        return _number(self.values.get("retries_left")), _intervals(self.values.get("retry_intervals"))

    def message(self) -> dict[str, Any]:
        """What the child is told."""
        names = ("success_callback_name", "failure_callback_name", "stopped_callback_name")
        return {
            "op": "run",
            "job_id": self.job_id,
            "execution_id": self.execution_id,
            "job_type": self.job_type,
            "tenant": self.tenant,
            "attempt": self.attempt,
            "timeout": None if self.timeout is None else self.timeout.total_seconds(),
            "memory_mb": self.policy.memory_mb if self.policy else None,
            "retries_left": self.rq_retry[0],
            "retry_intervals": self.rq_retry[1],
            "callbacks": [self.values[name] for name in names if self.values.get(name)],
            "has_webhooks": bool(self.values.get("webhooks")),
        }

    def settlement(self, ended: Outcome, ended_at: float) -> list[str | bytes | float]:
        """The settle script's arguments for this run and outcome."""
        keep, count = self._retention(ended.kind)
        registered = self.job_type if self.policy else ""
        packed = zlib.compress(ended.traceback.encode()) if ended.traceback else b""
        wait = ended.wait.total_seconds() if ended.wait else 0.0
        reason = json.dumps(ended.error) if ended.kind in ("failed", "cancelled", "retry") else ended.message
        return [
            self.job_id,
            self.execution_id,
            self.queue,
            ended.kind,
            registered,
            base64.b64encode(ended.value.encode()) if ended.value not in (None, "null") else "",
            base64.b64encode(packed),
            packed,
            int(keep.total_seconds()),
            count,
            wait,
            self.begun,
            ended_at,
            EVENTS[ended.kind],
            self._event_data(ended, wait),
            reason,
            self.values.get("unique_key", ""),
            "rl",
        ]

    def _event_data(self, ended: Outcome, wait: float) -> str:
        extra: dict[str, Any] = {}
        if ended.kind in ("failed", "retry", "quarantined", "lost"):
            extra["error"] = ended.error
        if ended.kind in ("failed", "quarantined"):
            extra["final"] = True
        if ended.kind == "retry":
            extra["retry_at"] = views.rfc3339(datetime.now(UTC) + timedelta(seconds=wait))
        if ended.kind == "released":
            extra["reason"] = ended.message
        return events.job_data(self.job_id, self.job_type, self.attempt, **extra)

    def _retention(self, kind: str) -> tuple[timedelta, int]:
        if self.policy is None:
            name = "result_ttl" if kind == "finished" else "failure_ttl"
            default = KEPT if kind == "finished" else FAILED_KEPT
            seconds = _whole(self.values.get(name))
            keep = default if seconds is None else timedelta(seconds=min(max(seconds, 0), LONGEST))
            return (FAILED_KEPT if seconds == -1 else keep), 10_000
        kept: Retention = self.policy.retention
        return (kept.failed, kept.failed_count) if kind == "failed" else (kept.finished, kept.finished_count)


FIELDS = (
    "data",
    "type",
    "tenant",
    "timeout",
    "deadline",
    "attempts",
    "topics",
    "correlation_id",
    "deaths",
    "success_callback_name",
    "failure_callback_name",
    "stopped_callback_name",
    "webhooks",
    "cancel_requested",
    "final",
    "retries_left",
    "retry_intervals",
    "result_ttl",
    "failure_ttl",
    "unique_key",
)
"""The order of `FIELDS` in lease.lua."""


def of_reply(reply: Sequence[Any], server_time: datetime, fleet: Fleet) -> Running:
    """A run from one job of the lease script's reply."""
    job_id, execution_id, queue, lane, raw = reply
    values = {
        name: value.decode("utf-8", "replace")
        for name, value in zip(FIELDS[1:], raw[1:], strict=True)
        if value is not None
    }
    name = values.get("type", "")
    return Running(
        job_id=job_id.decode(),
        execution_id=execution_id.decode(),
        queue=queue.decode(),
        lane=lane.decode(),
        data=raw[0],
        job_type=name,
        tenant=values.get("tenant", ""),
        correlation_id=values.get("correlation_id", ""),
        attempt=max(1, _number(values.get("attempts"))),
        timeout=_timeout(values.get("timeout")),
        expired=_is_past(values.get("deadline"), server_time),
        cancel_requested="cancel_requested" in values,
        policy=_policy(name, fleet),
        values=values,
    )


def _policy(name: str, fleet: Fleet) -> Policy | None:
    try:
        return fleet.policy(registry.get(name)) if name else None
    except UnknownJob:
        return None


def _timeout(text: str | None) -> timedelta | None:
    seconds = _number(text)
    return DEFAULT_TIMEOUT if seconds == 0 else None if seconds < 0 else timedelta(seconds=min(seconds, LONGEST))


def _is_past(text: str | None, now: datetime) -> bool:
    try:
        deadline = datetime.fromisoformat(text) if text else None
    except ValueError:
        return False
    return deadline is not None and deadline.replace(tzinfo=deadline.tzinfo or UTC) <= now


def _number(text: str | None) -> int:
    return _whole(text) or 0


def _whole(text: str | None) -> int | None:
    """The number, or None for none and for nonsense."""
    try:
        return int(float(text)) if text else None
    except (ValueError, OverflowError):
        return None


def _intervals(text: str | None) -> list[float]:
    try:
        values = json.loads(text or "[]")
        waits = [float(value) for value in (values if isinstance(values, list) else [values])]
    except (ValueError, TypeError, RecursionError, OverflowError):
        return []
    return waits if all(0 <= wait <= LONGEST for wait in waits) else []
