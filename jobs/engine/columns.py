"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from sqlalchemy import DateTime, Dialect, Table, TypeDecorator


class Instant(TypeDecorator[datetime]):
    """An aware datetime, always UTC when read; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone can't be stored: use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def insert_of(dialect: str, table: Table) -> Any:
    """An INSERT that knows ON CONFLICT, as the dialect has it; the other dialect is not imported."""
    return import_module(f"sqlalchemy.dialects.{dialect}").insert(table)
