"""The audit log of a fleet: recording what somebody did, and reading it, newest first."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import structlog
from sqlalchemy import ColumnElement, RowMapping, func, or_, select
from sqlalchemy.exc import SQLAlchemyError

from jobs.engine.audit_log import bounds, cursors, later, records
from jobs.engine.audit_log.lines import Actor, AuditLine, AuditPage, ChangedJob, JobsPage, line_of, line_of_row
from jobs.engine.audit_log.records import Record, record_of
from jobs.engine.audit_log.table import JOBS, LINES
from jobs.engine.changes import Change
from jobs.engine.errors import BrokerUnavailable, NotFound
from jobs.engine.transactions import Transaction

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
        jobs: Sequence[Change] = (),
        to_tenants: str = "",
    ) -> AuditLine:
        """Write one line, once what it tells of has been done; `tenant` is whose thing it was, where that is known.

        With `jobs` it is about those: each is kept with its state before and after, and where they are of many tenants
        each tenant gets a line about its own, with `to_tenants` for a target. Never raises because a part is away:
        while the database is, the line lies in Redis and is stored later. The log of a web process has it in any case.
        Credentials in it are struck out.
        """
        record = record_of(line_of(action, target, by, before, after, tenant), jobs, to_tenants)
        self._tell(record)
        return record.line

    def count(
        self, line_id: str, number: int, *, action: str, target: str, by: Actor, after: Mapping[str, Any]
    ) -> None:
        """Write a line about what happens again and again, in place of the last one of that id (up to 32 of 0-9a-f).

        Otherwise like `record`; `number` says how often it happened.
        """
        line = line_of(action, target, by, None, {"times": number, **after}, None)
        self._tell(Record(line=line.model_copy(update={"id": line_id}), is_counted=True))

    def search(self, **wanted: Unpack[Wanted]) -> AuditPage:
        """The lines of which all of this holds, newest first, `limit` (50 unless given, 1,000 at most) a page.

        `tenant`, `subject`, `role` and `how` are compared whole, `action` by its beginning (`job.`), `target` is a part
        of it whatever its case, or the id of a job that was changed with others, `text` also a part of subject, before
        or after; with these two a page may be short before the end. `since` and `until` bound the time. With a tenant
        lines about many tenants' jobs are that tenant's part of them.

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

    def get(self, line_id: str, tenant: str | None = None) -> AuditLine:
        """One line, of that tenant where one is given. Raises NotFound, SQLAlchemyError."""
        return line_of_row(self._row(line_id, tenant))

    def jobs(self, line_id: str, tenant: str | None = None, *, after: int = -1, limit: int = 100) -> JobsPage:
        """The jobs of a line, in the order in which they were changed, on from the one at place `after`.

        Of a tenant's line about an action on many tenants' jobs there are that tenant's alone. Raises as `get` does.
        """
        line, job = self._row(line_id, tenant), JOBS.c
        wanted = [job.line == (line["part_of"] or line["id"]), job.place > after]
        if line["part_of"]:
            wanted.append(job.tenant == line["tenant"])
        with self._fleet.database.read() as session:
            query = select(JOBS).where(*wanted).order_by(job.place).limit(limit + 1)
            found = session.execute(query).mappings().all()
        items = [
            ChangedJob(id=each["job_id"], tenant=each["tenant"], before=each["before"], after=each["after"])
            for each in found[:limit]
        ]
        return JobsPage(items=items, next_after=found[limit - 1]["place"] if len(found) > limit else None)

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

    def _row(self, line_id: str, tenant: str | None) -> RowMapping:
        wanted = [row.id == line_id, *([] if tenant is None else [row.tenant == tenant])]
        with self._fleet.database.read() as session:
            found = session.execute(select(LINES).where(*wanted)).mappings().first()
        if found is None:
            raise NotFound(f"there is no line {line_id} in the audit log")
        return found

    def _tell(self, record: Record) -> None:
        told = record.line.model_dump(mode="json", exclude={"id", "at", "correlation_id"})
        if record.line.how != "shell":
            log.info("an operator acted", **told)
        if time.monotonic() < self._away_until or not self._stored(record):
            later.keep(self._fleet, record)

    def _stored(self, record: Record) -> bool:
        try:
            with self._fleet.database.begin() as session:
                records.write(session, record, is_sqlite=self._fleet.database.is_sqlite)
        except SQLAlchemyError as error:
            self._away_until = time.monotonic() + AWAY_FOR.total_seconds()
            log.warning("the database takes no line of the audit log", reason=type(error).__name__)
            return False
        return True


def _window_end(session: Transaction, wanted: Wanted) -> RowMapping | None:
    """The last line to look at for this page; None where all may be looked at."""
    if not (wanted.get("text") or wanted.get("target")):
        return None
    plain: Wanted = {"tenant": wanted.get("tenant"), "until": wanted.get("until"), "cursor": wanted.get("cursor")}
    query = select(row.at, row.number).where(*_conditions(plain)).order_by(*NEWEST_FIRST)
    return session.execute(query.offset(WINDOW - 1).limit(1)).mappings().first()


def _conditions(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    if wanted.get("tenant") is None:
        yield row.part_of.is_(None)
    for name in ("tenant", "subject", "role", "how"):
        if (value := wanted.get(name)) is not None:
            yield row[name] == value
    if action := wanted.get("action"):
        yield row.action.startswith(action, autoescape=True)
    if target := wanted.get("target"):
        yield or_(row.target.icontains(target, autoescape=True), _is_about(target, wanted))
    if text := wanted.get("text"):
        places = (row.subject, row.target, row.before, row.after)
        yield or_(*(place.icontains(text, autoescape=True) for place in places), _is_about(text, wanted))
    if since := wanted.get("since"):
        yield row.at >= since
    if until := wanted.get("until"):
        yield row.at < until
    if cursor := wanted.get("cursor"):
        yield cursors.behind(cursor)


def _is_about(job_id: str, wanted: Wanted) -> ColumnElement[bool]:
    """Whether a line changed that job with others; for a tenant, of its own jobs."""
    tenant = wanted.get("tenant")
    lines = select(JOBS.c.line).where(JOBS.c.job_id == job_id, *([] if tenant is None else [JOBS.c.tenant == tenant]))
    return func.coalesce(row.part_of, row.id).in_(lines)
