"""Notes in SQL: see jobs.engine.notes."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, insert, select, update

from jobs.engine.database import Database
from jobs.engine.local import step as steps
from jobs.engine.local import tables
from jobs.engine.local.step import Step
from jobs.engine.notes import Count

table = tables.notes


class LocalNotes:
    """See jobs.engine.notes.Notes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, name: str, value: bytes, kept: timedelta) -> None:
        """See Notes.put."""
        with steps.step(self._database) as step:
            step.execute(delete(table).where(table.c.expires <= step.now))
            _write(step, name, value, 0, step.now + kept.total_seconds())

    def claim(self, name: str, kept: timedelta) -> bool:
        """See Notes.claim."""
        with steps.step(self._database) as step:
            if _find(step, name) is not None:
                return False
            _write(step, name, b"used", 0, step.now + kept.total_seconds())
            return True

    def has(self, name: str) -> bool:
        """See Notes.has."""
        with steps.unavailable(), self._database.read() as session:
            query = select(table.c.expires).where(table.c.name == steps.bounded(name))
            expires = session.connection().execute(query).scalar()
            return expires is not None and expires > steps.clock(session.connection())

    def get(self, name: str) -> bytes | None:
        """See Notes.get."""
        with steps.unavailable(), self._database.read() as session:
            query = select(table.c.value, table.c.expires).where(table.c.name == steps.bounded(name))
            row = session.connection().execute(query).first()
            is_good = row is not None and row[1] > steps.clock(session.connection())
            return bytes(row[0]) if is_good and row is not None else None

    def take(self, name: str) -> bytes | None:
        """See Notes.take."""
        with steps.step(self._database) as step:
            value = _find(step, name)
            step.execute(delete(table).where(table.c.name == steps.bounded(name)))
            return None if value is None else value[0]

    def count(self, names: list[str], kept: timedelta) -> list[Count]:
        """See Notes.count."""
        with steps.step(self._database) as step:
            return [_count(step, name, kept) for name in names]

    def forget(self, *names: str) -> None:
        """See Notes.forget."""
        with steps.step(self._database) as step:
            step.execute(delete(table).where(table.c.name.in_([steps.bounded(name) for name in names])))


def _count(step: Step, name: str, kept: timedelta) -> Count:
    known = _find(step, name)
    number, expires = (known[1] + 1, known[2]) if known else (1, step.now + kept.total_seconds())
    _write(step, name, b"", number, expires)
    return Count(number, timedelta(seconds=max(1.0, expires - step.now)))


def _find(step: Step, name: str) -> tuple[bytes, int, float] | None:
    query = select(table.c.value, table.c.count, table.c.expires)
    row = step.execute(query.where(table.c.name == steps.bounded(name), table.c.expires > step.now)).first()
    return None if row is None else (bytes(row[0]), row[1], row[2])


def _write(step: Step, name: str, value: bytes, count: int, expires: float) -> None:
    key = steps.bounded(name)
    values = {"value": value, "count": count, "expires": expires}
    if not step.execute(update(table).where(table.c.name == key).values(**values)).rowcount:
        step.execute(insert(table).values(name=key, **values))
