"""Presentations: a section a slide, named by its title, with tables and speaker notes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pptx import Presentation
from pptx.oxml.ns import qn

from jobs.domains.documents._extract.archive import inspect
from jobs.domains.documents._extract.model import Limits, Reading, Section, Step, Unreadable

_TEXT = qn("a:t")


def read(path: Path, limits: Limits) -> Reading:
    """Read the slides in their order. Raises Unreadable for too many."""
    inspect(path, limits)
    presentation = Presentation(str(path))
    count = len(presentation.slides)
    if count > limits.max_pages:
        raise Unreadable(f"the presentation has more than {limits.max_pages:,} slides; split it and upload the parts")
    return Reading(count, _steps(presentation.slides, max(1, count)))


def _steps(slides: Any, count: int) -> Iterator[Step]:
    for number, slide in enumerate(slides, start=1):
        title = slide.shapes.title
        name = title.text_frame.text.strip() if title is not None else ""
        texts = [text for shape in _shapes(slide.shapes) if (text := _shape_text(shape).strip())]
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            texts.append(slide.notes_slide.notes_text_frame.text)
        yield Step(number / count, Section("\n\n".join(texts), page=number, title=name or None))


def _shapes(shapes: Any) -> Iterator[Any]:
    waiting = [iter(shapes)]
    while waiting:
        shape = next(waiting[-1], None)
        if shape is None:
            waiting.pop()
        elif hasattr(shape, "shapes"):
            waiting.append(iter(shape.shapes))
        else:
            yield shape


def _shape_text(shape: Any) -> str:
    if getattr(shape, "has_table", False):
        rows = shape.table._tbl.tr_lst
        return "\n".join(
            " | ".join(" ".join(run.text or "" for run in cell.iter(_TEXT)) for cell in row.tc_lst) for row in rows
        )
    return str(shape.text_frame.text) if shape.has_text_frame else ""
