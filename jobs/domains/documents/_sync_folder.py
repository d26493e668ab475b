"""A source that is a folder of the storage: each object below it is one document."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from jobs.adapters import storage
from jobs.adapters.database.models import Source
from jobs.adapters.storage import StoredObject
from jobs.domains.documents import _sources, _versions
from jobs.domains.documents._arrivals import Arrival, SourceNow, take_in
from jobs.engine import Context, current_fleet

BATCH = 50
Known = dict[str, dict[str, str | None]]
"""Of each object by its key: its `etag` and its `document_id`, None for one that was refused."""


def sync(source: SourceNow, context: Context) -> dict[str, int]:
    """Take in new and changed objects and have the documents of removed ones deleted; counts of each."""
    prefix = _sources.prefix_of(source.tenant, source.location)
    listed = _listed(source, prefix, context)
    known: Known = dict(source.state.get("objects") or {})
    changed = [each for each in listed.values() if known.get(each.key, {}).get("etag") != each.etag]
    counts = {"added": 0, "changed": 0, "removed": 0}
    for done, batch in _batches(changed):
        if not _take_in(source, batch, known, counts, context):
            return counts
        context.progress("fetching", 100 * done / len(changed))
    counts["removed"] = _remove(source, known, set(listed), context)
    return counts


def _listed(source: SourceNow, prefix: str, context: Context) -> dict[str, StoredObject]:
    """The objects by key. Raises StorageError where all are gone with their folder: it may not be mounted."""
    objects = storage.connect(context.settings)
    listed = {each.key: each for each in objects.list(prefix) if each.size > 0}
    if not listed and source.document_ids and not objects.has_folder(prefix):
        raise storage.StorageError("the source's folder is not there, so none of its documents was removed")
    return listed


def _batches(changed: list[StoredObject]) -> Iterator[tuple[int, list[StoredObject]]]:
    remaining, done = iter(changed), 0
    while batch := list(islice(remaining, BATCH)):
        done += len(batch)
        yield done, batch


def _take_in(
    source: SourceNow, batch: list[StoredObject], known: Known, counts: dict[str, int], context: Context
) -> bool:
    copies = _copies(batch, known, context)
    arrivals = [arrival for arrival in copies.values() if arrival]

    def remember(row: Source) -> dict[str, Any]:
        etags = {each.key: each.etag for each in batch}
        for key, arrival in copies.items():
            known[key] = {"etag": etags[key], "document_id": arrival.document_id if arrival else None}
        return {"state": {**(row.state or {}), "objects": dict(known)}}

    if not take_in(source, arrivals, remember, context):
        return False
    for arrival in arrivals:
        counts["added" if arrival.is_new else "changed"] += 1
    return True


def _copies(batch: list[StoredObject], known: Known, context: Context) -> dict[str, Arrival | None]:
    """By key; without those whose name is no key and links out of the storage, which are looked at each time."""
    copies: dict[str, Arrival | None] = {}
    for each in batch:
        try:
            copies[each.key] = _copied(each, known, context)
        except storage.InvalidKey:
            context.log.warning("left out", object=ascii(each.key), reason="its name can't be used as a key")
    return copies


def _copied(each: StoredObject, known: Known, context: Context) -> Arrival | None:
    """The object under a key of our own; None when it is too large or was removed since it was listed."""
    objects, key = storage.connect(context.settings), _versions.new_storage_key()
    try:
        with objects.open(each.key) as stream:
            stored = objects.write(key, stream, limit=context.settings.upload_max_bytes)
    except (storage.TooLarge, storage.ObjectNotFound) as error:
        context.log.warning("left out", object=each.key, reason=str(error))
        return None
    document_id = known.get(each.key, {}).get("document_id")
    return Arrival(each.key.rpartition("/")[2], key, stored.size, stored.sha256, document_id)


def _remove(source: SourceNow, known: Known, listed: set[str], context: Context) -> int:
    """Queue the deletion of the source's documents whose object is gone, then forget those objects."""
    kept = {about["document_id"] for key, about in known.items() if key in listed}
    removed = source.document_ids - kept
    for document_id in sorted(removed):
        payload = {"tenant_id": source.tenant, "workspace_id": source.workspace_id, "document_id": document_id}
        current_fleet().enqueue("documents.delete", payload)
    remaining = {key: about for key, about in known.items() if key in listed}

    def forget(row: Source) -> dict[str, Any]:
        return {"state": {**(row.state or {}), "objects": remaining}}

    take_in(source, [], forget, context)
    return len(removed)
