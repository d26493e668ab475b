"""Files to text: recognised by content, read within limits, yielded section by section."""

from __future__ import annotations

import errno
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from jobs.domains.documents._extract.clean import clean, clean_line
from jobs.domains.documents._extract.media import (
    CSV,
    DOCX,
    EPUB,
    HTML,
    JSON,
    MARKDOWN,
    PDF,
    PPTX,
    TEXT,
    XLSX,
    recognise,
)
from jobs.domains.documents._extract.model import Extracted, Limits, Reading, Section, Step, Unreadable
from jobs.engine.errors import FleetError

__all__ = ["Extracted", "Limits", "Section", "Unreadable", "extract", "recognise"]

_READERS = {
    PDF: ("pdf", "PDF"),
    DOCX: ("docx", "Word document"),
    PPTX: ("pptx", "presentation"),
    XLSX: ("xlsx", "workbook"),
    EPUB: ("epub", "e-book"),
    HTML: ("html", "web page"),
    MARKDOWN: ("markdown", "Markdown file"),
    TEXT: ("text", "text file"),
    CSV: ("csv", "table"),
    JSON: ("json", "JSON file"),
}
_LONGEST_SECTION = 64 * 1024
_DAMAGE = (None, errno.EINVAL, errno.EOVERFLOW)


class _Reader(Protocol):
    def read(self, path: Path, limits: Limits) -> Reading: ...


def extract(
    path: Path,
    *,
    name: str,
    limits: Limits | None = None,
    progress: Callable[[str, float], None] = lambda _stage, _percent: None,
) -> Extracted:
    """Open the file at `path`, uploaded as `name`, and say what it is; its sections are read as they are consumed.

    `progress("extracting", percent)` is called with whole percents from 0 to 100 and may raise. Raises Unreadable,
    here or while the sections are consumed: the file is broken, encrypted, of no known kind, empty or over a limit.
    """
    limits = limits or Limits()
    with _explained("file"):
        media_type = recognise(path, name, limits)
    module, noun = _READERS[media_type]
    reader = cast(_Reader, import_module(f"{__name__}.{module}"))
    with _explained(noun):
        reading = reader.read(path, limits)
    return Extracted(media_type, reading.pages, _sections(reading.steps, noun, limits, progress))


def _sections(
    steps: Iterator[Step], noun: str, limits: Limits, progress: Callable[[str, float], None]
) -> Iterator[Section]:
    spent, chars, shown = 0.0, 0, -1
    while True:
        started = time.monotonic()
        with _explained(noun):
            step = next(steps, None)
            section = None if step is None else step.section
            text = "" if section is None else clean(section.text)
        spent += time.monotonic() - started
        chars += len(text)
        _refuse_beyond(limits, noun, chars, spent)
        percent = 100 if step is None else int(min(1.0, step.done) * 100)
        if percent > shown:
            progress("extracting", float(percent))
            shown = percent
        if section is None:
            break
        title = clean_line(section.title) or None if section.title else None
        yield from (Section(part, section.page, title) for part in _parts(text))
    if not chars:
        raise Unreadable(f"no text was found in the {noun}")


def _refuse_beyond(limits: Limits, noun: str, chars: int, spent: float) -> None:
    if chars > limits.max_text_chars:
        raise Unreadable(f"the {noun} holds more than {limits.max_text_chars:,} characters of text; split it")
    if spent > limits.max_duration.total_seconds():
        minutes = limits.max_duration.total_seconds() / 60
        raise Unreadable(f"reading the {noun} took longer than {minutes:g} minutes; split it and upload the parts")


def _parts(text: str) -> Iterator[str]:
    """Text in parts of at most 64k characters, cut at a paragraph, a line or a word."""
    while len(text) > _LONGEST_SECTION:
        half = _LONGEST_SECTION // 2
        cuts = (text.rfind(mark, half, _LONGEST_SECTION) for mark in ("\n\n", "\n", " "))
        cut = next((cut for cut in cuts if cut > 0), _LONGEST_SECTION)
        yield text[:cut]
        text = text[cut:].lstrip()
    if text:
        yield text


@contextmanager
def _explained(noun: str) -> Iterator[None]:
    """Turn whatever a parser raises over a hostile file into one sentence; a failing disk stays an OSError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except FleetError:
        raise
    except MemoryError:
        raise Unreadable(f"the {noun} needs more memory than one file may use; split it and upload the parts") from None
    except RecursionError:
        raise Unreadable(f"the {noun} is nested too deeply to be read safely") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in _DAMAGE:
            raise
        raise Unreadable(f"the {noun} is damaged or incomplete and can't be read") from error
