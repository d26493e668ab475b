"""Objects as files below one folder."""

from __future__ import annotations

import os
import shutil
import time
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
        checked_prefix(prefix)
        for path in sorted(self._files_below(self.root / prefix.rpartition("/")[0]), key=self._key):
            key = self._key(path)
            if key.startswith(prefix) and not key.startswith(PARTIAL):
                with suppress(FileNotFoundError):  # deleted meanwhile
                    yield _described(key, path.stat())

    def _files_below(self, folder: Path) -> Iterator[Path]:
        for parent, _folders, names in os.walk(folder):
            yield from (Path(parent, name) for name in names)

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
        _remove_abandoned(folder)
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


def _remove_abandoned(folder: Path) -> None:
    """Remove what processes that died in mid-write left behind a day ago or earlier."""
    oldest = time.time() - ABANDONED.total_seconds()
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _described(key: str, stat: os.stat_result) -> StoredObject:
    modified_at = datetime.fromtimestamp(stat.st_mtime, UTC)
    return StoredObject(key, stat.st_size, modified_at, f"{stat.st_mtime_ns:x}-{stat.st_size:x}")
