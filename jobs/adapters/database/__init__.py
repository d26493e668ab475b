"""The SQL database: SQLite by default, PostgreSQL in production."""

from __future__ import annotations

from jobs.engine.database import Database, connect
from jobs.settings import Settings

__all__ = ["Database", "connect", "migrate", "versions"]


def migrate(settings: Settings) -> None:
    """Bring the database to the newest schema; harmless when it is there or several processes do it at once."""
    from jobs.adapters.database.migration import upgrade

    upgrade(connect(settings))


def versions(database: Database) -> tuple[str | None, str]:
    """The schema's version, None in an empty database, and the one that this release needs. Raises SQLAlchemyError."""
    from jobs.adapters.database.migration import current_and_newest

    return current_and_newest(database)
