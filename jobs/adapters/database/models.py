"""The tables: workspaces, their documents and passages, sources, uploads and remembered requests."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, MetaData, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from jobs.adapters.database.columns import Instant, Json, Prose, now
from jobs.engine.audit_log import table as audit_log
from jobs.engine.idempotency import table as idempotency
from jobs.engine.ledger import table as ledger
from jobs.engine.local import tables as local
from jobs.engine.workflows import table as workflows

Id = String(32)
Number = BigInteger().with_variant(Integer(), "sqlite")


class Model(DeclarativeBase):
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

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(String(200))
    slug: Mapped[str] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(Prose)
    created_at: Mapped[datetime] = mapped_column(Instant, default=now)


class Source(Model):
    """Where documents are fetched from again and again: `kind` is "url" or "prefix" (of the object storage)."""

    __tablename__ = "sources"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(String(200))
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    location: Mapped[str] = mapped_column(Prose)
    etag: Mapped[str | None] = mapped_column(Prose)
    state: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    created_at: Mapped[datetime] = mapped_column(Instant, default=now)
    last_synced_at: Mapped[datetime | None] = mapped_column(Instant)


class Document(Model):
    """A file of a workspace; `status` is "queued", "processing", "completed" or "failed", `error` is for the user."""

    __tablename__ = "documents"
    __table_args__ = (Index(None, "workspace_id", "created_at", "id"), Index(None, "storage_key"))

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(String(200))
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Prose)
    media_type: Mapped[str | None] = mapped_column(String(200))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    storage_key: Mapped[str] = mapped_column(Prose)
    status: Mapped[str] = mapped_column(String(20), default="queued")
    error: Mapped[str | None] = mapped_column(Prose)
    job_id: Mapped[str | None] = mapped_column(String(200))
    pages: Mapped[int | None] = mapped_column(Integer)
    passages: Mapped[int] = mapped_column(Integer, default=0)
    embedding_model: Mapped[str | None] = mapped_column(String(200))
    source_id: Mapped[str | None] = mapped_column(ForeignKey("sources.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime] = mapped_column(Instant, default=now)
    updated_at: Mapped[datetime] = mapped_column(Instant, default=now, onupdate=now)


class Passage(Model):
    """A searchable piece of a document; write them with `passages.replace`, which also indexes them.

    `number` ties a row to its entry in the full-text index; `embedding` is float32, little-endian.
    """

    __tablename__ = "passages"
    __table_args__ = (UniqueConstraint("document_id", "ordinal"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Id, unique=True, default=new_id)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    ordinal: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(Prose)
    page: Mapped[int | None] = mapped_column(Integer)
    section: Mapped[str | None] = mapped_column(Prose)
    embedding: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)


class Upload(Model):
    """An object that was stored for a document; without one (never attached, or deleted since) it is swept away."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    tenant: Mapped[str] = mapped_column(String(200))
    storage_key: Mapped[str] = mapped_column(Prose, unique=True)
    size: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Instant, default=now, index=True)
    document_id: Mapped[str | None] = mapped_column(ForeignKey("documents.id", ondelete="SET NULL"), index=True)


class IdempotentRequest(Model):
    """The answer once given to a request that carried an `Idempotency-Key`."""

    __tablename__ = "idempotent_requests"

    tenant: Mapped[str] = mapped_column(String(200), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None] = mapped_column(Integer)
    body: Mapped[Any | None] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(Instant, default=now, index=True)


for _room in (ledger, local, idempotency, workflows, audit_log):
    for _each in _room.metadata.sorted_tables:
        _each.to_metadata(Model.metadata)
