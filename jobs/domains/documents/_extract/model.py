"""What extraction takes and gives: limits in, sections of clean text out, one error for what can't be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from jobs.engine.errors import Permanent


class Unreadable(Permanent):
    """The file can't be turned into text; the message is one sentence for the person who uploaded it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one file may cost; what goes beyond is refused with a message that names the limit."""

    max_text_chars: int = 50_000_000
    max_pages: int = 5_000
    max_entries: int = 10_000
    max_unpacked_bytes: int = 500_000_000
    max_ratio: int = 200
    ratio_free_bytes: int = 50_000_000
    max_cells: int = 5_000_000
    max_empty_rows: int = 2_000_000
    max_elements: int = 2_000_000
    max_nesting: int = 200
    max_duration: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of text that belongs together; `page` counts from 1, `title` is its heading, sheet or key."""

    text: str
    page: int | None = None
    title: str | None = None


class Step(NamedTuple):
    """One step of a reader: the share of the file that is done (0..1) and the text it gave, maybe none."""

    done: float
    section: Section


class Reading(NamedTuple):
    """What a format's `read` returns; `steps` does the work while it is consumed."""

    pages: int | None
    steps: Iterator[Step]


@dataclass(frozen=True, slots=True)
class Extracted:
    """A file on its way to text: consume `sections` once; they raise Unreadable when the file turns out to be."""

    media_type: str
    pages: int | None
    sections: Iterator[Section]
