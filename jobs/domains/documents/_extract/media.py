"""What a file really is, by its bytes; its name only decides between kinds of text."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from jobs.domains.documents._extract.archive import opened, small_part
from jobs.domains.documents._extract.csv import delimiter_of
from jobs.domains.documents._extract.decode import marked, unmarked_utf16
from jobs.domains.documents._extract.model import Limits, Unreadable

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
EPUB, HTML, MARKDOWN = "application/epub+zip", "text/html", "text/markdown"
TEXT, CSV, JSON = "text/plain", "text/csv", "application/json"

_SUPPORTED = "upload PDF, Word, PowerPoint, Excel, HTML, Markdown, text, CSV, JSON or EPUB"
_HEAD = 64 * 1024
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_OLE_KINDS = (
    ("EncryptedPackage", "the file is encrypted with a password; save it without one and upload it again"),
    ("WordDocument", "old Word files (.doc) are not supported; save it as .docx and upload that"),
    ("PowerPoint Document", "old PowerPoint files (.ppt) are not supported; save it as .pptx and upload that"),
    ("Workbook", "old Excel files (.xls) are not supported; save it as .xlsx and upload that"),
    ("Book", "old Excel files (.xls) are not supported; save it as .xlsx and upload that"),
)
_PACKAGES = (
    (b"wordprocessingml.document.main+xml", DOCX),
    (b"presentationml.presentation.main+xml", PPTX),
    (b"spreadsheetml.sheet.main+xml", XLSX),
    (b"ms-excel.sheet.macroEnabled.main+xml", XLSX),
)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\v\x1b")) + b"\x7f"
_LEADING = b"\xef\xbb\xbf \t\r\n\f"
_HTML = re.compile(  # possessive: what was taken is not tried another way, so that time grows with length alone
    rb"(?:<\?xml[^>]*+>|<!--(?:(?!-->).)*+-->|\s++)*+"
    rb"<(?:!doctype\s++html|html|head|body|title|meta|h1|div|table|p)\b",
    re.I | re.S,
)
_TAGS = re.compile(rb"<(?:html|head|body|div|p|h[1-6]|table|span|a|ul|!doctype)\b", re.IGNORECASE)
_JSON = re.compile(rb"""\s*(?:\{\s*["}]|\[\s*(?:["\[{\]]|-?\d+(?:\.\d+)?\s*[,\]]|true\b|false\b|null\b))""")
_MARKDOWN_HEADING = re.compile(rb"^#{1,6} +\S", re.MULTILINE)
_MARKDOWN_MARK = re.compile(rb"^```|^[-*] \S|\]\([^\s\])]++\)|\*\*\S", re.MULTILINE)
_TEXT_NAMES = {".md": MARKDOWN, ".markdown": MARKDOWN, ".csv": CSV, ".tsv": CSV, ".txt": TEXT, ".log": TEXT}


def recognise(path: Path, name: str, limits: Limits | None = None) -> str:
    """The media type of the file. Raises Unreadable when it is empty or no kind that can be read."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 2048))
        tail = file.read()
    if not head:
        raise Unreadable("the file is empty")
    if _is_pdf(head, tail):
        return PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _package(path, limits or Limits())
    if head.startswith(_OLE):
        raise Unreadable(_ole_problem(path))
    if not _is_text(head):
        raise Unreadable(_binary_problem(head))
    return _kind_of_text(head, tail, name)


def _is_pdf(head: bytes, tail: bytes) -> bool:
    """At the start, or behind up to 1,024 bytes of something else when the end is a PDF's as well."""
    if head.lstrip(_LEADING).startswith(b"%PDF-"):
        return True
    return not head.startswith(b"PK") and b"%PDF-" in head[:1024] and b"%%EOF" in tail


def _package(path: Path, limits: Limits) -> str:
    try:
        with opened(path, limits) as archive:
            return _package_kind(archive)
    except BadZipFile as error:
        raise Unreadable("the file is a damaged or incomplete ZIP container") from error


def _package_kind(archive: ZipFile) -> str:
    mimetype = small_part(archive, "mimetype").strip()
    if mimetype == EPUB.encode() or small_part(archive, "META-INF/container.xml"):
        return EPUB
    if mimetype.startswith(b"application/vnd.oasis.opendocument"):
        raise Unreadable(f"OpenDocument files are not supported; {_SUPPORTED}")
    types = small_part(archive, "[Content_Types].xml")
    for mark, kind in _PACKAGES:
        if mark in types:
            return kind
    if types:
        raise Unreadable(f"this kind of Office file is not supported; {_SUPPORTED}")
    raise Unreadable("ZIP archives are not supported; unpack it and upload the files in it")


def _ole_problem(path: Path) -> str:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for stream, problem in _OLE_KINDS:
            if content.find(stream.encode("utf-16-le")) >= 0:
                return problem
    return f"this kind of old Office file is not supported; {_SUPPORTED}"


def _is_text(head: bytes) -> bool:
    if marked(head) or unmarked_utf16(head):
        return True
    controls = len(head) - len(head.translate(None, _CONTROLS))
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return controls <= len(head) * 0.005
    return controls <= len(head) * 0.2


def _binary_problem(head: bytes) -> str:
    import filetype  # type: ignore[import-untyped]

    kind = filetype.guess(head)
    return f"{f'files of type {kind.mime}' if kind else 'binary files'} are not supported; {_SUPPORTED}"


def _kind_of_text(head: bytes, tail: bytes, name: str) -> str:
    if head.startswith((b"{\\rtf", b"%!PS")):
        raise Unreadable(f"{'RTF' if head[0] == 123 else 'PostScript'} files are not supported; {_SUPPORTED}")
    encoding = marked(head) or unmarked_utf16(head)
    text = head.decode(encoding, "ignore").encode() if encoding else head
    text = text.lstrip(_LEADING)
    suffix = Path(name).suffix.lower()
    if _HTML.match(text) or (suffix in (".html", ".htm", ".xhtml") and _TAGS.search(text)):
        return HTML
    if _JSON.match(text) and (
        suffix in (".json", ".jsonl", ".ndjson") or tail.replace(b"\0", b"").rstrip()[-1:] in b"]}"
    ):
        return JSON
    if suffix in _TEXT_NAMES:
        return _TEXT_NAMES[suffix]
    if _MARKDOWN_HEADING.search(text) and _MARKDOWN_MARK.search(text):
        return MARKDOWN
    lines = text.count(b"\n")
    if lines >= 2 and delimiter_of(text.rpartition(b"\n")[0].decode("utf-8", "replace"), at_least=2):
        return CSV
    return TEXT
