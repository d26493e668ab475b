"""ZIP containers looked through before any parser opens them: real sizes, entry counts, and what their XML holds."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.domains.documents._extract.model import Limits, Unreadable
from jobs.domains.documents._extract.xml import XmlCheck

_CHUNK = 256 * 1024
_SMALL_PART = 1024 * 1024
_DIRECTORY_BYTES_PER_ENTRY = 1024
_BLANK = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"


@contextmanager
def opened(path: Path, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """Open a ZIP without reading a huge directory. Raises Unreadable for too many, encrypted or exotic entries."""
    with _BoundedFile(path, limits) as file, zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if len(entries) > limits.max_entries:
            raise _too_many_entries(limits)
        if any(entry.flag_bits & 0x1 for entry in entries):
            raise Unreadable("the file is encrypted with a password; save it without one and upload it again")
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
            raise Unreadable("the file is compressed in a way that documents never are, so it was not opened")
        yield archive


def inspect(path: Path, limits: Limits, *, records: frozenset[str] = frozenset(), web: bool = False) -> None:
    """Unpack every part once, counting real bytes, and check each XML part.

    `records` are the elements that a streaming parser handles one at a time; `web` allows the DOCTYPE and the untidy
    markup of web pages. Raises Unreadable for bombs, entity declarations, and XML over the limits.
    """
    budget = _Budget(limits, path.stat().st_size)
    with opened(path, limits) as archive:
        for entry in archive.infolist():
            _inspect_part(archive, entry, budget, XmlCheck(entry.filename, limits, records=records, web=web))


def _inspect_part(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: _Budget, check: XmlCheck) -> None:
    """However much white space comes first, what follows decides whether the part is taken for XML."""
    blank = checked = True
    for chunk in _chunks(archive, entry):
        budget.spend(len(chunk))
        if blank and (start := chunk.lstrip(_BLANK)):
            blank, checked = False, check.concerns(start, chunk)
        if checked:
            check.feed(chunk)
    if checked and not blank:
        check.close()


def small_part(archive: zipfile.ZipFile, name: str) -> bytes:
    """The first MiB of a part, or nothing when there is no such part."""
    try:
        with archive.open(name) as part:
            return part.read(_SMALL_PART)
    except KeyError:
        return b""


class _BoundedFile(io.FileIO):
    """A file that refuses the one large read `ZipFile` does: that of its central directory."""

    def __init__(self, path: Path, limits: Limits) -> None:
        super().__init__(path)
        self._limits = limits

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self._limits.max_entries * _DIRECTORY_BYTES_PER_ENTRY:
            raise _too_many_entries(self._limits)
        return super().read(size) or b""


class _Budget:
    """The bytes that a container may still unpack to."""

    def __init__(self, limits: Limits, packed: int) -> None:
        self._limits, self._packed, self._unpacked = limits, max(1, packed), 0

    def spend(self, count: int) -> None:
        self._unpacked += count
        limits = self._limits
        if self._unpacked > limits.max_unpacked_bytes:
            raise Unreadable(f"the file unpacks to more than {limits.max_unpacked_bytes // 1_000_000:,} MB")
        if self._unpacked > max(limits.ratio_free_bytes, self._packed * limits.max_ratio):
            raise Unreadable(f"the file unpacks to more than {limits.max_ratio} times its size, as a zip bomb does")


def _chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(entry) as part:
        while chunk := part.read(_CHUNK):
            yield chunk


def _too_many_entries(limits: Limits) -> Unreadable:
    return Unreadable(f"the file holds more than {limits.max_entries:,} entries")
