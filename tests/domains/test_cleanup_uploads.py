"""The hourly sweep: what no document needs is removed, what may yet be needed is not."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert, select, update

from jobs.adapters.database.models import UPLOADS
from tests.domains.conftest import World


def store(world: World, key: str, age: timedelta) -> str:
    then, path = time.time() - age.total_seconds(), world.storage.root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"content")
    os.utime(path, (then, then))
    return key


def upload(world: World, key: str, age: timedelta, document_id: str | None = None) -> str:
    with world.database.begin() as session:
        values = {"tenant": "ours", "storage_key": key, "size": 7, "created_at": datetime.now(UTC) - age}
        session.execute(insert(UPLOADS), {**values, "document_id": document_id})
    return store(world, key, age)


def uploads(world: World) -> set[str]:
    with world.database.read() as session:
        return set(session.scalars(select(UPLOADS.c.storage_key)))


def test_uploads_that_never_became_a_document_go_after_a_day(world: World) -> None:
    upload(world, "uploads/old", timedelta(hours=25))
    upload(world, "uploads/young", timedelta(hours=23))
    assert world.run("maintenance.cleanup_uploads", {}) == {"uploads": 1, "files": 0, "unfinished": 0}
    assert world.keys() == ["uploads/young"]
    assert uploads(world) == {"uploads/young"}


def test_files_without_a_row_go_after_an_hour(world: World) -> None:
    store(world, "uploads/old", timedelta(minutes=61))
    store(world, "uploads/young", timedelta(minutes=59))
    store(world, "sources/ours/theirs-to-keep", timedelta(days=9))
    assert world.run("maintenance.cleanup_uploads", {}) == {"uploads": 0, "files": 1, "unfinished": 0}
    assert world.keys() == ["uploads/young"]
    assert world.storage.exists("sources/ours/theirs-to-keep")


def test_files_of_documents_stay_however_old(world: World) -> None:
    document = world.add()
    with world.database.begin() as session:
        session.execute(delete(UPLOADS))
    then = time.time() - 10**7
    os.utime(world.storage.root / document.storage_key, (then, then))
    assert world.run("maintenance.cleanup_uploads", {}) == {"uploads": 0, "files": 0, "unfinished": 0}
    assert world.keys() == [document.storage_key]


def test_an_unattached_upload_of_a_documents_file_keeps_the_file(world: World) -> None:
    document = world.add()
    with world.database.begin() as session:
        old = {"document_id": None, "created_at": datetime.now(UTC) - timedelta(days=2)}
        assert session.execute(update(UPLOADS).values(old)).rowcount == 1
    assert world.run("maintenance.cleanup_uploads", {}) == {"uploads": 0, "files": 0, "unfinished": 0}
    assert world.keys() == [document.storage_key]


def test_nothing_is_to_be_swept_before_the_first_file_is_stored(world: World) -> None:
    assert not world.storage.root.exists()
    assert world.run("maintenance.cleanup_uploads", {}) == {"uploads": 0, "files": 0, "unfinished": 0}


def test_what_broke_off_a_day_ago_is_removed(world: World) -> None:
    for name, age in (("old", timedelta(hours=25)), ("young", timedelta(hours=23))):
        store(world, f".partial/{name}", age)
    assert world.run("maintenance.cleanup_uploads", {}) == {"uploads": 0, "files": 0, "unfinished": 1}
    assert [path.name for path in (world.storage.root / ".partial").iterdir()] == ["young"]


def test_more_than_one_batch_is_swept(world: World) -> None:
    kept = world.add().storage_key
    for n in range(600):
        store(world, f"uploads/{n:03}", timedelta(hours=2))
    assert world.run("maintenance.cleanup_uploads", {}) == {"uploads": 0, "files": 600, "unfinished": 0}
    assert world.keys() == [kept]
