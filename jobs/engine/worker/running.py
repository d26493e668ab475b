"""A run that this worker holds a lease on, from the lease's reply to its outcome."""

from __future__ import annotations

import base64
import json
import time
import zlib
from binascii import b2a_base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from jobs.engine import events, views
from jobs.engine.foreign import KEPT
from jobs.engine.outcome import Outcome
from jobs.engine.policy import Policy, Retention
from jobs.engine.worker import settlements
from jobs.engine.worker.settlements import Settlement

DEFAULT_TIMEOUT = timedelta(seconds=180)
"""RQ's own, for jobs of plain clients that name none."""
FAILED_KEPT = timedelta(days=365)
"""RQ's own, for failed jobs of plain clients."""
FOR_EVER = timedelta(seconds=-1)
"""RQ's word for what is never to expire."""
CALLBACK_TIME = timedelta(seconds=60)
"""RQ's own, for callbacks that name none."""
LONGEST = int(timedelta(days=3660).total_seconds())


class Brief:
    """What first runs of a batch have in common that differ in nothing but their ids and data."""

    __slots__ = ("_end", "_place", "job_type", "order", "policy", "tenant", "timeout", "values")

    def __init__(self, values: Sequence[bytes | None], policy: Policy | None, request: str, queue: str) -> None:
        self.values, self.policy = values, policy
        self.job_type, self.tenant = _text(values[TYPE]), _text(values[TENANT])
        self.timeout = _timeout(values[TIMEOUT])
        self.order: tuple[Any, ...] = ()
        """What the child is told of them."""
        self._place, self._end = (queue, request), ""
        if policy is not None:
            seconds = None if self.timeout is None else self.timeout.total_seconds()
            self.order = (self.job_type, self.tenant, 1, seconds, policy.memory_mb, "")

    def end(self, kept: Retention) -> str:
        """What the settle script is told of those that finish; put together when the first one has."""
        if not self._end:
            queue, request = self._place
            self._end = settlements.head(queue, "finished", self.job_type, kept.finished, kept.finished_count, request)
        return self._end


class Running:
    """One leased run. Times ending in `_at` are monotonic seconds; `held_until` is one of the lease clock."""

    __slots__ = (
        *("job_id", "execution_id", "queue", "lane", "values", "data", "job_type", "tenant", "attempt", "timeout"),
        *("policy", "leased_at", "begun_at", "kill_at", "is_tiny", "has_begun", "has_ended", "has_reported"),
        *("is_settling", "is_stopped", "cancelling", "renewed", "kept", "in_batch", "held_until", "brief", "verdict"),
    )

    def __init__(
        self,
        job_id: str,
        execution_id: str,
        queue: str,
        lane: str,
        values: Sequence[bytes | None],
        brief: Brief | None = None,
        data: bytes = b"",
    ) -> None:
        """`brief` is there for a run of a batch of which there is little to say; its `data` is not among its values."""
        self.job_id, self.execution_id, self.queue, self.lane = job_id, execution_id, queue, lane
        self.values, self.brief, self.in_batch = values, brief, brief is not None
        self.policy: Policy | None = None
        if brief is not None:
            self.data, self.job_type, self.tenant = data, brief.job_type, brief.tenant
            self.attempt, self.timeout, self.policy = 1, brief.timeout, brief.policy
        else:
            self.data, self.job_type, self.tenant = values[0] or b"", _text(values[TYPE]), _text(values[TENANT])
            self.attempt, self.timeout = _attempt(values[ATTEMPTS]), _timeout(values[TIMEOUT])
        self.kept = KEPT
        self.leased_at = time.monotonic()
        self.held_until = 0.0
        self.begun_at: float | None = None
        self.kill_at: float | None = None
        self.cancelling = ""
        self.verdict: Outcome | None = None
        """How it ends, once its process, which was killed, is dead."""
        self.is_settling = self.is_stopped = self.is_tiny = self.has_begun = self.has_ended = self.has_reported = (
            self.renewed
        ) = False

    def text(self, index: int) -> str:
        """A field of the job's hash as text; empty where there is none."""
        return _text(self.values[index])

    @property
    def correlation_id(self) -> str:
        """Of the request that enqueued the job."""
        return self.text(CORRELATION_ID)

    @property
    def enqueued_at(self) -> float | None:
        """When it was put on its queue (epoch seconds), by the clock of whoever did that."""
        return _moment(self.values[ENQUEUED_AT])

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody cancelled it before it was leased."""
        return self.values[CANCEL_REQUESTED] is not None

    @property
    def has_died_before(self) -> bool:
        """Whether a process died under it before."""
        return bool(self.values[DEATHS])

    @property
    def rq_retry(self) -> tuple[int, list[float]]:
        """RQ's own retries of a plain client's job: how many are left, and the waits in seconds."""
        return _number(self.text(RETRIES_LEFT)), _intervals(self.text(RETRY_INTERVALS))

    @property
    def time_for_callbacks(self) -> timedelta:
        """How long RQ's success and failure callbacks may take after the job, which has its own time."""
        times = (self._callback_time(place) for place in (0, 1))
        return max((time for time in times if time is not None), default=timedelta(0))

    @property
    def time_for_callback(self) -> timedelta | None:
        """How long RQ's callback of a stopped job may take, or None where there is none."""
        return self._callback_time(2)

    def _callback_time(self, place: int) -> timedelta | None:
        if self.policy is not None or not self.values[CALLBACKS][place]:
            return None
        given = _number(self.text(FIRST_CALLBACK_TIME + place)) if len(self.values) > FIRST_CALLBACK_TIME else 0
        return timedelta(seconds=min(given, LONGEST)) if given > 0 else CALLBACK_TIME

    def is_past_deadline(self, now: datetime) -> bool:
        """Whether the job should have begun before."""
        return self.values[DEADLINE] is not None and _is_past(self.text(DEADLINE), now)

    def order(self) -> tuple[Any, ...]:
        """What the child is told: the fields of `execute.Run`."""
        if self.brief is not None and self.brief.order:
            return (self.job_id, self.execution_id, self.data, *self.brief.order)
        seconds = None if self.timeout is None else self.timeout.total_seconds()
        order = (self.job_id, self.execution_id, self.data, self.job_type, self.tenant, self.attempt, seconds)
        if self.policy is not None and not (any(self.values[CALLBACKS]) or self.values[WEBHOOKS]):
            return (*order, self.policy.memory_mb, self.text(GATES))
        retries_left, intervals = self.rq_retry
        callbacks = [value.decode("utf-8", "replace") for value in self.values[CALLBACKS] if value]
        memory_mb = self.policy.memory_mb if self.policy else None
        told = (tuple(intervals), tuple(callbacks), bool(self.values[WEBHOOKS]), self.is_stopped)
        return (*order, memory_mb, self.text(GATES), retries_left, *told)

    def settlement(self, ended: Outcome, begun: float, ended_at: float) -> Settlement:
        """What the settle script is told of this run's outcome; `begun` and `ended_at` are epoch seconds."""
        value = "" if ended.value in (None, "null") else b2a_base64(ended.value.encode(), newline=False).decode()
        times = (f"{begun:.6f}", f"{ended_at:.6f}")
        if self.brief is not None and self.policy is not None and self._ends_plainly(ended):
            return settlements.plain(
                self.job_id, self.execution_id, value, *times, self.brief.end(self.policy.retention)
            )
        head = settlements.head(
            self.queue, ended.kind, self.job_type if self.policy else "", *self._retention(ended.kind)
        )
        flags = ("b" if self.in_batch else "") + ("r" if self.renewed else "")
        flags += ("l" if self.has_reported or self.attempt > 1 else "") + ended.flags
        if ended.kind == "finished" and self.values[UNIQUE_KEY] is None and self.policy is not None:
            return Settlement(head, (self.job_id, self.execution_id, value, *times, flags, "", ""))
        packed = zlib.compress(ended.traceback.encode()) if ended.traceback else b""
        more = json.dumps(self._more(ended, packed))
        return Settlement(head, (self.job_id, self.execution_id, value, *times, flags, more, packed))

    def _ends_plainly(self, ended: Outcome) -> bool:
        return ended.kind == "finished" and not (self.renewed or self.has_reported or ended.flags)

    def _more(self, ended: Outcome, packed: bytes) -> dict[str, Any]:
        wait = ended.wait.total_seconds() if ended.wait else 0.0
        shown = ended.kind in ("failed", "cancelled", "stopped", "retry")
        told = {
            "wait": wait,
            "reason": json.dumps(ended.error) if shown else ended.message,
            "unique": self.text(UNIQUE_KEY),
            "exc_b64": base64.b64encode(packed).decode(),
            "data": self._event_data(ended, wait),
        }
        if ended.kind in ("failed", "retry", "lost"):
            told["letter"] = ended.letter(self.attempt)
        return told

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
            field = RESULT_TTL if kind == "finished" else FAILURE_TTL
            default = self.kept if kind == "finished" else FAILED_KEPT
            seconds = _whole(self.text(field))
            keep = default if seconds is None else timedelta(seconds=min(max(seconds, 0), LONGEST))
            return (FOR_EVER if seconds == -1 else keep), 10_000
        kept: Retention = self.policy.retention
        return (kept.failed, kept.failed_count) if kind == "failed" else (kept.finished, kept.finished_count)


(DATA, TYPE, TENANT, TIMEOUT, DEADLINE, ATTEMPTS, GATES, CORRELATION_ID, UNIQUE_KEY, ENQUEUED_AT) = range(10)
TOPICS, CALLBACKS, WEBHOOKS = 15, slice(16, 19), 19
TOLD_OF_ALL, TOLD_FIRST = 20, 25
(DEATHS, CANCEL_REQUESTED, RETRIES_LEFT, RETRY_INTERVALS, RESULT_TTL, FAILURE_TTL) = range(TOLD_OF_ALL, 26)
NOTHING_MORE = [None] * 6
FIRST_CALLBACK_TIME = 26
"""Where the fields are that lease.lua tells of (its FIELDS and MORE)."""


@lru_cache(1000)
def _text(field: bytes | None) -> str:
    return field.decode("utf-8", "replace") if field else ""


@lru_cache(1000)
def _attempt(field: bytes | None) -> int:
    return max(1, _number(_text(field)))


@lru_cache(1000)
def _timeout(field: bytes | None) -> timedelta | None:
    seconds = _number(field.decode("utf-8", "replace") if field else None)
    return DEFAULT_TIMEOUT if seconds == 0 else None if seconds < 0 else timedelta(seconds=min(seconds, LONGEST))


@lru_cache(1000)
def _moment(field: bytes | None) -> float | None:
    try:
        return datetime.fromisoformat(field.decode()).timestamp() if field else None
    except (ValueError, OverflowError):
        return None


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
