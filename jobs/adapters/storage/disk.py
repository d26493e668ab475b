"""Objects as files below one folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from jobs.adapters.storage.objects import (
    CHUNK,
    InvalidKey,
    Measured,
    ObjectNotFound,
    StorageError,
    StorageMissing,
    Stored,
    StoredObject,
    checked,
    checked_prefix,
)

PARTIAL = ".partial"
ABANDONED = timedelta(days=1)


class DiskStorage:
    """A Storage in a folder, which is made when needed; web and workers must share its disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def write(self, key: str, stream: BinaryIO | Iterable[bytes], *, limit: int | None = None) -> Stored:
        target, measured = self._path(key), Measured(stream, limit)
        partial = self._new_partial()
        try:
            with partial.open("xb") as file:
                for chunk in measured:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            _publish(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        return measured.stored

    @contextmanager
    def open(self, key: str) -> Iterator[BinaryIO]:
        try:
            file = self._path(key).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise ObjectNotFound(f"no stored object {key!r}") from None
        with file:
            yield file

    def download(self, key: str, path: Path) -> None:
        with self.open(key) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK)

    def delete(self, key: str) -> None:
        with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
            self._path(key).unlink()

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        folder = self._folder(prefix)
        if not self.root.is_dir():
            raise StorageMissing("the file storage is not there; try again later")
        with _unreadable_is_an_error():
            found = sorted(_files_below(folder), key=self._key) if folder.exists() else []
        for path in found:
            key = self._key(path)
            if key.startswith(prefix) and not key.startswith(PARTIAL) and (stat := _stat(path)):
                yield _described(key, stat)

    def has_folder(self, prefix: str) -> bool:
        folder = self._folder(prefix)
        return folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)

    def remove_unfinished(self, before: datetime) -> int:
        folder = self.root / PARTIAL
        return _remove_older(folder, before) if folder.is_dir() else 0

    def _folder(self, prefix: str) -> Path:
        return self.root / checked_prefix(prefix).rpartition("/")[0]

    def _key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _path(self, key: str) -> Path:
        path = self.root / checked(key)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise InvalidKey(f"not a usable key: {key!r}")
        return path

    def _new_partial(self) -> Path:
        folder = self.root / PARTIAL
        folder.mkdir(parents=True, exist_ok=True)
        _remove_older(folder, datetime.now(UTC) - ABANDONED)
        return folder / uuid4().hex


def _publish(partial: Path, target: Path) -> None:
    """Move the finished file to its place, so that a crash of the machine leaves all of it or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_older(folder: Path, before: datetime) -> int:
    """Remove what processes that died in mid-write left behind."""
    removed = 0
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before.timestamp():
                path.unlink()
                removed += 1
    return removed


def _files_below(folder: Path) -> Iterator[Path]:
    """Every file; what can't be looked into raises, for its files are not gone only because they are not seen."""

    def refuse(error: OSError) -> None:
        raise error

    for parent, _folders, names in os.walk(folder, onerror=refuse):
        yield from (Path(parent, name) for name in names)


def _stat(path: Path) -> os.stat_result | None:
    """None for what was deleted meanwhile and for a link that leads nowhere."""
    with _unreadable_is_an_error():
        try:
            return path.stat()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return None


@contextmanager
def _unreadable_is_an_error() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError("the file storage can't be read; try again later") from error


def _described(key: str, stat: os.stat_result) -> StoredObject:
    modified_at = datetime.fromtimestamp(stat.st_mtime, UTC)
    return StoredObject(key, stat.st_size, modified_at, f"{stat.st_mtime_ns:x}-{stat.st_size:x}")
