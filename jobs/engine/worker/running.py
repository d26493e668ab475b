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
from typing import Any, NamedTuple

from jobs.engine import events, registry, views
from jobs.engine.errors import UnknownJob
from jobs.engine.fleet import Fleet
from jobs.engine.foreign import KEPT
from jobs.engine.outcome import Kind, Outcome
from jobs.engine.policy import Policy, Retention

DEFAULT_TIMEOUT = timedelta(seconds=180)
"""RQ's own, for jobs of plain clients that name none."""
FAILED_KEPT = timedelta(days=365)
"""RQ's own, for failed jobs of plain clients."""
FOR_EVER = timedelta(seconds=-1)
"""RQ's word for what is never to expire."""
CALLBACK_TIME = timedelta(seconds=60)
"""RQ's own, for callbacks that name none."""
LONGEST = int(timedelta(days=3660).total_seconds())
EVENTS = {
    "finished": "job:completed",
    "failed": "job:failed",
    "cancelled": "job:cancelled",
    "stopped": "job:cancelled",
    "retry": "job:retrying",
    "released": "job:queued",
    "lost": "job:queued",
    "quarantined": "job:failed",
}


class Settlement(NamedTuple):
    """What the settle script is told of a run: the part that many runs have in common, and the run's own.

    Of most runs the latter is there in the words of Redis' protocol too.
    """

    head: str
    own: tuple[str | bytes, ...]
    ready: bytes = b""


class Running:
    """One leased run. Times ending in `_at` are monotonic seconds; `held_until` is one of the lease clock."""

    __slots__ = (
        *("job_id", "execution_id", "queue", "lane", "values", "data", "job_type", "tenant", "attempt", "timeout"),
        *("policy", "leased_at", "begun_at", "kill_at", "is_tiny", "has_begun", "has_ended", "has_reported"),
        *("is_settling", "is_stopped", "cancelling", "renewed", "kept", "in_batch", "held_until"),
    )

    def __init__(self, job_id: str, execution_id: str, queue: str, lane: str, values: Sequence[bytes | None]) -> None:
        self.job_id, self.execution_id, self.queue, self.lane = job_id, execution_id, queue, lane
        self.values = values
        self.data = values[0] or b""
        self.job_type, self.tenant = _text(values[TYPE]), _text(values[TENANT])
        self.attempt = _attempt(values[ATTEMPTS])
        self.timeout = _timeout(values[TIMEOUT])
        self.policy: Policy | None = None
        self.kept = KEPT
        self.leased_at = time.monotonic()
        self.held_until = 0.0
        self.begun_at: float | None = None
        self.kill_at: float | None = None
        self.cancelling = ""
        self.is_settling = self.is_stopped = self.is_tiny = self.has_begun = self.has_ended = self.has_reported = (
            self.renewed
        ) = self.in_batch = False

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
        head = _head(self.queue, ended.kind, self.job_type if self.policy else "", *self._retention(ended.kind))
        value = "" if ended.value in (None, "null") else b2a_base64(ended.value.encode(), newline=False).decode()
        flags = ("b" if self.in_batch else "") + ("r" if self.renewed else "")
        flags += ("l" if self.has_reported or self.attempt > 1 else "") + ended.flags
        times = (f"{begun:.6f}", f"{ended_at:.6f}")
        if ended.kind == "finished" and self.values[UNIQUE_KEY] is None and self.policy is not None:
            own = (self.job_id, self.execution_id, value, *times, flags, "", "")
            return Settlement(head, own, b"" if ended.flags else _ready(*own))
        packed = zlib.compress(ended.traceback.encode()) if ended.traceback else b""
        more = json.dumps(self._more(ended, packed))
        return Settlement(head, (self.job_id, self.execution_id, value, *times, flags, more, packed))

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


(DATA, TYPE, TENANT, TIMEOUT, DEADLINE, ATTEMPTS, TOPICS, CORRELATION_ID, UNIQUE_KEY) = range(9)
CALLBACKS = slice(9, 12)
WEBHOOKS, GATES, ENQUEUED_AT = range(12, 15)
TOLD_OF_ALL, TOLD_FIRST = 15, 20
(DEATHS, CANCEL_REQUESTED, RETRIES_LEFT, RETRY_INTERVALS, RESULT_TTL, FAILURE_TTL) = range(TOLD_OF_ALL, 21)
NOTHING_MORE = [None] * 6
FIRST_CALLBACK_TIME = 21
"""Where the fields are that lease.lua tells of (its FIELDS and MORE)."""


def of_reply(reply: list[Any], fleet: Fleet, kept: timedelta = KEPT) -> Running:
    """A run from one job of the lease script's reply; results of plain RQ jobs are kept for `kept` unless they say."""
    job_id, execution_id, queue, lane, in_batch = reply[TOLD_OF_ALL:TOLD_FIRST]
    values = reply[:TOLD_OF_ALL] + (reply[TOLD_FIRST:] or NOTHING_MORE)
    running = Running(job_id.decode(), execution_id.decode(), _text(queue), _text(lane), values)
    running.policy, running.kept, running.in_batch = _policy(running.job_type, fleet), kept, bool(in_batch)
    return running


def _policy(name: str, fleet: Fleet) -> Policy | None:
    try:
        return fleet.policy(registry.get(name)) if name else None
    except UnknownJob:
        return None


def _ready(job: str, execution: str, value: str, begun: str, ended: str, flags: str, *_: str) -> bytes:
    """The words of a run of which there is no more to say."""
    return (
        f"${len(job)}\r\n{job}\r\n${len(execution)}\r\n{execution}\r\n${len(value)}\r\n{value}\r\n"
        f"${len(begun)}\r\n{begun}\r\n${len(ended)}\r\n{ended}\r\n${len(flags)}\r\n{flags}\r\n$0\r\n\r\n$0\r\n\r\n"
    ).encode()


@lru_cache(1000)
def _head(queue: str, kind: Kind, job_type: str, keep: timedelta, count: int) -> str:
    seconds = int(keep.total_seconds())
    head = {"queue": queue, "kind": kind, "type": job_type, "keep": seconds, "count": count, "event": EVENTS[kind]}
    return json.dumps(head)


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
