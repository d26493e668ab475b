"""Synchronising sources: a web address, and a folder of the storage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy import select

from jobs.adapters.database import rows
from jobs.adapters.database.models import DOCUMENTS, Document, Source
from jobs.adapters.storage import StorageError
from jobs.domains.documents import service
from jobs.engine import Permanent
from tests.domains.conftest import World
from tests.website import Site

NOTHING = {"added": 0, "changed": 0, "removed": 0}


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def source_of(world: World, kind: str, location: str) -> Source:
    with world.database.begin() as session:
        return service.create_source(session, world.workspace, kind, location)


def sync(world: World, source: Source, **values: Any) -> Any:
    payload = {"tenant_id": source.tenant, "workspace_id": source.workspace_id, "source_id": source.id}
    return world.run("documents.sync", payload | values)


def documents(world: World) -> dict[str, Document]:
    with world.database.read() as session:
        return {each.name: each for each in rows.several(session, Document, select(DOCUMENTS))}


def finish(world: World) -> list[str]:
    """Run what is queued, as a worker would; the types in order."""
    views = world.queued()
    world.forget_jobs()
    by_id = {each.job_id: each for each in documents(world).values()}
    for view in views:
        if view.type == "documents.ingest":
            world.ingest(by_id[view.id])
    return [view.type for view in views]


def test_a_page_becomes_one_document(world: World, site: Site) -> None:
    site.page("/guides/rivers%20of%20asia.md", b"The Lena flows through Siberia.", ETag='"1"')
    source = source_of(world, "url", site.url("/guides/rivers%20of%20asia.md"))
    assert sync(world, source) == NOTHING | {"added": 1}
    assert finish(world) == ["documents.ingest"]
    row = documents(world)["rivers of asia.md"]
    assert (row.status, row.source_id) == ("completed", source.id)
    assert world.found("Siberia") == ["rivers of asia.md"]


def test_an_unchanged_page_is_not_fetched_again(world: World, site: Site) -> None:
    site.page("/a.md", b"The Lena flows.", ETag='"1"', Last_Modified="Tue, 01 Sep 2026 10:00:00 GMT")
    source = source_of(world, "url", site.url("/a.md"))
    sync(world, source)
    finish(world)
    site.page("/a.md", status=304)
    assert sync(world, source) == NOTHING
    assert site.requests[-1]["if-none-match"] == '"1"'
    assert site.requests[-1]["if-modified-since"] == "Tue, 01 Sep 2026 10:00:00 GMT"
    assert (world.queued(), documents(world)["a.md"].status) == ([], "completed")


def test_the_same_content_under_another_etag_changes_nothing(world: World, site: Site) -> None:
    site.page("/a.md", b"The Lena flows.", ETag='"1"')
    source = source_of(world, "url", site.url("/a.md"))
    sync(world, source)
    finish(world)
    site.page("/a.md", b"The Lena flows.", ETag='"2"')
    assert sync(world, source) == NOTHING
    site.page("/a.md", status=304)
    sync(world, source)
    assert site.requests[-1]["if-none-match"] == '"2"'


def test_a_changed_page_replaces_the_same_document(world: World, site: Site) -> None:
    site.page("/a.md", b"The Lena flows through Siberia.", ETag='"1"')
    source = source_of(world, "url", site.url("/a.md"))
    sync(world, source)
    finish(world)
    before = documents(world)["a.md"]
    site.page("/a.md", b"Glaciers of Patagonia calve into lakes.", ETag='"2"')
    assert sync(world, source) == NOTHING | {"changed": 1}
    finish(world)
    after = documents(world)["a.md"]
    assert (after.id, after.status) == (before.id, "completed")
    assert world.keys() == [after.storage_key] != [before.storage_key]
    assert world.found("Patagonia") == ["a.md"]


def test_a_page_whose_document_was_deleted_is_fetched_anew(world: World, site: Site) -> None:
    site.page("/a.md", b"The Lena flows.", ETag='"1"')
    source = source_of(world, "url", site.url("/a.md"))
    sync(world, source)
    world.run("documents.delete", world.payload(documents(world)["a.md"]))
    assert sync(world, source) == NOTHING | {"added": 1}
    assert "if-none-match" not in site.requests[-1]


def test_a_page_that_is_gone_or_empty_is_an_error(world: World, site: Site) -> None:
    site.page("/gone", status=410)
    site.page("/empty", b"")
    for path in ("/gone", "/empty"):
        with pytest.raises(Permanent):
            sync(world, source_of(world, "url", site.url(path)))
    assert (documents(world), world.keys()) == ({}, [])


def test_a_private_address_is_refused(world: World, site: Site) -> None:
    site.page("/a.md", b"secret")
    public_only = world.settings.model_copy(update={"allow_private_http": False})
    source = source_of(world, "url", site.url("/a.md"))
    payload = {"tenant_id": "ours", "workspace_id": source.workspace_id, "source_id": source.id}
    with pytest.raises(Permanent, match="not a public address"):
        world.run("documents.sync", payload, settings=public_only)
    assert site.requests == []


def put(world: World, key: str, content: str, tenant: str = "ours") -> str:
    world.storage.write(f"sources/{tenant}/{key}", BytesIO(content.encode()))
    return key


def test_a_folder_is_followed(world: World) -> None:
    put(world, "wiki/lena.md", "The Lena flows through Siberia.")
    put(world, "wiki/deep/andes.md", "The Andes are long.")
    put(world, "other/ignored.md", "Not in the folder.")
    put(world, "wiki/theirs.md", "Another tenant's.", tenant="theirs")
    source = source_of(world, "prefix", "wiki/")
    assert sync(world, source) == NOTHING | {"added": 2}
    assert finish(world) == ["documents.ingest"] * 2
    assert set(documents(world)) == {"lena.md", "andes.md"}
    assert sync(world, source) == NOTHING

    before = documents(world)
    put(world, "wiki/lena.md", "Glaciers of Patagonia calve into lakes.")
    world.storage.delete("sources/ours/wiki/deep/andes.md")
    put(world, "wiki/new.md", "Fjords are deep.")
    assert sync(world, source) == {"added": 1, "changed": 1, "removed": 1}
    assert sorted(view.type for view in world.queued()) == ["documents.delete", *["documents.ingest"] * 2]
    finish(world)
    after = documents(world)
    assert after["lena.md"].id == before["lena.md"].id
    assert world.found("Patagonia") == ["lena.md"]
    world.run("documents.delete", world.payload(before["andes.md"]))
    assert sync(world, source) == NOTHING
    assert set(documents(world)) == {"lena.md", "new.md"}


@pytest.mark.redis
def test_a_removal_is_asked_for_again_but_not_lost_with_redis(world: World) -> None:
    put(world, "a.md", "The Lena flows.")
    source = source_of(world, "prefix", "")
    sync(world, source)
    finish(world)
    world.storage.delete("sources/ours/a.md")
    for _ in range(2):
        assert sync(world, source)["removed"] == 1
        found = world.fleet.ledger.search(types=["documents.delete"])
        assert [view.status for view in found.items] == ["queued"]
        world.fleet.redis.flushall()


def test_objects_that_can_not_be_taken_are_left_out(world: World) -> None:
    put(world, "big.md", "x" * 100)
    put(world, "empty.md", "")
    put(world, "good.md", "The Lena flows.")
    source = source_of(world, "prefix", "")
    payload = {"tenant_id": "ours", "workspace_id": source.workspace_id, "source_id": source.id}
    small = world.settings.model_copy(update={"upload_max_bytes": 50})
    assert world.run("documents.sync", payload, settings=small) == NOTHING | {"added": 1}
    assert set(documents(world)) == {"good.md"}
    assert world.run("documents.sync", payload, settings=small) == NOTHING


def test_a_name_that_is_no_key_is_left_out_and_its_neighbours_are_not(world: World) -> None:
    put(world, "good.md", "The Lena flows.")
    folder = world.storage.root / "sources/ours"
    for name in ("back\\slash.md", "new\nline.md", os.fsdecode(b"latin-\xe9.md")):
        (folder / name).write_text("strange")
    (folder / "link.md").symlink_to("/etc/hostname")
    source = source_of(world, "prefix", "")
    assert sync(world, source) == NOTHING | {"added": 1}
    assert set(documents(world)) == {"good.md"}
    assert sync(world, source) == NOTHING


@pytest.mark.parametrize("away", ["", "sources", "sources/ours/wiki"])
def test_a_folder_that_is_away_takes_no_document_with_it(world: World, away: str) -> None:
    put(world, "wiki/a.md", "The Lena flows.")
    source = source_of(world, "prefix", "wiki/")
    sync(world, source)
    finish(world)
    folder = world.storage.root / away
    folder.rename(folder.with_name("unmounted"))
    with pytest.raises(StorageError) as caught:
        sync(world, source)
    assert str(world.storage.root) not in str(caught.value)
    assert world.queued() == []


def test_a_folder_that_was_emptied_takes_its_documents_with_it(world: World) -> None:
    put(world, "wiki/a.md", "The Lena flows.")
    source = source_of(world, "prefix", "wiki/")
    sync(world, source)
    finish(world)
    world.storage.delete("sources/ours/wiki/a.md")
    assert sync(world, source) == NOTHING | {"removed": 1}


def test_many_objects_are_taken_in_batches(world: World) -> None:
    for n in range(120):
        put(world, f"{n}.md", f"Note number {n}.")
    source = source_of(world, "prefix", "")
    assert sync(world, source) == NOTHING | {"added": 120}
    assert len(world.queued()) == len(documents(world)) == len(world.keys()) == 120


def test_a_deleted_source_ends_quietly(world: World) -> None:
    source = source_of(world, "prefix", "")
    assert sync(world, source, source_id="0" * 32) is None
    assert sync(world, source, tenant_id="theirs") is None
    assert service.request_sync(source).id == service.request_sync(source).id
