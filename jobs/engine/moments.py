"""Times that somebody asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator


def utc(moment: datetime) -> datetime:
    """The same in UTC; one without a zone is taken for UTC. Raises ValueError where UTC has no such year."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("this time is before the year 1 or after the year 9999 in UTC") from None


Moment = Annotated[datetime, AfterValidator(utc)]
