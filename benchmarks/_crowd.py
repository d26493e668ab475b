"""Very many jobs of every kind for the console to look at: waiting, failed, delayed, and rows of the ledger."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import insert

from benchmarks.letters import ERRORS, failing, failure
from jobs.engine import Context, Fleet, Payload, Queue, job
from jobs.engine.ledger.table import JOBS
from jobs.engine.worker.leasing import SLOT, Ask, Leases

CHUNK, AT_ONCE = 10_000, 250
TENANTS = 20


class Waits(Payload):
    """Which one, and of which document."""

    number: int
    document_id: str


@job("bench.waits")
def waits(payload: Waits, context: Context) -> None:
    """Never run: it waits."""


def let_fail(fleet: Fleet, count: int) -> None:
    """Enqueue, lease and settle jobs that fail for good; before others wait in their queue."""
    leases = Leases(fleet.redis, "bench", ["default"], fleet)
    outcomes = [failure(number) for number in range(ERRORS)]
    for at in range(0, count, AT_ONCE):
        failing.enqueue_many([{"number": at + n} for n in range(min(AT_ONCE, count - at))], tenant="acme")
        runs = leases.lease(Ask(uuid4().hex[:20], SLOT * AT_ONCE, {"default": SLOT * AT_ONCE})).runs
        now = time.time()
        leases.settle([run.settlement(outcomes[n % ERRORS], now, now) for n, run in enumerate(runs)])


def let_wait(fleet: Fleet, count: int) -> None:
    """Real jobs of twenty tenants: most in one queue, the rest in the other two."""
    for at in range(0, count, CHUNK):
        queue = (Queue.DEFAULT, Queue.DEFAULT, Queue.LOW, Queue.DEFAULT, Queue.CRITICAL)[at // CHUNK % 5]
        waits.enqueue_many(_some(at, count), tenant=f"tenant-{at // CHUNK % TENANTS}", priority=queue)


def let_be_delayed(fleet: Fleet, count: int) -> None:
    """Jobs that are due some hours from now."""
    for at in range(0, count, CHUNK):
        options: Any = {"tenant": "acme"}
        fleet.client.enqueue(waits, _some(at, count), wait=timedelta(hours=1 + at // CHUNK), options=options)


def let_be_history(fleet: Fleet, count: int) -> None:
    """Rows of jobs that ended and that Redis has forgotten; one in ten failed."""
    now = datetime.now(UTC)
    for at in range(0, count, CHUNK):
        with fleet.database.begin(durable=False) as session:
            session.execute(insert(JOBS), [_row(at + n, now) for n in range(min(CHUNK, count - at))])


def _some(at: int, count: int) -> Sequence[dict[str, Any]]:
    numbers = range(at, min(at + CHUNK, count))
    return [{"number": number, "document_id": f"document-{number}"} for number in numbers]


def _row(number: int, now: datetime) -> dict[str, Any]:
    wrong = {"state": "failed", "error_type": "OSError", "error": f"disk {number} is full"}
    right = {"state": "finished", "error_type": "", "error": None}
    times = dict.fromkeys(("step_at", "created_at", "started_at", "ended_at"), now)
    more = {"queue": "default", "step": "pushed", "epoch": "", "followed": 0, "attempts": 1, "worker": "bench"}
    more |= {"correlation_id": "", "data": b"", "tenant": "acme", "type": "documents.ingest"}
    return {"id": f"history-{number}", **more, **times, **(right if number % 10 else wrong)}
