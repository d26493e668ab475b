"""From a stored object to searchable passages: fetch, extract, split, embed, index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.adapters import database as databases
from jobs.adapters import embeddings, storage
from jobs.adapters.passages import NewPassage
from jobs.domains.documents import _limits, _scratch, _status
from jobs.domains.documents._extract import Limits, extract
from jobs.domains.documents._split import Piece, split
from jobs.domains.documents._stages import Stages
from jobs.domains.documents._status import Content, Ending, Indexed
from jobs.engine import Context, Permanent, Retryable

BATCH = 64
MOST_VERSIONS = 5


def ingest(document_id: str, tenant: str, context: Context) -> dict[str, Any] | None:
    """Make the document's content searchable and return its counts; None when it was deleted meanwhile.

    May be repeated: the same content ends in the same rows. When the content is replaced during the run, the new one is
    taken up before it ends. Raises Permanent for a file that can't be read; the row then says why.
    """
    database, stages = databases.connect(context.settings), Stages(context)
    for _ in range(MOST_VERSIONS):
        content = _status.begin(database, document_id, tenant, context.job_id)
        if content is None:
            break
        with _status.failures_shown(database, content, context):
            _limits.refuse_what_was_killed(context)
            indexed = _index(content, stages, context)
            ending = _status.complete(database, content, indexed) if indexed else Ending.CHANGED
        if indexed and ending is Ending.WRITTEN:
            stages.at("done")
            return {"document_id": document_id, "pages": indexed.pages, "passages": len(indexed.passages)}
    else:
        raise Retryable("the document's content keeps changing")
    context.log.info("the document was deleted", document_id=document_id)
    return None


def embed(pieces: list[Piece], stages: Stages) -> list[NewPassage]:
    """The pieces with their embeddings, a batch at a time."""
    new: list[NewPassage] = []
    for start in range(0, len(pieces), BATCH):
        stages.at("embedding", 100 * start / len(pieces))
        batch = pieces[start : start + BATCH]
        vectors = embeddings.embed([piece.text for piece in batch])
        new += [NewPassage(each.text, each.page, each.section, row) for each, row in zip(batch, vectors, strict=True)]
    return new


def _index(content: Content, stages: Stages, context: Context) -> Indexed | None:
    """Everything that is to be written; None when the object is gone because the document changed."""
    with _scratch.folder() as folder:
        path = folder / "document"
        stages.at("fetching")
        if not _fetch(content, path, context):
            return None
        stages.at("extracting")
        limits = Limits()
        extracted = extract(
            path, name=content.name, limits=limits, progress=lambda _, percent: stages.at("extracting", percent)
        )
        pieces = list(split(extracted.sections))
        if not pieces:
            raise Permanent("no text was found in the file")
        new = embed(pieces, stages)
        stages.at("indexing")
        size, sha256 = path.stat().st_size, _scratch.sha256_of(path)
    return Indexed(extracted.media_type, extracted.pages, size, sha256, new)


def _fetch(content: Content, path: Path, context: Context) -> bool:
    try:
        storage.connect(context.settings).download(content.storage_key, path)
    except storage.ObjectNotFound:
        now = _status.look(databases.connect(context.settings), content.document_id, content.tenant)
        if now is None or now.storage_key != content.storage_key:
            return False
        raise Permanent("the stored file is gone; upload it again") from None
    return True
