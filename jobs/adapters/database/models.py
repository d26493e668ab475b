"""The tables: workspaces, their documents and passages, sources, uploads and remembered requests."""

from __future__ import annotations

from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, MetaData, String, UniqueConstraint

from jobs.adapters.database.columns import Instant, Json, Prose, now
from jobs.engine.audit_log import table as audit_log
from jobs.engine.idempotency import table as idempotency
from jobs.engine.ledger import table as ledger
from jobs.engine.local import tables as local
from jobs.engine.records import Field, Record
from jobs.engine.workflows import table as workflows

Id = String(32)
Number = BigInteger().with_variant(Integer(), "sqlite")


class Model(Record):
    """The base of every table; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def new_id() -> str:
    """A new random id: 32 hexadecimal digits."""
    return uuid4().hex


class Workspace(Model):
    """A tenant's named collection of documents."""

    __tablename__ = "workspaces"
    __table_args__ = (UniqueConstraint("tenant", "slug"),)

    id = Field[str](Id, primary_key=True, default=new_id)
    tenant = Field[str](String(200))
    slug = Field[str](String(200))
    name = Field[str](Prose)
    created_at = Field[datetime](Instant, default=now)


class Source(Model):
    """Where documents are fetched from again and again: `kind` is "url" or "prefix" (of the object storage)."""

    __tablename__ = "sources"

    id = Field[str](Id, primary_key=True, default=new_id)
    tenant = Field[str](String(200))
    workspace_id = Field[str](ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    kind = Field[str](String(20))
    location = Field[str](Prose)
    etag = Field[str | None](Prose, nullable=True)
    state = Field[dict[str, Any]](Json, default=dict)
    created_at = Field[datetime](Instant, default=now)
    last_synced_at = Field[datetime | None](Instant, nullable=True)


class Document(Model):
    """A file of a workspace; `status` is "queued", "processing", "completed" or "failed", `error` is for the user."""

    __tablename__ = "documents"
    __table_args__ = (Index(None, "workspace_id", "created_at", "id"), Index(None, "storage_key"))

    id = Field[str](Id, primary_key=True, default=new_id)
    tenant = Field[str](String(200))
    workspace_id = Field[str](ForeignKey("workspaces.id", ondelete="CASCADE"))
    name = Field[str](Prose)
    media_type = Field[str | None](String(200), nullable=True)
    size = Field[int](BigInteger)
    sha256 = Field[str](String(64))
    storage_key = Field[str](Prose)
    status = Field[str](String(20), default="queued")
    error = Field[str | None](Prose, nullable=True)
    job_id = Field[str | None](String(200), nullable=True)
    pages = Field[int | None](Integer, nullable=True)
    passages = Field[int](Integer, default=0)
    embedding_model = Field[str | None](String(200), nullable=True)
    source_id = Field[str | None](ForeignKey("sources.id", ondelete="SET NULL"), index=True, nullable=True)
    created_at = Field[datetime](Instant, default=now)
    updated_at = Field[datetime](Instant, default=now, onupdate=now)


class Passage(Model):
    """A searchable piece of a document; write them with `passages.replace`, which also indexes them.

    `number` ties a row to its entry in the full-text index; `embedding` is float32, little-endian.
    """

    __tablename__ = "passages"
    __table_args__ = (UniqueConstraint("document_id", "ordinal"),)
    __table_options__ = MappingProxyType({"sqlite_autoincrement": True})

    number = Field[int](Number, primary_key=True, autoincrement=True)
    id = Field[str](Id, unique=True, default=new_id)
    document_id = Field[str](ForeignKey("documents.id", ondelete="CASCADE"))
    workspace_id = Field[str](ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    ordinal = Field[int](Integer)
    text = Field[str](Prose)
    page = Field[int | None](Integer, nullable=True)
    section = Field[str | None](Prose, nullable=True)
    embedding = Field[bytes](LargeBinary)


class Upload(Model):
    """An object that was stored for a document; without one (never attached, or deleted since) it is swept away."""

    __tablename__ = "uploads"

    id = Field[str](Id, primary_key=True, default=new_id)
    tenant = Field[str](String(200))
    storage_key = Field[str](Prose, unique=True)
    size = Field[int](BigInteger)
    created_at = Field[datetime](Instant, default=now, index=True)
    document_id = Field[str | None](ForeignKey("documents.id", ondelete="SET NULL"), index=True, nullable=True)


class IdempotentRequest(Model):
    """The answer once given to a request that carried an `Idempotency-Key`."""

    __tablename__ = "idempotent_requests"

    tenant = Field[str](String(200), primary_key=True)
    key = Field[str](String(255), primary_key=True)
    fingerprint = Field[str](String(64))
    status = Field[int | None](Integer, nullable=True)
    body = Field[Any | None](Json, nullable=True)
    created_at = Field[datetime](Instant, default=now, index=True)


for _room in (ledger, local, idempotency, workflows, audit_log):
    for _each in _room.metadata.sorted_tables:
        _each.to_metadata(Model.metadata)
