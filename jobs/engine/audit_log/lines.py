"""One line of the audit log: what it holds, and how it is made fit to be kept and shown."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

import structlog
from pydantic import BaseModel
from sqlalchemy import RowMapping

from jobs.engine.log_redaction import redact, scrub

How = Literal["page", "api", "shell"]
LONGEST_NAME, LONGEST_ACTION, LONGEST_TARGET = 200, 100, 2_000
LONGEST_STATE = 16_000
"""Characters of JSON; what is longer is named by its length alone."""


@dataclass(frozen=True)
class Actor:
    """Who acts: name, role, the tenant that they are bound to (None: they may act on every tenant's), and from where.

    `how` is "page", "api" or "shell".
    """

    subject: str
    role: str
    tenant: str | None
    how: How


def of_shell(by: str | None = None) -> Actor:
    """Who acts from a shell: whoever can start one with the fleet's settings may everything."""
    return Actor(by or f"shell:{_user()}", "admin", None, "shell")


class AuditLine(BaseModel):
    """What somebody did. `tenant` is whose things it was about, None when that is not one tenant's matter alone.

    `jobs` is how many jobs are listed with it: see AuditLog.jobs.
    """

    id: str
    at: datetime
    subject: str
    role: str
    tenant: str | None
    how: str
    action: str
    target: str
    before: Any = None
    after: Any = None
    correlation_id: str
    jobs: int = 0


class AuditPage(BaseModel):
    """Lines, the newest first, and where the next page begins, if there is one."""

    items: Sequence[AuditLine]
    next_cursor: str | None


class ChangedJob(BaseModel):
    """One of the jobs that a line is about, with its state before and after."""

    id: str
    tenant: str
    before: str
    after: str


class JobsPage(BaseModel):
    """Jobs that a line is about, and the place behind which the next page begins, if there is one."""

    items: Sequence[ChangedJob]
    next_after: int | None


def line_of(
    action: str,
    target: str,
    by: Actor,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    tenant: str | None,
) -> AuditLine:
    """A line about now: credentials struck out by their name and look, and nothing longer than a page shows."""
    whose = by.tenant if by.tenant is not None else tenant
    return AuditLine(
        id=uuid4().hex,
        at=datetime.now(UTC),
        subject=text_of(by.subject, LONGEST_NAME),
        role=text_of(by.role, 16),
        tenant=None if whose is None else text_of(whose, LONGEST_NAME),
        how=by.how,
        action=text_of(action, LONGEST_ACTION),
        target=text_of(target, LONGEST_TARGET),
        before=_state(before),
        after=_state(after),
        correlation_id=text_of(str(structlog.contextvars.get_contextvars().get("correlation_id", "")), 64),
    )


def values_of(line: AuditLine) -> dict[str, Any]:
    """The line as a row's values."""
    return line.model_dump() | {"before": _json(line.before), "after": _json(line.after)}


def line_of_row(row: RowMapping) -> AuditLine:
    """The line that a row holds."""
    states = {name: None if row[name] is None else json.loads(row[name]) for name in ("before", "after")}
    return AuditLine(**{name: row[name] for name in AuditLine.model_fields} | states)


def text_of(value: str, longest: int) -> str:
    """Text that every database takes, without credentials."""
    return scrub(str(value))[:longest].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _user() -> str:
    """The name of the process' user, or its number where it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _state(value: Mapping[str, Any] | None) -> Any:
    if value is None:
        return None
    plain = redact(value)
    size = len(_json(plain) or "")
    return plain if size <= LONGEST_STATE else {"too_long": f"{size} characters of JSON"}


def _json(value: Any) -> str | None:
    if value is None:
        return None
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode()
