"""Reading rows as values, and writing them: every write is a statement, made when it is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from sqlalchemy import Select, insert, select, update
from sqlalchemy.exc import NoResultFound

from jobs.adapters.database.models import Document, Source, Workspace
from jobs.engine.transactions import Transaction

Row = TypeVar("Row", Workspace, Source, Document)


def get(session: Transaction, kind: type[Row], row_id: str, *, for_update: bool = False) -> Row | None:
    """The row of that id, or None; with `for_update` nobody else changes it before the transaction ends."""
    query = select(kind.table).where(kind.table.c.id == row_id)
    return first(session, kind, query.with_for_update() if for_update else query)


def first(session: Transaction, kind: type[Row], query: Select[Any]) -> Row | None:
    """The first row of a query of that kind's whole table, or None."""
    found = session.execute(query).mappings().first()
    return None if found is None else kind(**found)


def several(session: Transaction, kind: type[Row], query: Select[Any]) -> list[Row]:
    """All rows of a query of that kind's whole table."""
    return [kind(**found) for found in session.execute(query).mappings()]


def add(session: Transaction, new: Sequence[Row]) -> None:
    """Insert rows of one kind by one statement."""
    if new:
        session.execute(insert(new[0].table), [_values(each) for each in new])


def change(session: Transaction, row: Row, **values: Any) -> Row:
    """Write those values that the row does not have yet; the row with all of them, as it was read otherwise.

    Without any nothing is written, and `updated_at` stays. Raises NoResultFound where the row is gone.
    """
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    if not changed:
        return row
    table = row.table
    if session.execute(update(table).where(table.c.id == row.id).values(changed)).rowcount != 1:
        raise NoResultFound(f"the row of {table.name} that was to be changed is gone")
    return replace(row, **changed)


def _values(row: Workspace | Source | Document) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(row)}
