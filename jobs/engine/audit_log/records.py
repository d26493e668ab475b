"""A line with the jobs that it is about, and what a tenant is shown of a line about many tenants' jobs."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from jobs.engine.audit_log.lines import LONGEST_NAME, AuditLine, text_of, values_of
from jobs.engine.audit_log.table import JOBS, LINES
from jobs.engine.changes import UNKNOWN, Change, states
from jobs.engine.columns import insert_of
from jobs.engine.transactions import Transaction

LONGEST_STATE = 16


class Record(BaseModel):
    """One line, all jobs that were changed, and the line's target in the words that tenants may read."""

    line: AuditLine
    jobs: Sequence[Change] = ()
    to_tenants: str = ""
    is_counted: bool = False
    """Whether it takes the place of an earlier line of the same id."""


def record_of(line: AuditLine, jobs: Sequence[Change], to_tenants: str) -> Record:
    """A line about these jobs: how many were in each state before and after is added to it."""
    kept = [Change(*(text_of(part, LONGEST_NAME) for part in each)) for each in jobs]
    if kept:
        line.before, line.after = {**(line.before or {}), **_told(kept, "before")}, _after(line.after, kept)
        line.jobs = len(kept)
    return Record(line=line, jobs=kept, to_tenants=text_of(to_tenants, 2_000))


def write(session: Transaction, record: Record, *, is_sqlite: bool) -> None:
    """Store a line, its parts and its jobs, each once however often this is done."""
    dialect = "sqlite" if is_sqlite else "postgresql"
    lines = insert_of(dialect, LINES)
    rows = [values_of(record.line) | {"part_of": None}, *_parts(record)]
    if record.is_counted:
        lines = lines.on_conflict_do_update(index_elements=["id"], set_={"after": lines.excluded.after})
        session.execute(lines, rows)
        return
    session.execute(lines.on_conflict_do_nothing(index_elements=["id"]), rows)
    if record.jobs:
        of_jobs = insert_of(dialect, JOBS).on_conflict_do_nothing(index_elements=["line", "place"])
        session.execute(of_jobs, list(_jobs(record)))


def _parts(record: Record) -> Iterator[dict[str, Any]]:
    """Of a line that is no one tenant's: a line for each tenant, about its jobs alone."""
    if record.line.tenant is not None:
        return
    by_tenant: dict[str, list[Change]] = defaultdict(list)
    for each in record.jobs:
        by_tenant[each.tenant].append(each)
    for tenant, jobs in by_tenant.items():
        if not tenant:
            continue
        whole = record.line
        told = {"id": _id(whole.id, tenant), "tenant": tenant, "target": record.to_tenants or whole.target}
        done = sum(each.after != UNKNOWN for each in jobs)
        states_ = {"before": _told(jobs, "before"), "after": _after({"done": done}, jobs), "jobs": len(jobs)}
        yield values_of(whole.model_copy(update=told | states_)) | {"part_of": whole.id}


def _jobs(record: Record) -> Iterator[dict[str, Any]]:
    for place, each in enumerate(record.jobs):
        about = {"job_id": each.id, "tenant": each.tenant}
        about |= {"before": each.before[:LONGEST_STATE], "after": each.after[:LONGEST_STATE]}
        yield {"line": record.line.id, "place": place, "at": record.line.at, **about}


def _told(jobs: Sequence[Change], name: str) -> dict[str, Any]:
    return {"jobs": dict(states(jobs, name))}


def _after(after: Any, jobs: Sequence[Change]) -> dict[str, Any]:
    return {**(after or {}), **_told(jobs, "after")}


def _id(whole: str, tenant: str) -> str:
    return hashlib.sha256(f"{whole} {tenant}".encode()).hexdigest()[:32]
