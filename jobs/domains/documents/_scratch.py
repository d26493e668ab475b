"""Temporary folders that do not pile up when the processes using them are killed."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

PREFIX = "rq-fleet-document-"
ABANDONED = timedelta(hours=2)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for this block; those of runs that were killed hours ago are removed on the way."""
    _remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        yield Path(name)


def sha256_of(path: Path) -> str:
    """The file's digest in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove_abandoned(parent: Path) -> None:
    oldest = time.time() - ABANDONED.total_seconds()
    for path in parent.glob(f"{PREFIX}*"):
        try:
            abandoned = path.lstat().st_mtime < oldest
        except OSError:
            continue
        if abandoned:
            shutil.rmtree(path, ignore_errors=True)
