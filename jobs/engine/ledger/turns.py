"""Turns: transactions of PostgreSQL that write the same unique key do so one after the other."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Connection, text

from jobs.engine.errors import InvalidTransaction

LONGEST = timedelta(seconds=1)
"""A transaction that holds a key for longer is not waited for: its caller may be waiting for ours."""
LOOK_AGAIN = timedelta(milliseconds=5)
TURNS = 512
"""Keys share so many locks, since PostgreSQL has a few thousand for all that everybody does."""
CLASS = 0x72716C67
"""What sets them apart from others' advisory locks ("rqlg")."""
SEES_ALL = ("read committed", "read uncommitted")
"""At these each statement sees what was committed before it."""
_LEVEL = text("SELECT current_setting('transaction_isolation')")
_TRY = text("SELECT turn FROM unnest(CAST(:turns AS int[])) AS turn WHERE NOT pg_try_advisory_xact_lock(:class, turn)")


def take(connection: Connection, uniques: Sequence[str]) -> None:
    """Hold the turns of these keys until the transaction ends, or give up after a second; SQLite has one writer anyway.

    What is read afterwards has seen what the others have written. Raises InvalidTransaction for a transaction whose
    snapshot may be older than that.
    """
    if connection.dialect.name != "postgresql":
        return
    level = connection.execute(_LEVEL).scalar_one()
    if level not in SEES_ALL:
        message = (
            f"unique= needs a transaction at READ COMMITTED; this one is at {level.upper()}, and may not see its like"
        )
        raise InvalidTransaction(message)
    missing = sorted({zlib.crc32(each.encode()) % TURNS for each in uniques})
    give_up = time.monotonic() + LONGEST.total_seconds()
    while missing := list(connection.execute(_TRY, {"turns": missing, "class": CLASS}).scalars()):
        if time.monotonic() > give_up:
            return
        time.sleep(LOOK_AGAIN.total_seconds())
