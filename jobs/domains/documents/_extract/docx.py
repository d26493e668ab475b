"""Word documents: body text in order, headings name the sections, table rows become lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docx import Document
from docx.oxml.ns import qn

from jobs.domains.documents._extract.archive import inspect
from jobs.domains.documents._extract.model import Limits, Reading, Section, Step

_P, _R_TEXT, _TAB, _BREAK, _TABLE, _ROW, _CELL = (qn(f"w:{tag}") for tag in ("p", "t", "tab", "br", "tbl", "tr", "tc"))
_CONTAINERS = frozenset(qn(f"w:{tag}") for tag in ("sdt", "sdtContent", "customXml", "ins"))
_SECTION_CHARS = 32 * 1024


def read(path: Path, limits: Limits) -> Reading:
    """Read the document's body; headers, footers and comments are not part of it."""
    inspect(path, limits)
    document = Document(str(path))
    return Reading(None, _steps(document.element.body, _heading_styles(document)))


def _heading_styles(document: Any) -> frozenset[str]:
    return frozenset(
        style.style_id
        for style in document.styles
        if style.name and (style.name.lower().startswith("heading") or style.name.lower() in ("title", "subtitle"))
    )


def _steps(body: Any, heading_styles: frozenset[str]) -> Iterator[Step]:
    title: str | None = None
    text: list[str] = []
    size, count = 0, max(1, len(body))
    for index, block in enumerate(_blocks(body)):
        is_heading = block.tag == _P and block.style in heading_styles
        line = _table_text(block) if block.tag == _TABLE else _paragraph_text(block)
        if (is_heading and line.strip()) or size > _SECTION_CHARS:
            yield Step(min(1.0, index / count), Section("\n\n".join(text), title=title))
            text, size = [], 0
        title = line.strip() or title if is_heading else title
        text.append(line)
        size += len(line)
    yield Step(1.0, Section("\n\n".join(text), title=title))


def _blocks(body: Any) -> Iterator[Any]:
    """Paragraphs and tables in reading order, also those inside content controls and tracked insertions."""
    waiting = [iter(body)]
    while waiting:
        element = next(waiting[-1], None)
        if element is None:
            waiting.pop()
        elif element.tag in (_P, _TABLE):
            yield element
        elif element.tag in _CONTAINERS:
            waiting.append(iter(element))


def _paragraph_text(paragraph: Any) -> str:
    """All runs, those in links, insertions and text boxes included; deleted text is in another element and left out."""
    pieces = (
        element.text or "" if element.tag == _R_TEXT else "\t" if element.tag == _TAB else "\n"
        for element in paragraph.iter(_R_TEXT, _TAB, _BREAK)
        if element.tag != _TAB or element.getparent().tag != qn("w:tabs")
    )
    return "".join(pieces)


def _table_text(table: Any) -> str:
    return "\n".join(
        " | ".join(" ".join(_paragraph_text(paragraph) for paragraph in cell.iter(_P)) for cell in row.findall(_CELL))
        for row in table.findall(_ROW)
    )
