"""Running the Alembic migrations, one process at a time."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection

from jobs.engine.database import Database

LOCK = 0x72715F666C656574  # "rq_fleet": the advisory lock of PostgreSQL that migrating processes take


def upgrade(database: Database) -> None:
    """Upgrade to head in one transaction that locks out others; it changes everything or nothing."""
    from alembic import command

    from jobs.adapters.database import vectors

    with database.begin() as session:
        connection = session.connection()
        if not database.is_sqlite:  # on SQLite the write transaction is the lock
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
        command.upgrade(_config(connection), "head")
        vectors.prepare(connection)


def current_and_newest(database: Database) -> tuple[str | None, str]:
    """The revision that the database is at, and the newest one there is."""
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with database.read() as session:
        connection = session.connection()
        newest = ScriptDirectory.from_config(_config(connection)).get_current_head()
        return MigrationContext.configure(connection).get_current_revision(), str(newest)


def _config(connection: Connection):  # type: ignore[no-untyped-def]
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
