"""E-books: the chapters in reading order."""

from __future__ import annotations

import codecs
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from zipfile import ZipFile

from lxml import etree  # type: ignore[import-untyped]

from jobs.domains.documents._extract.archive import inspect, opened
from jobs.domains.documents._extract.html import html_steps
from jobs.domains.documents._extract.model import Limits, Reading, Step, Unreadable

_PAGE_TYPES = ("application/xhtml+xml", "text/html", "application/xml")
_CHUNK = 64 * 1024


def read(path: Path, limits: Limits) -> Reading:
    """Read the spine's documents; each heading starts a section."""
    inspect(path, limits, web=True)
    with opened(path, limits) as archive:
        chapters = _spine(archive, limits)
    return Reading(None, _steps(path, chapters, limits))


def _spine(archive: ZipFile, limits: Limits) -> list[str]:
    """The names of the chapters' parts, as the package document orders them."""
    container = _xml(archive, "META-INF/container.xml")
    package = next((node.get("full-path") for node in container.iter("{*}rootfile")), None)
    if not package:
        raise Unreadable("the e-book is damaged: it does not say where its contents begin")
    root = _xml(archive, package)
    names = set(archive.namelist())
    pages = {
        item.get("id"): posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote(item.get("href", ""))))
        for item in root.iter("{*}item")
        if item.get("media-type") in _PAGE_TYPES
    }
    spine = [pages[ref.get("idref")] for ref in root.iter("{*}itemref") if ref.get("idref") in pages]
    chapters = [name for name in dict.fromkeys(spine) if name in names]
    if not chapters:
        raise Unreadable("the e-book holds no readable chapters")
    return chapters


def _xml(archive: ZipFile, name: str) -> Any:
    try:
        content = archive.read(name)
    except KeyError:
        raise Unreadable(f"the e-book is damaged: {posixpath.basename(name)[:80]} is missing") from None
    parser = etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
    return etree.fromstring(content, parser)


def _steps(path: Path, chapters: list[str], limits: Limits) -> Iterator[Step]:
    with opened(path, limits) as archive:
        for index, name in enumerate(chapters, start=1):
            for step in html_steps(_decoded(archive, name)):
                yield Step(index / len(chapters), step.section)


def _decoded(archive: ZipFile, name: str) -> Iterator[tuple[float, str]]:
    with archive.open(name) as part:
        head = part.read(4)
        encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        yield 0.0, decoder.decode(head)
        while chunk := part.read(_CHUNK):
            yield 0.0, decoder.decode(chunk)
        yield 0.0, decoder.decode(b"", True)
