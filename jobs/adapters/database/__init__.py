"""The SQL database: SQLite by default, PostgreSQL in production."""

from __future__ import annotations

import os
import threading

from jobs.adapters.database.engine import Database
from jobs.settings import Settings

__all__ = ["Database", "connect", "migrate"]

_databases: dict[str, Database] = {}
_lock = threading.Lock()


def connect(settings: Settings) -> Database:
    """The process's one Database of that URL; nothing is opened before its first use."""
    with _lock:
        if settings.database_url not in _databases:
            _databases[settings.database_url] = Database(settings.database_url)
        return _databases[settings.database_url]


def migrate(settings: Settings) -> None:
    """Bring the database to the newest schema; harmless when it is there or several processes do it at once."""
    from jobs.adapters.database.migration import upgrade

    upgrade(connect(settings))


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
