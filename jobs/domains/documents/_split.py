"""Sections into passages of a size that embeds and reads well."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from jobs.domains.documents._extract.model import Section

if TYPE_CHECKING:
    from semantic_text_splitter import TextSplitter

LONGEST_PIECE = 1200
_USUAL_PIECE = 1000


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage to embed and index; `page` counts from 1, `section` is the heading it stands under."""

    text: str
    page: int | None
    section: str | None


def split(sections: Iterable[Section]) -> Iterator[Piece]:
    """Yield pieces of about 1,000 and at most 1,200 characters, ending at paragraphs or sentences where they can.

    A piece never spans pages or headings; small neighbours under the same heading share one.
    """
    for section in _joined(sections):
        for chunk in _chunks(section.text):
            yield Piece(chunk, section.page, section.title)


def _chunks(text: str) -> list[str]:
    """Chunks of about the same length, so that no section ends in a scrap."""
    if len(text) <= LONGEST_PIECE:
        return [text] if text else []
    even = len(text) / math.ceil(len(text) / _USUAL_PIECE)
    return _splitter(math.ceil(even / 20) * 20).chunks(text)


@cache
def _splitter(at_least: int) -> TextSplitter:
    from semantic_text_splitter import TextSplitter

    return TextSplitter((at_least, LONGEST_PIECE))


def _joined(sections: Iterable[Section]) -> Iterator[Section]:
    waiting: Section | None = None
    for section in sections:
        if waiting is not None and _belong_together(waiting, section):
            waiting = Section(f"{waiting.text}\n\n{section.text}", section.page, section.title)
            continue
        if waiting is not None:
            yield waiting
        waiting = section
    if waiting is not None:
        yield waiting


def _belong_together(one: Section, two: Section) -> bool:
    """Small enough for one piece, on one page, under one heading; or the first is but a heading."""
    fits = len(one.text) + len(two.text) + 2 <= LONGEST_PIECE
    return fits and one.page == two.page and (one.title == two.title or one.text == one.title)
