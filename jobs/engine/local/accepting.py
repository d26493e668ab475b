"""Accepting jobs: each becomes a row that waits, once for each id and each held uniqueness."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import insert, select

from jobs.engine.ledger.table import JOBS
from jobs.engine.local import gates, tables
from jobs.engine.local.step import Step, bounded

LIVE = ("queued", "scheduled", "started")
CHUNK = 500


class Order(NamedTuple):
    """A job as it would be told to Redis: `head` and `more` are the JSON that lua/enqueue.lua reads."""

    id: str
    head: bytes
    at: datetime
    correlation_id: str
    data: bytes
    more: bytes


class Refused(NamedTuple):
    """A job that was not accepted: its place in the batch, and the job that is there already."""

    place: int
    known: str
    held: bool
    """Whether that is another one, which holds the uniqueness."""


def accept(step: Step, orders: Sequence[Order], is_new: bool = True) -> list[Refused]:
    """Write the jobs; what is there already is refused, so that a batch may be sent again.

    Jobs that are not new have their rows in the ledger.
    """
    known = _known(step, [order.id for order in orders], is_new)
    refused: list[Refused] = []
    rows: dict[str, dict[str, Any]] = {}
    uniques: dict[str, str] = {}
    for place, order in enumerate(orders):
        row = _row(step, order)
        unique = row["unique_key"]
        holding = (uniques.get(unique) or holder(step, unique)) if unique else None
        if order.id in known or order.id in rows:
            refused.append(Refused(place, order.id, False))
        elif holding:
            refused.append(Refused(place, holding, True))
        else:
            rows[order.id] = row
            if unique:
                uniques[unique] = order.id
    if rows:
        step.execute(insert(tables.jobs), list(rows.values()))
        _begin_to_wait(step, list(rows.values()))
    return refused


def _known(step: Step, ids: Sequence[str], is_new: bool) -> set[str]:
    """Those that are there, or were and are still in the ledger."""
    found: set[str] = set()
    for at in range(0, len(ids), CHUNK):
        for column in (tables.jobs.c.id, JOBS.c.id) if is_new else (tables.jobs.c.id,):
            found |= set(step.execute(select(column).where(column.in_(ids[at : at + CHUNK]))).scalars())
    return found


def holder(step: Step, unique: str) -> str | None:
    """The job that waits or runs under a uniqueness."""
    table = tables.jobs.c
    query = select(table.id).where(table.unique_key == unique, table.status.in_(LIVE)).limit(1)
    found: str | None = step.execute(query).scalar()
    return found


def _begin_to_wait(step: Step, rows: Sequence[dict[str, Any]]) -> None:
    for row in rows:
        if row["status"] == "queued":
            data = {"job_id": row["id"], "type": row["type"], "attempt": 0}
            step.emit(row["topics"], "job:queued", json.dumps(data, separators=(",", ":")))
            gates.arrive(step, row["id"], row["gates"])


def _row(step: Step, order: Order) -> dict[str, Any]:
    head, more = json.loads(order.head), json.loads(order.more) if order.more else {}
    fields = dict(zip(head["fields"][::2], head["fields"][1::2], strict=True))
    due = _due(head.get("due"), step.now)
    seconds = float(fields["timeout"])
    return {
        "id": order.id,
        "type": fields["type"],
        "tenant": fields.get("tenant", ""),
        "queue": head["queue"],
        "lane": fields["lane"],
        "status": "queued" if due is None else "scheduled",
        "place": -step.next_place() if head.get("front") else step.next_place(),
        "filed": None,
        "due": due,
        "data": order.data,
        "correlation_id": order.correlation_id,
        "topics": ",".join(filter(None, (f"{head['scope']}{order.id}", more.get("topics")))),
        "unique_key": bounded(more["unique_key"]) if more.get("unique_key") else None,
        "digest": more.get("digest"),
        "gates": more.get("gates", ""),
        "timeout": None if seconds < 0 else seconds,
        "deadline": epoch(fields.get("deadline")),
        "max_retries": int(fields["max_retries"]),
        "attempts": 0,
        "deaths": 0,
        "worker_deaths": 0,
        "cancel_requested": 0,
        "created": order.at.timestamp(),
        "queued": order.at.timestamp() if due is None else None,
    }


def _due(told: str | None, now: float) -> float | None:
    if told is None:
        return None
    return now + float(told) if told.startswith("+") else float(told)


def epoch(text: str | None) -> float | None:
    """The seconds of an RFC 3339 time."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
