"""Looking before starting: each part that a variable names is asked once, so that a wrong one is told in one line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

from deploy.launcher.errors import CannotStart
from deploy.launcher.plain import plain
from jobs.settings import InvalidSettings, Settings

LIMIT = timedelta(seconds=10)


def check(settings: Settings) -> None:
    """Ask Redis, where it is used, the database and the storage. Raises CannotStart naming what leads nowhere first."""
    probes: dict[str, Callable[[Settings], None]] = {
        "REDIS_URL": _ask_redis,
        "DATABASE_URL": _ask_database,
        "STORAGE_URL": _ask_storage,
    }
    if not settings.use_job_queue:
        del probes["REDIS_URL"]
    for variable, probe in probes.items():
        reason = _reason(probe, settings)
        if reason is not None:
            raise CannotStart(f"{variable} can't be used: {plain(reason.removeprefix(f'{variable}: '))}")


def _reason(probe: Callable[[Settings], None], settings: Settings) -> str | None:
    """None when the probe succeeds within the limit, else one line that says what is wrong."""
    reasons: list[str] = [f"there is no answer within {LIMIT.total_seconds():.0f} s"]

    def run() -> None:
        try:
            probe(settings)
            reasons.clear()
        except Exception as error:
            reasons.append(_line_of(error))

    thread = threading.Thread(target=run, name="preflight", daemon=True)
    thread.start()
    thread.join(LIMIT.total_seconds())
    return reasons[-1] if reasons else None


def _line_of(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    reason = str(cause).strip().splitlines() or [type(cause).__name__]
    below = error.__cause__ if not isinstance(error, InvalidSettings) else None
    return f"{reason[0]} ({_line_of(below)})" if isinstance(below, OSError) else reason[0]


def _ask_redis(settings: Settings) -> None:
    from jobs.engine import connect

    fleet = connect(settings)
    try:
        fleet.ping()
    finally:
        fleet.close()


def _ask_database(settings: Settings) -> None:
    from jobs.adapters.database import Database

    database = Database(settings.database_url)
    try:
        with database.begin() as session:
            session.connection()
    finally:
        database.close()


def _ask_storage(settings: Settings) -> None:
    from jobs.adapters import storage
    from webapp.health import storage_check

    storage_check(storage.connect(settings).write)()
