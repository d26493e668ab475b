"""Why a job of the local modes waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from jobs.engine import waiting
from jobs.engine.local import tables
from jobs.engine.local.gates import parsed
from jobs.engine.local.step import bounded
from jobs.engine.waiting import Waiting

MOST_HOLDERS = 10


def why(connection: Connection, job_id: str, counts: Mapping[str, int], windows: Mapping[str, str]) -> Waiting | None:
    """The reason, or None for a job that does not wait."""
    row = connection.execute(select(tables.jobs).where(tables.jobs.c.id == job_id)).first()
    if row is None:
        return None
    if row.status == "scheduled":
        reason = "retry" if row.attempts > 0 else "scheduled"
        return waiting.of_reply({"reason": reason, "until_ms": int(row.due * 1000)})
    return waiting.of_reply(_queued(connection, row, counts, windows)) if row.status == "queued" else None


def _queued(connection: Connection, row: Any, counts: Mapping[str, int], windows: Mapping[str, str]) -> dict[str, Any]:
    paused = set(connection.execute(select(tables.paused.c.what)).scalars())
    for what in (f"queue:{row.queue}", f"lane:{row.lane}"):
        if what in paused:
            return {"reason": "paused", "what": what}
    if not connection.execute(select(func.count()).select_from(tables.pools)).scalar_one():
        return {"reason": "no_worker", "what": f"queue:{row.queue}"}
    if row.filed is not None:
        return {"reason": "turn", "ahead": _ahead(connection, row)}
    return _shut(connection, row, counts, windows) or {"reason": "queue", "ahead": _ahead(connection, row)}


def _shut(
    connection: Connection, row: Any, counts: Mapping[str, int], windows: Mapping[str, str]
) -> dict[str, Any] | None:
    """The gate that keeps it waiting, if one does."""
    jobs, holds, begins = tables.jobs, tables.holds, tables.begins
    for key, count in parsed(row.gates):
        most = counts.get(key, counts.get(key.rpartition(":")[0], count))
        holding = select(jobs.c.id, jobs.c.tenant).join(holds, holds.c.job_id == jobs.c.id)
        held = connection.execute(holding.where(holds.c.gate == bounded(key))).all()
        if not key.startswith("turn:") and len(held) >= most:
            ours = [each.id for each in held if each.tenant == row.tenant]
            return {"reason": "limit", "what": key, "jobs": ours[:MOST_HOLDERS], "others": len(held) - len(ours)}
    for key, count in parsed(windows.get(row.lane, "")):
        latest = select(begins.c.ms).where(begins.c.gate == key).order_by(begins.c.ms.desc(), begins.c.number.desc())
        oldest = connection.execute(latest.offset(count - 1).limit(1)).scalar()
        if oldest is not None:
            until = oldest + int(key.rpartition(":")[2]) + 1
            return {"reason": "rate_window", "what": f"lane:{row.lane}", "until_ms": until}
    return None


def _ahead(connection: Connection, row: Any) -> int:
    table = tables.jobs.c
    before = table.queue == row.queue, table.status == "queued", table.place < row.place
    same = table.filed.is_(None) if row.filed is None else table.filed == row.filed
    count: int = connection.execute(select(func.count()).where(*before, same)).scalar_one()
    return count
