"""Times as they stand in the tables, and as everybody else knows them."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(seconds: float | None) -> datetime | None:
    """Epoch seconds as an aware datetime."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
