"""Writes by key that end in the same rows however often they are made, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Table

from jobs.engine.columns import insert_of
from jobs.engine.transactions import AnyTransaction, connection_of

Rows = Sequence[Mapping[str, Any]]


def upsert(
    session: AnyTransaction,
    table: Table,
    rows: Rows,
    *,
    by: Sequence[str],
    keep: Sequence[str] = (),
    only_where: ColumnElement[bool] | None = None,
) -> int:
    """Insert rows, or change those that have the same values in the columns `by`, which need a unique index.

    `keep` names columns that stay as they were first written (a creation time). `only_where` may refuse a change.
    All rows name the same columns. Returns how many were written.
    """
    if not rows:
        return 0
    statement = insert_into(session, table)
    changed = {name: statement.excluded[name] for name in rows[0] if name not in by and name not in keep}
    if changed:
        statement = statement.on_conflict_do_update(index_elements=by, set_=changed, where=only_where)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=by)
    return _written(session, statement, rows)


def insert_new(session: AnyTransaction, table: Table, rows: Rows, *, by: Sequence[str]) -> int:
    """Insert those rows whose values in the columns `by` are new; returns how many were."""
    if not rows:
        return 0
    return _written(session, insert_into(session, table).on_conflict_do_nothing(index_elements=by), rows)


def insert_into(session: AnyTransaction, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, as the dialect has it."""
    return insert_of(connection_of(session).dialect.name, table)


def _written(session: AnyTransaction, statement: Any, rows: Rows) -> int:
    done: CursorResult[Any] = connection_of(session).execute(
        statement, [dict(row) for row in rows], execution_options={"preserve_rowcount": True}
    )
    return done.rowcount
