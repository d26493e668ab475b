"""A job that writes with SQLAlchemy's ORM, in the transaction that its row of `once` is written in."""

from __future__ import annotations

from sqlalchemy.orm import Session, registry

from jobs.adapters import database
from jobs.adapters.database.models import WORKSPACES, new_id
from jobs.engine import Context, Payload, Permanent, job
from jobs.engine.idempotency.in_sql import once


class Mine:
    """A row of `workspaces`, mapped."""


registry().map_imperatively(Mine, WORKSPACES)


class Written(Payload):
    """What is written, and whether the job fails after it."""

    slug: str
    fails: bool = False


@job("orm_jobs.write")
def write(payload: Written, context: Context) -> str:
    """Adds a row, and changes it in another statement."""

    def do() -> str:
        with Session(bind=transaction.connection(), join_transaction_mode="create_savepoint") as session:
            mine = Mine()
            for name, value in {"id": new_id(), "tenant": "acme", "slug": payload.slug, "name": "before"}.items():
                setattr(mine, name, value)
            session.add(mine)
            session.flush()
            mine.name = "after"
            session.commit()
            return mine.name

    with database.connect(context.settings).begin() as transaction:
        done = once(transaction, context, "write", do)
        if payload.fails:
            raise Permanent("as told")
    return done
