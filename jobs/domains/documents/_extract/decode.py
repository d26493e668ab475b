"""Bytes to text for files that don't say their encoding: byte order marks, UTF-8, or the likeliest legacy encoding."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LEGACY = [
    *("cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1251", "koi8_r"),
    *("cp1250", "cp1252", "cp1253", "cp1255", "cp1256", "cp874"),
]
_WIDER = {"ascii": "cp1252", "iso8859-1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
_LEGACY_NAMES = ("cp", "iso8859", "koi8", "euc", "gb18030", "big5", "mac-", "tis-620")
_WESTERN = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿŒœ€£§©®°·«»"
    "\u00a0\u2013\u2014\u2018\u2019\u201c\u201d\u201e\u2022\u2026"
)
_HIGH_RUN = re.compile(rb"[\x80-\xff]{3}")
_SAMPLE = 32 * 1024
_BLOCK = 64 * 1024
_LONGEST_LINE = 1024 * 1024


def blocks(path: Path, encoding: str | None = None) -> Iterator[tuple[float, str]]:
    """Yield (share of the file read, text) in blocks of about 64k characters that end at a line or word where one ends.

    `encoding` is what the file itself declares; it is believed where the bytes are not UTF-8 and bear no order mark.
    Bytes that fit no encoding become U+FFFD. A line that is not UTF-8 in a file that mostly is gets decoded by itself.
    """
    size = max(1, path.stat().st_size)
    with path.open("rb") as file:
        unicode, legacy = _encodings(file, encoding)
        file.seek(0)
        pieces = _decoded(file, unicode) if legacy is None else _decoded_by_line(file, legacy)
        rest = ""
        for piece in pieces:
            text = rest + piece
            cut = (text.rfind("\n") + 1) or (text.rfind(" ") + 1) or len(text)
            rest = text[cut:]
            yield min(1.0, file.tell() / size), text[:cut]
        if rest:
            yield 1.0, rest


def lines(path: Path) -> Iterator[tuple[float, str]]:
    """Yield (share of the file read, line with its newline); a line over a million characters comes in pieces."""
    rest = ""
    done = 0.0
    for done, block in blocks(path):
        *complete, last = block.split("\n")
        for line in complete:
            yield done, rest + line + "\n"
            rest = ""
        rest += last
        if len(rest) > _LONGEST_LINE:
            yield done, rest
            rest = ""
    if rest:
        yield done, rest


def unmarked_utf16(head: bytes) -> str | None:
    """The byte order of UTF-16 without a mark, seen by every other byte being zero in Latin text."""
    even, odd = head[0::2], head[1::2]
    if len(head) < 8:
        return None
    if odd.count(0) > len(odd) * 0.4 and even.count(0) < len(even) * 0.05:
        return "utf-16-le"
    if even.count(0) > len(even) * 0.4 and odd.count(0) < len(odd) * 0.05:
        return "utf-16-be"
    return None


def marked(head: bytes) -> str | None:
    """The encoding that a byte order mark announces."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def _encodings(file: BinaryIO, declared: str | None) -> tuple[str, str | None]:
    """(the Unicode or declared encoding, the legacy encoding of lines that are not in it or None)."""
    head = file.read(_SAMPLE)
    certain = marked(head) or unmarked_utf16(head)
    if certain is not None:
        return certain, None
    file.seek(0)
    sample = _first_invalid(file)
    return "utf-8", None if sample is None else _known(declared) or _likeliest(sample)


def _known(declared: str | None) -> str | None:
    """The codec of a declared legacy encoding, in the wider variant that files of that label really use."""
    try:
        name = codecs.lookup(declared or "").name
    except (LookupError, ValueError):
        return None
    name = _WIDER.get(name, name)
    return name if name.startswith(_LEGACY_NAMES) else None


def _first_invalid(file: BinaryIO) -> bytes | None:
    """What surrounds the first bytes that are not UTF-8, or None."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = b""
    while True:
        chunk = file.read(_BLOCK)
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            start = max(0, len(before) + error.start - _SAMPLE)
            return (before + chunk + file.read(_SAMPLE))[start : start + 2 * _SAMPLE]
        if not chunk:
            return None
        before = chunk


def _likeliest(sample: bytes) -> str:
    """Accents that stand alone are Western Europe's; statistics decide the rest, and are poor at few such letters."""
    from charset_normalizer import from_bytes

    foreign_lines = b"\n".join(line for line in sample.split(b"\n") if not _is_utf8(line)) or sample
    letters = {char for char in foreign_lines.decode("cp1252", "replace") if ord(char) > 127}
    if letters <= _WESTERN and not _HIGH_RUN.search(foreign_lines):
        return "cp1252"
    best = from_bytes(foreign_lines, cp_isolation=_LEGACY).best()
    return "cp1252" if best is None else best.encoding


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(file: BinaryIO, encoding: str) -> Iterator[str]:
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("replace"), translate=True)
    while chunk := file.read(_BLOCK):
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def _decoded_by_line(file: BinaryIO, legacy: str) -> Iterator[str]:
    while batch := file.readlines(_BLOCK):
        yield "".join(line.decode() if _is_utf8(line) else line.decode(legacy, "replace") for line in batch)
