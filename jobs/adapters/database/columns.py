"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import JSON, Dialect, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB

from jobs.adapters.words import storable
from jobs.engine.columns import Instant as Instant

Json = JSON().with_variant(JSONB(), "postgresql")


class Prose(TypeDecorator[str]):
    """Text that people or their files wrote: what no database can hold (NUL, lone surrogates) becomes U+FFFD."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


def now() -> datetime:
    """This instant, aware, in UTC."""
    return datetime.now(UTC)
