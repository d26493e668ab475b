"""What a dead letter is, and by what letters are looked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from string import ascii_lowercase, ascii_uppercase
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.engine.errors import NotFound
from jobs.engine.moments import Moment
from jobs.engine.views import JobError

State = Literal["dead", "quarantined"]
FIELDS = (
    *("status", "type", "tenant", "lane", "queue", "error", "error_text", "spent", "attempts", "max_retries"),
    *("ended_at", "correlation_id", "settled", "retried", "retried_by", "created_at", "description", "quarantined"),
)
"""In the order of dead_letters.lua."""
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
"""Lua knows no other letters."""


Text = Annotated[str, Field(min_length=1, max_length=200)]


class Where(BaseModel):
    """Which letters: those to which everything applies that is given; `text` is searched for in the error, whatever its
    case, and `since` and `until` are about the time of death. State `quarantined` is what was set aside instead."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    state: State = "dead"
    type: Text | None = None
    tenant: Annotated[str, Field(max_length=200)] | None = None
    lane: Text | None = None
    queue: Text | None = None
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = None
    text: Text | None = None
    spent: bool | None = None
    since: Moment | None = None
    until: Moment | None = None

    def within(self, tenant: str | None) -> Where:
        """The same of one tenant's letters only, where one is given. Raises NotFound where it asks for another's."""
        if tenant is None or self.tenant == tenant:
            return self
        if self.tenant is not None:
            raise NotFound("there are no letters of that tenant")
        return self.model_copy(update={"tenant": tenant})

    def wanted(self) -> str:
        """What the script compares, as JSON."""
        names = {"type", "tenant", "lane", "queue", "fingerprint", "text", "spent"}
        wanted = self.model_dump(include=names, exclude_none=True)
        if self.text is not None:
            wanted["text"] = self.text.translate(_LOWER)
        return json.dumps(wanted)


class Letter(BaseModel):
    """A job that failed for good, or was set aside; times are UTC.

    `error` is what its tenant sees, `text` the exception in one line, for operators. `spent`: no retry was left, rather
    than that none would have helped. `retried` counts how often it was run again by hand, last by `retried_by`.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    state: State = "dead"
    type: str
    tenant: str = ""
    lane: str = ""
    queue: str = ""
    died_at: datetime
    created_at: datetime | None = None
    error: JobError | None = None
    text: str = ""
    fingerprint: str = ""
    spent: bool = False
    attempts: int = 0
    max_retries: int = 0
    retried: int = 0
    retried_by: str = ""
    correlation_id: str = ""
    execution: str = ""
    score: str = Field("", exclude=True, repr=False)
    """Its time of death as Redis writes it."""


class Page(BaseModel):
    """Some letters; `next_cursor` is None at the end. A page may be short, or empty, before the end."""

    items: list[Letter]
    next_cursor: str | None = None


def of_row(row: Sequence[Any], state: State) -> Letter:
    """A letter as dead_letters.lua tells of it."""
    job_id, died_at, fingerprint, reason, values = row
    fields = {name: value.decode("utf-8", "replace") for name, value in zip(FIELDS, values, strict=True)}
    why = _reason(reason) or fields["quarantined"]
    return Letter(
        id=job_id.decode("utf-8", "replace"),
        state=state,
        type=fields["type"] or fields["description"],
        tenant=fields["tenant"],
        lane=fields["lane"],
        queue=fields["queue"],
        died_at=datetime.fromtimestamp(float(died_at), UTC),
        created_at=_time(fields["created_at"]),
        error=JobError(type="Quarantined", message=why) if state == "quarantined" else error_of(fields["error"]),
        text=why if state == "quarantined" else fields["error_text"],
        fingerprint=fingerprint.decode(),
        spent=fields["spent"] == "1",
        attempts=number_of(fields["attempts"]),
        max_retries=number_of(fields["max_retries"]),
        retried=number_of(fields["retried"]),
        retried_by=fields["retried_by"],
        correlation_id=fields["correlation_id"],
        execution=fields["settled"],
        score=died_at.decode(),
    )


def error_of(text: str | bytes) -> JobError | None:
    """What users see of an error, from its JSON."""
    try:
        about = json.loads(text)
        return JobError(type=str(about["type"]), message=str(about["message"]))
    except (ValueError, KeyError, TypeError):
        return None


def number_of(text: str | bytes) -> int:
    """A number that anybody may have written; 0 for nonsense."""
    try:
        return int(text)
    except ValueError:
        return 0


def _reason(text: bytes) -> str:
    try:
        return str(json.loads(text)["reason"]) if text else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
