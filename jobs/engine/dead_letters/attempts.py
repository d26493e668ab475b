"""The runs that a job has behind it: from RQ's stream of its results, with the lines that each printed."""

from __future__ import annotations

import zlib
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from jobs.engine.dead_letters.letters import error_of, number_of
from jobs.engine.views import JobError, LogLine

OUTCOMES = {b"1": "completed", b"2": "failed", b"3": "cancelled", b"4": "retried", b"5": "failed"}
LOST = ("WorkerLost", "LeaseLost")
"""What ended runs that could not say so themselves."""
LARGEST_TRACEBACK = 1024 * 1024
SLACK = timedelta(seconds=1)


class Lines(BaseModel):
    """The lines of a job's output that are of one run: how many, and the ids of the first and the last."""

    count: int
    first: str
    last: str

    @property
    def ends(self) -> tuple[str, str]:
        """The ids of the first and the last."""
        return self.first, self.last


class Attempt(BaseModel):
    """One run and how it ended; `number` begins anew when the job is run again by hand. Times are its worker's.

    The outcome is "completed", "failed", "retried", "cancelled", or "lost" when it died with its process or its worker:
    then the end is when that was noticed, and the run after it has the same number.
    """

    number: int
    outcome: str
    worker: str
    execution: str
    began_at: datetime | None = None
    ended_at: datetime | None = None
    error: JobError | None = None
    text: str = ""
    fingerprint: str = ""
    traceback: str = ""
    output: Lines | None = None


def of_results(entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]], lines: Sequence[LogLine]) -> list[Attempt]:
    """The runs, oldest first, of the entries of a job's stream of results."""
    attempts = [_attempt(fields, number) for number, (_, fields) in enumerate(entries, start=1)]
    for attempt in attempts:
        attempt.output = _lines_of(attempt, lines)
    return attempts


def _attempt(fields: Mapping[bytes, bytes], number: int) -> Attempt:
    error = error_of(fields.get(b"error", b""))
    return Attempt(
        number=number_of(fields.get(b"attempt", b"")) or number,
        outcome="lost" if error and error.type in LOST else OUTCOMES.get(fields.get(b"type", b""), "unknown"),
        worker=_text(fields, b"worker_name"),
        execution=_text(fields, b"execution_id"),
        began_at=_time(fields.get(b"execution_started_at")),
        ended_at=_time(fields.get(b"execution_ended_at")),
        error=error,
        text=_text(fields, b"text"),
        fingerprint=_text(fields, b"fingerprint"),
        traceback=_traceback(fields.get(b"exc_string", b"")),
    )


def _lines_of(attempt: Attempt, lines: Sequence[LogLine]) -> Lines | None:
    """A line names the number of its run; where runs share a number, the time tells."""
    own = [line for line in lines if line.attempt == attempt.number and _is_within(attempt, line)]
    return Lines(count=len(own), first=own[0].id, last=own[-1].id) if own else None


def _is_within(attempt: Attempt, line: LogLine) -> bool:
    if attempt.began_at is None or attempt.ended_at is None or line.at is None:
        return True
    return attempt.began_at - SLACK <= line.at <= attempt.ended_at + SLACK


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode("utf-8", "replace")


def _time(value: bytes | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(float(value or b""), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _traceback(packed: bytes) -> str:
    """RQ's way: zlib in base64; what is no such thing is shown as it is."""
    unpacker: Any = zlib.decompressobj()
    try:
        return str(unpacker.decompress(b64decode(packed), LARGEST_TRACEBACK).decode("utf-8", "replace"))
    except (ValueError, zlib.error):
        return packed.decode("utf-8", "replace")
