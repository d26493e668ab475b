"""What the fleet says about a job: read from its hash in Redis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from jobs.engine.waiting import Waiting

Status = Literal[
    "queued", "scheduled", "deferred", "started", "completed", "failed", "cancelled", "quarantined", "unknown"
]
WORDS: Mapping[str, Status] = {
    "queued": "queued",
    "ready_to_enqueue": "queued",
    "rate_limited": "queued",
    "scheduled": "scheduled",
    "deferred": "deferred",
    "created": "deferred",
    "started": "started",
    "finished": "completed",
    "failed": "failed",
    "canceled": "cancelled",
    "stopped": "cancelled",
}
ENDED: frozenset[Status] = frozenset({"completed", "failed", "cancelled", "quarantined"})


class Progress(BaseModel):
    """How far a running job is."""

    stage: str
    percent: float


class JobError(BaseModel):
    """Why a job's last run ended badly."""

    type: str
    message: str


class JobView(BaseModel):
    """A job's state; times are UTC."""

    model_config = ConfigDict(frozen=True)

    id: str
    type: str
    status: Status
    queue: str
    lane: str = ""
    tenant: str = ""
    attempts: int = 0
    max_retries: int = 0
    created_at: datetime | None = None
    enqueued_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    scheduled_for: datetime | None = None
    deadline: datetime | None = None
    progress: Progress | None = None
    result: Any = None
    error: JobError | None = None
    worker: str | None = None
    correlation_id: str = ""
    waiting: Waiting | None = None
    queued: Literal["redis", "ledger", "local"] = "redis"
    """Who has the job: Redis; until it is there, the ledger; or a pool that runs it without Redis."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.status in ENDED


class LogLine(BaseModel):
    """A line that a job printed (`stdout`, `stderr`) or logged (`log`); `at` is the clock of the host that ran it."""

    id: str
    at: datetime | None = None
    stream: Literal["stdout", "stderr", "log"] = "log"
    level: str = "info"
    text: str = ""
    attempt: int = 0
    values: dict[str, Any] = {}


def of_line(line_id: bytes, fields: Mapping[bytes, bytes]) -> LogLine:
    """The line of an entry of a job's log; one that is not of our making is shown as it is."""
    text = fields.get(b"line", b"")
    try:
        return LogLine(**{**json.loads(text), "id": line_id.decode()})
    except (ValueError, TypeError):
        return LogLine(id=line_id.decode(), text=text.decode("utf-8", "replace"))


def of_hash(job_id: str, raw: Mapping[bytes, bytes], result: Any = None) -> JobView:
    """The view of a job's hash as `HGETALL` gives it; fields that are missing or broken are left out."""
    text = {key.decode("ascii", "replace"): value for key, value in raw.items() if key != b"data"}
    word = _text(text, "status")
    status: Status = "quarantined" if "quarantined" in text else WORDS.get(word, "unknown")
    return JobView(
        id=job_id,
        type=_text(text, "type") or _text(text, "description"),
        status=status,
        queue=_text(text, "origin"),
        lane=_text(text, "lane"),
        tenant=_text(text, "tenant"),
        attempts=_number(text, "attempts"),
        max_retries=_number(text, "max_retries"),
        created_at=_time(text, "created_at"),
        enqueued_at=_time(text, "enqueued_at"),
        started_at=_time(text, "started_at"),
        ended_at=_time(text, "ended_at"),
        scheduled_for=_time(text, "scheduled_for") if status == "scheduled" else None,
        deadline=_time(text, "deadline"),
        progress=_model(Progress, text, "progress"),
        result=result,
        error=_error(text, status),
        worker=_text(text, "worker_name") or None,
        correlation_id=_text(text, "correlation_id"),
    )


def rfc3339(moment: datetime) -> str:
    """RQ's own format of a time in a hash, which is RFC 3339 in UTC."""
    at = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return f"{at.isoformat(timespec='microseconds')[:26]}Z"


def _text(values: Mapping[str, bytes], name: str) -> str:
    return values.get(name, b"").decode("utf-8", "replace")


def _number(values: Mapping[str, bytes], name: str) -> int:
    try:
        return int(values.get(name, b"0"))
    except ValueError:
        return 0


def _time(values: Mapping[str, bytes], name: str) -> datetime | None:
    try:
        return datetime.fromisoformat(_text(values, name))
    except ValueError:
        return None


def _model(model: type[Progress], values: Mapping[str, bytes], name: str) -> Progress | None:
    try:
        return model.model_validate_json(values.get(name, b""))
    except ValueError:
        return None


def _error(values: Mapping[str, bytes], status: Status) -> JobError | None:
    if "quarantined" in values:
        return JobError(type="Quarantined", message=_text(values, "quarantined"))
    try:
        about = json.loads(values.get("error", b""))
        return JobError(type=str(about["type"]), message=str(about["message"]))
    except (ValueError, KeyError, TypeError):
        return JobError(type="Failed", message="the job failed") if status == "failed" else None
