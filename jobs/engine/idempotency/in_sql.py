"""Once and fenced in the caller's own transaction, where what is done is written there too."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import delete, select, update

from jobs.engine.errors import Permanent, Superseded
from jobs.engine.idempotency import tokens
from jobs.engine.idempotency.steps import Execution, as_json, checked
from jobs.engine.idempotency.table import FENCES, STEPS, key_of
from jobs.engine.idempotency.upserts import insert_new, upsert

if TYPE_CHECKING:
    from jobs.engine.context import Context
    from jobs.engine.database import Database
    from jobs.engine.transactions import AnyTransaction

T = TypeVar("T")


def once(session: AnyTransaction, context: Context, name: str, do: Callable[[], T]) -> T:
    """What `do` returned in the run of this job that did it; that is this run where none did before.

    The row that says so is written in the same transaction as what `do` writes, so both happen or neither does: exactly
    once, whatever dies. A run that does the same at this moment waits for the end of the other's transaction. What
    `do` raises takes back what it wrote in `session`. The result is JSON of 64 KiB at most. Raises Permanent.
    """
    job = key_of(context.job_id, context.nonce)
    key = {"job_id": job, "name": checked(name)}
    row = {**key, "execution_id": context.execution_id, "result": None, "done_at": datetime.now(UTC)}
    its = (STEPS.c.job_id == job) & (STEPS.c.name == name)
    with session.begin_nested():
        if insert_new(session, STEPS, [row], by=("job_id", "name")):
            result = do()
            session.execute(update(STEPS).where(its).values(result=as_json(result)))
            return result
    known: T = json.loads(session.execute(select(STEPS.c.result).where(its)).scalar_one())
    return known


def fence(session: AnyTransaction, execution: Execution, resource: str) -> None:
    """Let this transaction pass unless a later run has written to the resource. Raises Superseded.

    `execution` is `context.execution`, asked for before the transaction began, since that asks Redis. Call it first in
    every transaction that writes to the resource, of every job that does; the row is locked until the end. Raises
    Permanent for a name that can't be one.
    """
    if resource == tokens.ROW:
        raise Permanent(f"{resource!r} is no resource: it stands for the tokens themselves")
    row = {"resource": resource, "token": execution.token, "execution_id": execution.id, "passed_at": datetime.now(UTC)}
    older = FENCES.c.token <= execution.token
    if upsert(session, FENCES, [row], by=("resource",), only_where=older) == 0:
        raise Superseded(f"a later run has written to {resource!r}: this one may not")


def forget(database: Database, before: datetime) -> dict[str, int]:
    """Delete the steps and fences that were written before that moment; returns how many of each."""
    with database.begin() as session:
        steps = session.execute(delete(STEPS).where(STEPS.c.done_at < before).returning(STEPS.c.name)).all()
        old = FENCES.c.passed_at < before, FENCES.c.resource != tokens.ROW
        fences = session.execute(delete(FENCES).where(*old).returning(FENCES.c.token)).all()
    return {"steps": len(steps), "fences": len(fences)}
