"""One conformance suite for the object storage, over a folder and S3."""

from __future__ import annotations

import hashlib
import io
import os
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.adapters.storage import (
    InvalidKey,
    ObjectNotFound,
    Storage,
    StorageError,
    Stored,
    TooLarge,
    connect,
)
from jobs.adapters.storage.disk import DiskStorage
from jobs.adapters.storage.s3 import S3Storage
from jobs.engine.errors import NotFound
from jobs.settings import InvalidSettings, Settings
from tests.conftest import free_port

MEGABYTE = 1024 * 1024
BAD_KEYS = ["", ".", "..", "../a", "a/../../b", "/etc/passwd", "a//b", "a/", ".partial/a", "a\\b", "a\0b", "a\nb"]
BAD_KEYS += ["a/./b", "\ud800", "x" * 1000, "./a"]


def read(storage: Storage, key: str) -> bytes:
    with storage.open(key) as stream:
        return stream.read()


def keys(storage: Storage, prefix: str = "") -> list[str]:
    return [found.key for found in storage.list(prefix)]


def endless(taken: list[int], size: int = MEGABYTE) -> Iterator[bytes]:
    while True:
        taken.append(size)
        yield b"x" * size


@pytest.mark.parametrize("content", [b"", b"a", b"hello" * 100, os.urandom(3 * MEGABYTE + 1)], ids=len)
def test_what_is_written_can_be_read_downloaded_and_verified(storage: Storage, tmp_path: Path, content: bytes) -> None:
    stored = storage.write("uploads/1/original", io.BytesIO(content))
    storage.download("uploads/1/original", tmp_path / "copy")
    assert stored == Stored(len(content), hashlib.sha256(content).hexdigest())
    assert read(storage, "uploads/1/original") == content == (tmp_path / "copy").read_bytes()
    assert storage.exists("uploads/1/original")


def test_a_stream_may_be_any_iterable_of_chunks(storage: Storage) -> None:
    stored = storage.write("a", (chunk for chunk in [b"one", b"", b"two" * MEGABYTE, b"three"]))
    assert read(storage, "a") == b"one" + b"two" * MEGABYTE + b"three"
    assert stored.size == 3 * MEGABYTE + 8


def test_an_object_is_replaced_by_a_later_one_of_its_key(storage: Storage) -> None:
    storage.write("a", [b"first, and longer"])
    before = next(storage.list("a")).etag
    storage.write("a", [b"second"])
    assert read(storage, "a") == b"second"
    assert next(storage.list("a")).etag != before


@pytest.mark.parametrize("as_file", [True, False])
def test_exactly_the_limit_is_stored_and_one_byte_more_is_not(storage: Storage, as_file: bool) -> None:
    def stream(size: int) -> Any:
        return io.BytesIO(b"x" * size) if as_file else [b"x"] * size

    assert storage.write("a", stream(1000), limit=1000).size == 1000
    with pytest.raises(TooLarge, match="1000"):
        storage.write("b", stream(1001), limit=1000)
    assert keys(storage) == ["a"]


def test_an_endless_stream_is_cut_off_at_the_limit(storage: Storage) -> None:
    taken: list[int] = []
    with pytest.raises(TooLarge):
        storage.write("a", endless(taken), limit=20 * MEGABYTE)
    assert sum(taken) <= 21 * MEGABYTE
    assert keys(storage) == []


def test_a_stream_that_breaks_leaves_the_former_object(storage: Storage) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * 10 * MEGABYTE
        raise ConnectionResetError("the client went away")

    storage.write("a", [b"former"])
    for key in ("a", "b"):
        with pytest.raises(ConnectionResetError):
            storage.write(key, broken())
    assert (keys(storage), read(storage, "a")) == (["a"], b"former")


def test_an_object_is_not_visible_before_it_is_whole(storage: Storage) -> None:
    seen: list[Any] = []

    def watched() -> Iterator[bytes]:
        for _ in range(3):
            yield b"x" * 6 * MEGABYTE
            seen.append((storage.exists("a"), keys(storage)))

    storage.write("a", watched())
    assert seen == [(False, [])] * 3
    assert storage.exists("a")


def test_a_large_stream_is_never_held_in_memory(storage: Storage, tmp_path: Path) -> None:
    storage.write("warm-up", [b"x"])
    tracemalloc.start()
    storage.write("a", (b"x" * MEGABYTE for _ in range(64)))
    storage.download("a", tmp_path / "copy")
    with storage.open("a") as stream:
        assert sum(len(chunk) for chunk in iter(lambda: stream.read(MEGABYTE), b"")) == 64 * MEGABYTE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48 * MEGABYTE


def test_a_missing_object_is_not_found(storage: Storage, tmp_path: Path) -> None:
    for reading in (lambda: read(storage, "a"), lambda: storage.download("a", tmp_path / "copy")):
        with pytest.raises(ObjectNotFound) as raised:
            reading()
        assert isinstance(raised.value, NotFound)
    assert not (tmp_path / "copy").exists()
    assert not storage.exists("a")


def test_a_folder_of_objects_is_no_object(storage: Storage) -> None:
    storage.write("a/b", [b"x"])
    with pytest.raises(ObjectNotFound):
        read(storage, "a")
    storage.delete("a")
    assert (storage.exists("a"), keys(storage)) == (False, ["a/b"])


def test_deleting_twice_is_harmless(storage: Storage) -> None:
    storage.write("a", [b"x"])
    storage.delete("a")
    storage.delete("a")
    assert keys(storage) == []


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_key_that_could_reach_elsewhere_is_refused(storage: Storage, tmp_path: Path, key: str) -> None:
    attempts = [
        lambda: storage.write(key, [b"x"]),
        lambda: read(storage, key),
        lambda: storage.download(key, tmp_path / "copy"),
        lambda: storage.delete(key),
        lambda: storage.exists(key),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidKey):
            attempt()


@pytest.mark.parametrize("prefix", ["..", "../", "/", "a/../b", ".partial", "a\0"])
def test_a_prefix_that_could_reach_elsewhere_is_refused(storage: Storage, prefix: str) -> None:
    with pytest.raises(InvalidKey):
        list(storage.list(prefix))


def test_a_listing_is_in_the_order_of_keys_below_a_prefix(storage: Storage) -> None:
    for key in ["b", "a/2", "a/10", "a.txt", "ab/c", "ä/ö ü", "z/😀"]:
        storage.write(key, [key.encode()])
    assert keys(storage) == ["a.txt", "a/10", "a/2", "ab/c", "b", "z/😀", "ä/ö ü"]
    assert keys(storage, "a/") == ["a/10", "a/2"]
    assert keys(storage, "a") == ["a.txt", "a/10", "a/2", "ab/c"]
    assert keys(storage, "none/") == []


def test_a_listing_gives_size_time_and_a_stable_etag(storage: Storage) -> None:
    storage.write("a", [b"hello"])
    [first], [second] = storage.list("a"), storage.list("a")
    assert first == second
    assert (first.size, first.modified_at.tzinfo) == (5, UTC)
    assert abs(first.modified_at - datetime.now(UTC)) < timedelta(minutes=5)


def test_a_forked_child_and_its_parent_use_the_storage_at_once(storage: Storage) -> None:
    storage.write("a", [b"of the parent"])
    storage.write("b", [b"of the child"])
    child = os.fork()
    if child == 0:
        os._exit(0 if reads_right(storage, "b", b"of the child") else 1)
    assert reads_right(storage, "a", b"of the parent")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def reads_right(storage: Storage, key: str, content: bytes) -> bool:
    try:
        return all(read(storage, key) == content for _ in range(30))
    except Exception:
        return False


def test_a_failed_upload_to_s3_leaves_no_parts_to_pay_for(s3_settings: Settings) -> None:
    storage = connect(s3_settings)
    assert isinstance(storage, S3Storage)
    with pytest.raises(TooLarge):
        storage.write("a", endless([]), limit=20 * MEGABYTE)
    assert storage._client.list_multipart_uploads(Bucket=storage.bucket).get("Uploads", []) == []


def test_parts_that_a_dead_process_left_in_s3_are_removed(s3_settings: Settings) -> None:
    storage = connect(s3_settings)
    assert isinstance(storage, S3Storage)
    for key in (f"{storage.prefix}uploads/half", "some/other/half"):
        storage._client.create_multipart_upload(Bucket=storage.bucket, Key=key)
    assert storage.remove_unfinished(datetime(2001, 1, 1, tzinfo=UTC)) == 0
    assert storage.remove_unfinished(datetime.now(UTC)) == 1
    left = storage._client.list_multipart_uploads(Bucket=storage.bucket)["Uploads"]
    assert [upload["Key"] for upload in left] == ["some/other/half"]
    storage._client.abort_multipart_upload(Bucket=storage.bucket, Key=left[0]["Key"], UploadId=left[0]["UploadId"])


def test_prefixes_of_one_bucket_are_apart(s3_settings: Settings) -> None:
    other = Settings(storage_url=s3_settings.storage_url.replace("some/prefix", "some/prefix-of-others"))
    connect(s3_settings).write("a", [b"x"])
    assert (keys(connect(s3_settings)), keys(connect(other))) == (["a"], [])


def test_an_object_storage_that_is_away_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    away = connect(Settings(storage_url=f"s3://bucket?endpoint=http://127.0.0.1:{free_port()}&region=us-east-1"))
    with pytest.raises(StorageError, match="can't be reached") as caught:
        away.exists("a")
    assert "127.0.0.1" in str(caught.value.__cause__)
    assert "127.0.0.1" not in str(caught.value)


def test_a_missing_bucket_is_an_error_and_no_missing_object(s3_settings: Settings) -> None:
    elsewhere = connect(Settings(storage_url=s3_settings.storage_url.replace("s3://bucket", "s3://absent")))
    with pytest.raises(StorageError) as raised:
        elsewhere.write("a", [b"x"])
    assert not isinstance(raised.value, ObjectNotFound)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    storage = DiskStorage(tmp_path / "storage")
    storage.write("a", [b"x"])
    (tmp_path / "storage/out").symlink_to(tmp_path)
    with pytest.raises(InvalidKey):
        read(storage, "out/secret")
    assert keys(storage) == ["a"]


def test_what_a_dead_process_left_half_written_is_removed_after_a_day(tmp_path: Path) -> None:
    storage = DiskStorage(tmp_path)
    storage.write("a", [b"x"])
    old, recent = tmp_path / ".partial/old", tmp_path / ".partial/recent"
    for path in (old, recent):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    storage.write("b", [b"x"])
    assert (old.exists(), recent.exists(), keys(storage)) == (False, True, ["a", "b"])


def test_a_relative_url_is_a_folder_below_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    connect(Settings(storage_url="file://var/of%20this%20test")).write("a", [b"x"])
    assert (tmp_path / "var/of this test/a").read_bytes() == b"x"


@pytest.mark.parametrize("url", ["", "file://", "s3://", "ftp://host/x", "/plain/path", "s3://bucket?acl=public"])
def test_a_url_that_names_no_storage_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings, match="STORAGE_URL"):
        connect(Settings(storage_url=url))
