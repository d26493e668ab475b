"""Writes by key that end in the same rows however often they are made, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

Rows = Sequence[Mapping[str, Any]]


def upsert(
    session: Session | Connection,
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


def insert_new(session: Session | Connection, table: Table, rows: Rows, *, by: Sequence[str]) -> int:
    """Insert those rows whose values in the columns `by` are new; returns how many were."""
    if not rows:
        return 0
    return _written(session, insert_into(session, table).on_conflict_do_nothing(index_elements=by), rows)


def insert_into(session: Session | Connection, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, as the dialect has it."""
    bind = session.get_bind() if isinstance(session, Session) else session
    return (sqlite if bind.dialect.name == "sqlite" else postgresql).insert(table)


def _written(session: Session | Connection, statement: Any, rows: Rows) -> int:
    connection = session.connection() if isinstance(session, Session) else session
    done: CursorResult[Any] = connection.execute(
        statement, [dict(row) for row in rows], execution_options={"preserve_rowcount": True}
    )
    return done.rowcount
