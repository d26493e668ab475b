"""PDF, page by page."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pypdf import PdfReader, apply_configuration
from pypdf.errors import LimitReachedError, PyPdfError

from jobs.domains.documents._extract.model import Limits, Reading, Section, Step, Unreadable
from jobs.engine.errors import FleetError


def read(path: Path, limits: Limits) -> Reading:
    """Count the pages and read them. Raises Unreadable for passwords and for too many pages."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    file = path.open("rb")
    try:
        reader = _opened(file)
        pages = _page_count(reader, limits)
    except BaseException:
        file.close()
        raise
    return Reading(pages, _steps(file, reader, pages))


def _opened(file: BinaryIO) -> PdfReader:
    reader = PdfReader(file, strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("the PDF is encrypted with a password; save it without one and upload it again")
    return reader


def _page_count(reader: PdfReader, limits: Limits) -> int:
    too_many = Unreadable(f"the PDF has more than {limits.max_pages:,} pages; split it and upload the parts")
    with suppress(PyPdfError, KeyError, TypeError, AttributeError):
        claimed = reader.root_object["/Pages"]["/Count"]  # type: ignore[index]
        if isinstance(claimed, int) and claimed > limits.max_pages:
            raise too_many
    try:
        with apply_configuration(page_tree_maximum_entries=2 * limits.max_pages + 100):
            count = len(reader.pages)
    except LimitReachedError:
        raise too_many from None
    if count > limits.max_pages:
        raise too_many
    if count == 0:
        raise Unreadable("the PDF has no pages; it may be cut off or damaged")
    return count


def _steps(file: BinaryIO, reader: PdfReader, pages: int) -> Iterator[Step]:
    with file:
        blank = True
        for number, page in enumerate(reader.pages, start=1):
            text = _page_text(page.extract_text, number)
            blank = blank and not text.strip()
            yield Step(number / pages, Section(text, page=number))
        if blank:
            raise Unreadable("no text was found in the PDF; if it is scanned, run text recognition on it first")


def _page_text(extract_text: object, number: int) -> str:
    try:
        return str(extract_text()) if callable(extract_text) else ""
    except (FleetError, MemoryError, RecursionError):
        raise
    except LimitReachedError as error:
        raise Unreadable(f"page {number:,} of the PDF unpacks to too much to be read safely") from error
    except Exception as error:
        raise Unreadable(f"page {number:,} of the PDF is damaged and can't be read") from error
