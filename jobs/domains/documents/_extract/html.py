"""HTML as a stream of events, without ever building a tree, so that depth and size don't matter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lxml import etree  # type: ignore[import-untyped]

from jobs.domains.documents._extract.decode import blocks
from jobs.domains.documents._extract.model import Limits, Reading, Section, Step

_CHARSET = re.compile(rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([\w.:-]{2,40})""", re.IGNORECASE)
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_UNSEEN = frozenset({"script", "style", "template", "svg", "math", "object", "iframe", "select", "noscript"})
_BLOCKS = frozenset(
    {
        *(
            "address",
            "article",
            "aside",
            "blockquote",
            "body",
            "caption",
            "center",
            "dd",
            "details",
            "dialog",
            "div",
            "dl",
        ),
        *("dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend", "main"),
        *("nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "ul"),
        *("br"),
    }
)
_SECTION_CHARS = 32 * 1024


def read(path: Path, limits: Limits) -> Reading:
    """Read a web page in whatever encoding it is or declares."""
    with path.open("rb") as file:
        declared = _CHARSET.search(file.read(4096))
    return Reading(None, html_steps(blocks(path, declared[1].decode("ascii") if declared else None)))


def html_steps(source: Iterable[tuple[float, str]]) -> Iterator[Step]:
    """Yield the sections of markup that comes as (share done, text)."""
    page = _Page()
    parser = etree.HTMLParser(target=page, encoding="utf-8", huge_tree=True, no_network=True)
    fed = False
    for done, text in source:
        if text:
            parser.feed(text.replace("\0", "").encode("utf-8", "replace"))
            fed = True
        for section in page.taken():
            yield Step(done, section)
    if fed:
        parser.close()
    for section in page.taken():
        yield Step(1.0, section)


class _Page:
    """Collects text from the parser's events into sections named by the last heading, or by the page's title."""

    def __init__(self) -> None:
        self._sections: list[Section] = []
        self._text: list[str] = []
        self._size = 0
        self._name: str | None = None
        self._title: list[str] | None = None
        self._heading: list[str] | None = None
        self._unseen = self._verbatim = 0

    def taken(self) -> list[Section]:
        """The sections completed since the last call."""
        ready, self._sections = self._sections, []
        return ready

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag in _UNSEEN or self._unseen:
            self._unseen += 1
        elif tag == "title":
            self._title = []
        elif tag in _HEADINGS:
            self._flush()
            self._heading = []
        elif tag == "pre":
            self._verbatim += 1
        if not self._unseen:
            self._put(_before(tag, attributes))

    def end(self, tag: str) -> None:
        if self._unseen:
            self._unseen -= 1
        elif tag == "title" and self._title is not None:
            self._name, self._title = "".join(self._title).strip() or None, None
        elif tag in _HEADINGS and self._heading is not None:
            name, self._heading = "".join(self._heading).strip(), None
            self._name = name or self._name
            self._put(f"{name}\n\n")
        elif tag == "pre":
            self._verbatim = max(0, self._verbatim - 1)
        elif tag in _BLOCKS:
            self._put("\n")

    def data(self, text: str) -> None:
        if not self._unseen:
            self._put(text if self._verbatim else re.sub(r"\s+", " ", text))

    def comment(self, _text: str) -> None:
        """Comments are not content."""

    def close(self) -> None:
        self._flush()

    def _put(self, text: str) -> None:
        holder = self._title if self._title is not None else self._heading
        if holder is not None:
            if len(holder) < 1000:
                holder.append(text)
            return
        self._text.append(text)
        self._size += len(text)
        if self._size > _SECTION_CHARS:
            self._flush()

    def _flush(self) -> None:
        if self._text:
            self._sections.append(Section("".join(self._text), title=self._name))
        self._text, self._size = [], 0


def _before(tag: str, attributes: dict[str, str]) -> str:
    if tag in ("td", "th"):
        return " | "
    if tag == "li":
        return "\n- "
    if tag == "img":
        return f" {attributes.get('alt') or ''} "
    if tag == "tr":
        return "\n"
    return "\n\n" if tag in ("p", "table", "blockquote", "pre") else "\n" if tag in _BLOCKS else ""
