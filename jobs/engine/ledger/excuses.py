"""Why a process can't keep the ledger, in one line where that is known."""

from __future__ import annotations

_MISSING = ("no such table", "no such column", "undefinedtable", "undefinedcolumn")
LACKS_SCHEMA = "the database lacks the tables of this release; run `python -m jobs.adapters.database migrate`"


def in_a_line(error: Exception) -> str | None:
    """What to do about the error, or None where its traceback has to tell."""
    from sqlalchemy.exc import DBAPIError

    if not isinstance(error, DBAPIError):
        return None
    told = f"{type(error.orig).__name__} {error.orig}".lower()
    return LACKS_SCHEMA if any(word in told for word in _MISSING) else None
