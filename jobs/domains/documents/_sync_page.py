"""A source that is one web address: fetched only when it changed, and one document."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from jobs.adapters import database as databases
from jobs.adapters import storage
from jobs.adapters.database import Database, rows
from jobs.adapters.database.models import Document, Source
from jobs.adapters.http import Fetched, NotModified, fetch
from jobs.domains.documents import _scratch, _sources, _versions
from jobs.domains.documents._arrivals import Arrival, SourceNow, take_in
from jobs.engine import Context, Permanent

LONGEST = timedelta(minutes=8)


def sync(source: SourceNow, context: Context) -> dict[str, int]:
    """Fetch the address; counts of documents added and changed. Raises Permanent and Retryable as `fetch` does."""
    document_id = source.state.get("document_id")
    sha256 = _sha256_of(databases.connect(context.settings), document_id)
    counts = {"added": 0, "changed": 0, "removed": 0}
    with _scratch.folder() as folder:
        path = folder / "fetched"
        answer = _fetch(source, path, context, conditional=sha256 is not None)
        if isinstance(answer, NotModified):
            take_in(source, [], lambda row: {}, context)
            return counts
        arrivals = [] if _scratch.sha256_of(path) == sha256 else [_arrival(source, answer, path, document_id, context)]
    if take_in(source, arrivals, lambda row: _remember(row, answer, arrivals), context):
        for arrival in arrivals:
            counts["added" if arrival.is_new else "changed"] += 1
    return counts


def _sha256_of(database: Database, document_id: str | None) -> str | None:
    with database.read() as session:
        document = rows.get(session, Document, document_id) if document_id else None
        return document.sha256 if document else None


def _fetch(source: SourceNow, path: Path, context: Context, *, conditional: bool) -> Fetched | NotModified:
    answer = fetch(
        source.location,
        path,
        limit=context.settings.upload_max_bytes,
        timeout=LONGEST,
        etag=source.etag if conditional else None,
        last_modified=source.state.get("last_modified") if conditional else None,
        allow_private=context.settings.allow_private_http,
    )
    if isinstance(answer, Fetched) and answer.size == 0:
        raise Permanent("the address answered with an empty file")
    return answer


def _arrival(source: SourceNow, answer: Fetched, path: Path, document_id: str | None, context: Context) -> Arrival:
    key = _versions.new_storage_key()
    with path.open("rb") as file:
        stored = storage.connect(context.settings).write(key, file)
    return Arrival(_sources.name_of(answer.url), key, stored.size, stored.sha256, document_id)


def _remember(row: Source, answer: Fetched, arrivals: list[Arrival]) -> dict[str, Any]:
    """What the source's row has to hold after this fetch."""
    state = dict(row.state or {}) | {"last_modified": answer.last_modified}
    if arrivals:
        state["document_id"] = arrivals[0].document_id
    return {"etag": answer.etag, "state": state}
