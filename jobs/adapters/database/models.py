"""The tables, and what a row of them is: workspaces, documents and passages, sources, uploads, remembered requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from jobs.adapters.database.columns import Instant, Json, Prose, now

Id = String(32)
Number = BigInteger().with_variant(Integer(), "sqlite")
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""The application's tables; constraint names are fixed so that migrations can name them."""


def new_id() -> str:
    """A new random id: 32 hexadecimal digits."""
    return uuid4().hex


WORKSPACES = Table(
    "workspaces",
    METADATA,
    Column("id", Id, primary_key=True, default=new_id),
    Column("tenant", String(200), nullable=False),
    Column("slug", String(200), nullable=False),
    Column("name", Prose, nullable=False),
    Column("created_at", Instant, nullable=False, default=now),
    UniqueConstraint("tenant", "slug"),
)

SOURCES = Table(
    "sources",
    METADATA,
    Column("id", Id, primary_key=True, default=new_id),
    Column("tenant", String(200), nullable=False),
    Column("workspace_id", ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", String(20), nullable=False),
    Column("location", Prose, nullable=False),
    Column("etag", Prose),
    Column("state", Json, nullable=False, default=dict),
    Column("created_at", Instant, nullable=False, default=now),
    Column("last_synced_at", Instant),
)

DOCUMENTS = Table(
    "documents",
    METADATA,
    Column("id", Id, primary_key=True, default=new_id),
    Column("tenant", String(200), nullable=False),
    Column("workspace_id", ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False),
    Column("name", Prose, nullable=False),
    Column("media_type", String(200)),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("storage_key", Prose, nullable=False),
    Column("status", String(20), nullable=False, default="queued"),
    Column("error", Prose),
    Column("job_id", String(200)),
    Column("pages", Integer),
    Column("passages", Integer, nullable=False, default=0),
    Column("embedding_model", String(200)),
    Column("source_id", ForeignKey("sources.id", ondelete="SET NULL"), index=True),
    Column("created_at", Instant, nullable=False, default=now),
    Column("updated_at", Instant, nullable=False, default=now, onupdate=now),
    Index(None, "workspace_id", "created_at", "id"),
    Index(None, "storage_key"),
)

PASSAGES = Table(
    "passages",
    METADATA,
    Column("number", Number, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False, unique=True, default=new_id),
    Column("document_id", ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
    Column("workspace_id", ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("ordinal", Integer, nullable=False),
    Column("text", Prose, nullable=False),
    Column("page", Integer),
    Column("section", Prose),
    Column("embedding", LargeBinary, nullable=False),
    UniqueConstraint("document_id", "ordinal"),
    sqlite_autoincrement=True,
)
"""Searchable pieces of documents; write them with `passages.replace`, which also indexes them.

`number` ties a row to its entry in the full-text index; `embedding` is float32, little-endian.
"""

UPLOADS = Table(
    "uploads",
    METADATA,
    Column("id", Id, primary_key=True, default=new_id),
    Column("tenant", String(200), nullable=False),
    Column("storage_key", Prose, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False, default=now, index=True),
    Column("document_id", ForeignKey("documents.id", ondelete="SET NULL"), index=True),
)
"""Objects that were stored for a document; one without (never attached, or deleted since) is swept away."""

REQUESTS = Table(
    "idempotent_requests",
    METADATA,
    Column("tenant", String(200), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("status", Integer),
    Column("body", Json),
    Column("created_at", Instant, nullable=False, default=now, index=True),
)
"""The answers once given to requests that carried an `Idempotency-Key`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A tenant's named collection of documents."""

    table: ClassVar[Table] = WORKSPACES

    id: str = field(default_factory=new_id)
    tenant: str
    slug: str
    name: str
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where documents are fetched from again and again: `kind` is "url" or "prefix" (of the object storage)."""

    table: ClassVar[Table] = SOURCES

    id: str = field(default_factory=new_id)
    tenant: str
    workspace_id: str
    kind: str
    location: str
    etag: str | None = None
    state: dict[str, Any] = field(default_factory=dict)
    created_at: datetime = field(default_factory=now)
    last_synced_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file of a workspace; `status` is "queued", "processing", "completed" or "failed", `error` is for the user."""

    table: ClassVar[Table] = DOCUMENTS

    id: str = field(default_factory=new_id)
    tenant: str
    workspace_id: str
    name: str
    media_type: str | None = None
    size: int
    sha256: str
    storage_key: str
    status: str = "queued"
    error: str | None = None
    job_id: str | None = None
    pages: int | None = None
    passages: int = 0
    embedding_model: str | None = None
    source_id: str | None = None
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)
