"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Dialect, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

from jobs.adapters.words import storable
from jobs.engine.columns import Instant as Instant


class Json(TypeDecorator[Any]):
    """JSON, as PostgreSQL can look into it; its dialect is imported where it is in use."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "postgresql":
            return dialect.type_descriptor(JSON())
        from sqlalchemy.dialects.postgresql import JSONB

        return dialect.type_descriptor(JSONB())


class Prose(TypeDecorator[str]):
    """Text that people or their files wrote: what no database can hold (NUL, lone surrogates) becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


def now() -> datetime:
    """This instant, aware, in UTC."""
    return datetime.now(UTC)
