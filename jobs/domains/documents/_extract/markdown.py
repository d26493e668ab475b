"""Markdown: headings name the sections, markup is dropped, tables keep their cells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from jobs.domains.documents._extract.decode import lines
from jobs.domains.documents._extract.html import html_steps
from jobs.domains.documents._extract.model import Limits, Reading, Section, Step

_HEADING = re.compile(r" {0,3}#{1,6}\s")
_FENCE = re.compile(r" {0,3}(```|~~~)")
_ENOUGH, _PLENTY, _AT_MOST = 16_000, 32_000, 64_000
_INLINE_BREAKS = {"softbreak": " ", "hardbreak": "\n"}
_AROUND = {
    "heading_close": "\n\n",
    "paragraph_close": "\n\n",
    "list_item_open": "- ",
    "bullet_list_close": "\n",
    "ordered_list_close": "\n",
    "td_close": " | ",
    "th_close": " | ",
    "tr_close": "\n",
    "table_close": "\n",
}


def read(path: Path, limits: Limits) -> Reading:
    """Read CommonMark with tables."""
    return Reading(None, _steps(path))


def _steps(path: Path) -> Iterator[Step]:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    title: str | None = None
    for done, segment in _segments(path):
        text: list[str] = []
        tokens = parser.parse(segment)
        for index, token in enumerate(tokens):
            if token.type == "heading_open":
                yield Step(done, Section("".join(text), title=title))
                title, text = _inline(tokens[index + 1].children or []).strip() or title, []
            text.append(_text_of(token))
        yield Step(done, Section("".join(text), title=title))


def _segments(path: Path) -> Iterator[tuple[float, str]]:
    """Parsing cost grows faster than length, so a long file is cut: at headings, else at empty lines, else anywhere."""
    segment: list[str] = []
    size, fenced, done = 0, False, 0.0
    for done, line in _short_lines(path):
        at_heading = size > _ENOUGH and not fenced and _HEADING.match(line)
        at_gap = size > _PLENTY and not fenced and not line.strip()
        if at_heading or at_gap or size + len(line) > _AT_MOST:
            yield done, "".join(segment)
            segment, size = [], 0
        segment.append(line)
        size += len(line)
        fenced ^= bool(_FENCE.match(line))
    yield done, "".join(segment)


def _short_lines(path: Path) -> Iterator[tuple[float, str]]:
    for done, line in lines(path):
        for start in range(0, len(line), _AT_MOST):
            yield done, line[start : start + _AT_MOST]


def _text_of(token: Token) -> str:
    if token.type == "inline":
        return _inline(token.children or [])
    if token.type in ("fence", "code_block"):
        return f"{token.content}\n"
    if token.type == "html_block":
        return "".join(step.section.text for step in html_steps([(1.0, token.content)]))
    return "\n" if token.hidden and token.nesting < 0 else _AROUND.get(token.type, "")


def _inline(tokens: Sequence[Token]) -> str:
    return "".join(
        token.content if token.type in ("text", "code_inline", "image") else _INLINE_BREAKS.get(token.type, "")
        for token in tokens
    )
