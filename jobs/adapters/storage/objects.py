"""What every object storage has in common: its protocol, values, errors and rules for keys."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from jobs.engine.errors import FleetError, NotFound

CHUNK = 1024 * 1024
MAX_KEY = 900


class StorageError(FleetError):
    """The storage could not do what was asked. Users read the message; its cause has the details for the log."""


class StorageMissing(StorageError):
    """The folder that everything lies in is not there: nothing was written yet, or its volume is not mounted."""


class TooLarge(StorageError):
    """The stream went past the limit; nothing of it was kept."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"larger than the limit of {limit} bytes")
        self.limit = limit


class ObjectNotFound(StorageError, NotFound):
    """There is no object of that key."""


class InvalidKey(StorageError, ValueError):
    """The key could reach outside the storage or can't be stored everywhere."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was written: its size in bytes and the sha256 of its content in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a listing; `etag` changes when the content does."""

    key: str
    size: int
    modified_at: datetime
    etag: str


class Storage(Protocol):
    """A place for objects under keys like `uploads/4f1c/original`; keys are ours, never a user's file name."""

    def write(self, key: str, stream: BinaryIO | Iterable[bytes], *, limit: int | None = None) -> Stored:
        """Store the stream in chunks; the object shows up whole or not at all.

        Raises TooLarge once the stream passes `limit` bytes, and whatever the stream raises.
        """
        ...

    def open(self, key: str) -> AbstractContextManager[BinaryIO]:
        """Read the object from front to back (to seek, use `download`). Raises ObjectNotFound."""
        ...

    def download(self, key: str, path: Path) -> None:
        """Copy the object to a local file. Raises ObjectNotFound, and then leaves no file."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is an object of that key."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """The objects whose keys begin with `prefix`, in the order of their keys.

        Raises StorageError where any of them may be hidden, so that what is not listed is not there.
        """
        ...

    def has_folder(self, prefix: str) -> bool:
        """Whether the folder of the prefix is there and can be read; always true where there are no folders (S3)."""
        ...

    def remove_unfinished(self, before: datetime) -> int:
        """Remove what writes that began before then left half done; how many."""
        ...


class Measured:
    """A stream's chunks, counted, hashed and cut off past a limit; also a file to read from, for boto3."""

    def __init__(self, stream: BinaryIO | Iterable[bytes], limit: int | None) -> None:
        self._chunks = _chunks_of(stream)
        self._limit = limit
        self._digest = hashlib.sha256()
        self._size = 0
        self._left = b""

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._size += len(chunk)
            if self._limit is not None and self._size > self._limit:
                raise TooLarge(self._limit)
            self._digest.update(chunk)
            yield chunk

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        parts, missing = [self._left], size - len(self._left)
        while size < 0 or missing > 0:
            chunk = next(iter(self), b"")
            if not chunk:
                break
            parts.append(chunk)
            missing -= len(chunk)
        data = b"".join(parts)
        cut = len(data) if size < 0 else size
        self._left = data[cut:]
        return data[:cut]

    @property
    def stored(self) -> Stored:
        """The size and digest of what has been read so far."""
        return Stored(self._size, self._digest.hexdigest())


def _chunks_of(stream: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    read = getattr(stream, "read", None)
    chunks = iter(lambda: read(CHUNK), b"") if read is not None else iter(stream)
    return (chunk for chunk in chunks if chunk)


def checked(key: str) -> str:
    """The key itself. Raises InvalidKey unless it is a plain relative path that any storage can hold."""
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or parts[0].startswith("."):
        raise InvalidKey(f"not a usable key: {key!r}")
    _check_letters(key)
    return key


def checked_prefix(prefix: str) -> str:
    """The prefix itself; "" means everything. Raises InvalidKey as `checked` does."""
    if prefix:
        checked(prefix.removesuffix("/"))
    return prefix


def _check_letters(key: str) -> None:
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidKey("not a usable key: it is not Unicode text") from None
    if size > MAX_KEY or "\\" in key or any(ord(letter) < 32 or ord(letter) == 127 for letter in key):
        raise InvalidKey(f"not a usable key: {key!r}")
