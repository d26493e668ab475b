"""The audit log of a fleet: recording what somebody did, and reading it, newest first."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import structlog
from sqlalchemy import ColumnElement, RowMapping, insert, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from jobs.engine.audit_log import bounds, cursors, later
from jobs.engine.audit_log.lines import Actor, AuditLine, AuditPage, line_of, line_of_row, values_of
from jobs.engine.audit_log.table import LINES
from jobs.engine.errors import BrokerUnavailable

if TYPE_CHECKING:
    from jobs.engine.fleet import Fleet

MOST = 1_000
WINDOW = 20_000
"""So many lines are looked through for a page when parts of texts are wanted: 0.1 s or so."""
AWAY_FOR = timedelta(seconds=5)
"""So long after a failure nobody in this process waits for the database to take a line."""
row = LINES.c
NEWEST_FIRST = (row.at.desc(), row.number.desc())
log = structlog.get_logger("audit")


class Wanted(TypedDict, total=False):
    """What a search may ask for; None asks for nothing."""

    tenant: str | None
    subject: str | None
    role: str | None
    how: str | None
    action: str | None
    target: str | None
    text: str | None
    since: datetime | None
    until: datetime | None
    limit: int
    cursor: str | None


class AuditLog:
    """What operators did, in the fleet's database; usable from many threads."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._away_until = 0.0

    def record(
        self,
        *,
        action: str,
        target: str,
        by: Actor,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        tenant: str | None = None,
    ) -> AuditLine:
        """Write one line, once what it tells of has been done; `tenant` is whose thing it was, where that is known.

        Never raises because a part is away: while the database is, the line lies in Redis and is stored later. The log
        of a web process has it in any case. Credentials in it are struck out.
        """
        line = line_of(action, target, by, before, after, tenant)
        told = line.model_dump(mode="json", exclude={"id", "at", "correlation_id"})
        if by.how != "shell":
            log.info("an operator acted", **told)
        if time.monotonic() < self._away_until or not self._stored(line):
            later.keep(self._fleet, line)
        return line

    def search(self, **wanted: Unpack[Wanted]) -> AuditPage:
        """The lines of which all of this holds, newest first, `limit` (50 unless given, 1,000 at most) a page.

        `tenant`, `subject`, `role` and `how` are compared whole, `action` by its beginning (`job.`), `target` is a part
        of it whatever its case, `text` a part of subject, target, before or after; with these two a page may be short
        before the end. `since` and `until` bound the time.

        Raises InvalidPayload for a cursor that is none of ours, SQLAlchemyError while the database is away.
        """
        self.store_kept()
        limit = max(1, min(wanted.get("limit", 50), MOST))
        conditions = list(_conditions(wanted))
        with self._fleet.database.read() as session:
            end = _window_end(session, wanted)
            if end is not None:
                conditions.append(cursors.until(end))
            query = select(LINES).where(*conditions).order_by(*NEWEST_FIRST).limit(limit + 1)
            found = session.execute(query).mappings().all()
        last = found[limit - 1] if len(found) > limit else end
        page = [line_of_row(each) for each in found[:limit]]
        return AuditPage(items=page, next_cursor=None if last is None else cursors.after(last))

    def store_kept(self) -> int:
        """Store the lines that lie in Redis since the database was away; how many. Raises SQLAlchemyError."""
        if not self._fleet.has_broker:
            return 0
        try:
            return later.store(self._fleet)
        except BrokerUnavailable:
            return 0

    def forget(self, older_than: timedelta, most: int) -> int:
        """Delete what is older, and all but the latest `most` lines; how many."""
        return bounds.forget(self._fleet.database, older_than, most)

    def _stored(self, line: AuditLine) -> bool:
        try:
            with self._fleet.database.begin() as session:
                session.execute(insert(LINES).values(values_of(line)))
        except SQLAlchemyError as error:
            self._away_until = time.monotonic() + AWAY_FOR.total_seconds()
            log.warning("the database takes no line of the audit log", reason=type(error).__name__)
            return False
        return True


def _window_end(session: Session, wanted: Wanted) -> RowMapping | None:
    """The last line to look at for this page; None where all may be looked at."""
    if not (wanted.get("text") or wanted.get("target")):
        return None
    plain: Wanted = {"tenant": wanted.get("tenant"), "until": wanted.get("until"), "cursor": wanted.get("cursor")}
    query = select(row.at, row.number).where(*_conditions(plain)).order_by(*NEWEST_FIRST)
    return session.execute(query.offset(WINDOW - 1).limit(1)).mappings().first()


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    for name in ("tenant", "subject", "role", "how"):
        if (value := wanted.get(name)) is not None:
            yield row[name] == value
    if action := wanted.get("action"):
        yield row.action.startswith(action, autoescape=True)
    if target := wanted.get("target"):
        yield row.target.icontains(target, autoescape=True)
    if text := wanted.get("text"):
        places = (row.subject, row.target, row.before, row.after)
        yield or_(*(place.icontains(text, autoescape=True) for place in places))
    if since := wanted.get("since"):
        yield row.at >= since
    if until := wanted.get("until"):
        yield row.at < until
    if cursor := wanted.get("cursor"):
        yield cursors.behind(cursor)
