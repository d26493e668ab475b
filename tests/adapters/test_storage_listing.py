"""What a folder's listing does not show is not there: what it can't see is an error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.adapters.storage import StorageError, StorageMissing
from jobs.adapters.storage.disk import DiskStorage


def test_a_folder_that_is_not_there_is_no_empty_one(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path / "storage")
    with pytest.raises(StorageMissing):
        list(storage.list("a/"))
    storage.write("a/b", [b"x"])
    assert (storage.has_folder("a/"), storage.has_folder("none/"), list(storage.list("none/"))) == (True, False, [])


def test_a_folder_that_can_not_be_read_hides_nothing(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    storage.write("a/b/c", [b"x"])
    name = "x" * 250  # so long a path can't be opened, by root neither
    deep = os.open(tmp_path / "a", os.O_RDONLY)
    for _ in range(20):
        os.mkdir(name, dir_fd=deep)
        inner = os.open(name, os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = inner
    os.close(deep)
    with pytest.raises(StorageError) as caught:
        list(storage.list("a/"))
    assert str(tmp_path) not in str(caught.value)
