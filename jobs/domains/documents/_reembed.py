"""Other embeddings for what is stored already, without reading the file again where its content is the same."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import select

from jobs.adapters import database as databases
from jobs.adapters import embeddings, storage
from jobs.adapters.database import Database
from jobs.adapters.database.models import PASSAGES
from jobs.domains.documents import _limits, _pipeline, _status
from jobs.domains.documents._split import Piece
from jobs.domains.documents._stages import Stages
from jobs.domains.documents._status import Content
from jobs.engine import Context

CHUNK = 1024 * 1024


def reembed(document_id: str, tenant: str, force: bool, context: Context) -> dict[str, Any] | None:
    """Embed the document's passages again when the model is another one or `force` says so; counts, or None when gone.

    A document that failed, or whose stored object has another sha256 than its row, is ingested anew. One that is being
    ingested anyway is left alone. The row stays "completed" throughout, and searchable.
    """
    database, stages = databases.connect(context.settings), Stages(context)
    content = _status.look(database, document_id, tenant)
    if content is None or content.status in ("queued", "processing"):
        return None
    stages.at("fetching")
    if content.status == "failed" or _has_changed(content, context):
        return _pipeline.ingest(document_id, tenant, context)
    if not force and content.embedding_model == embeddings.model_name():
        return {"document_id": document_id, "passages": 0}
    with _limits.explained():
        _limits.refuse_what_was_killed(context)
        new = _pipeline.embed(_pieces(database, document_id), stages)
        stages.at("indexing")
        ending = _status.reembedded(database, content, new)
    context.log.info("passages embedded", ending=ending.value, passages=len(new))
    stages.at("done")
    return {"document_id": document_id, "passages": len(new)}


def _has_changed(content: Content, context: Context) -> bool:
    digest = hashlib.sha256()
    try:
        with storage.connect(context.settings).open(content.storage_key) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                context.check()
    except storage.ObjectNotFound:
        return False
    return digest.hexdigest() != content.sha256


def _pieces(database: Database, document_id: str) -> list[Piece]:
    with database.read() as session:
        of = PASSAGES.c
        query = select(of.text, of.page, of.section).where(of.document_id == document_id)
        rows = session.execute(query.order_by(of.ordinal)).all()
    return [Piece(text, page, section) for text, page, section in rows]
