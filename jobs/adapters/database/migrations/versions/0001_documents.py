"""Workspaces, documents and their passages with full text, sources, uploads, remembered requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.adapters.database.columns import Instant, Json, Prose

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.String(32)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, then the index of words that each database has in its own way."""
    _create_workspaces()
    _create_documents()
    _create_passages()
    _create_uploads()
    _create_requests()
    for statement in WORDS[op.get_context().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    """Drop everything."""
    op.execute("DROP TABLE IF EXISTS passage_vectors")
    op.execute("DROP TABLE passage_terms")
    for table in ("idempotent_requests", "uploads", "passages", "documents", "sources", "workspaces"):
        op.drop_table(table)


WORDS = {
    "sqlite": (
        "CREATE VIRTUAL TABLE passage_terms USING fts5(workspace, terms, tokenize = 'ascii')",
        "CREATE TRIGGER passage_terms_forget AFTER DELETE ON passages "
        "BEGIN DELETE FROM passage_terms WHERE rowid = old.number; END",
    ),
    "postgresql": (
        "CREATE TABLE passage_terms ("
        " number bigint PRIMARY KEY REFERENCES passages (number) ON DELETE CASCADE,"
        " workspace_id varchar(32) NOT NULL, terms tsvector NOT NULL)",
        "CREATE INDEX ix_passage_terms_terms ON passage_terms USING gin (terms)",
        "CREATE INDEX ix_passage_terms_workspace_id ON passage_terms (workspace_id)",
    ),
}


def _create_workspaces() -> None:
    op.create_table(
        "workspaces",
        sa.Column("id", ID, primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("slug", sa.String(200), nullable=False),
        sa.Column("name", Prose, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.UniqueConstraint("tenant", "slug", name="uq_workspaces_tenant_slug"),
    )
    op.create_table(
        "sources",
        sa.Column("id", ID, primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        _workspace_id(index=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("location", Prose, nullable=False),
        sa.Column("etag", Prose),
        sa.Column("state", Json, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("last_synced_at", Instant),
    )


def _create_documents() -> None:
    op.create_table(
        "documents",
        sa.Column("id", ID, primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        _workspace_id(),
        sa.Column("name", Prose, nullable=False),
        sa.Column("media_type", sa.String(200)),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("storage_key", Prose, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("error", Prose),
        sa.Column("job_id", sa.String(200)),
        sa.Column("pages", sa.Integer),
        sa.Column("passages", sa.Integer, nullable=False),
        sa.Column("embedding_model", sa.String(200)),
        sa.Column("source_id", ID, sa.ForeignKey("sources.id", ondelete="SET NULL"), index=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
    )
    op.create_index("ix_documents_workspace_id_created_at_id", "documents", ["workspace_id", "created_at", "id"])
    op.create_index("ix_documents_storage_key", "documents", ["storage_key"])


def _create_passages() -> None:
    op.create_table(
        "passages",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", ID, nullable=False, unique=True),
        sa.Column("document_id", ID, sa.ForeignKey("documents.id", ondelete="CASCADE"), nullable=False),
        _workspace_id(index=True),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("text", Prose, nullable=False),
        sa.Column("page", sa.Integer),
        sa.Column("section", Prose),
        sa.Column("embedding", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("document_id", "ordinal", name="uq_passages_document_id_ordinal"),
        sqlite_autoincrement=True,
    )


def _create_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", ID, primary_key=True),
        sa.Column("tenant", sa.String(200), nullable=False),
        sa.Column("storage_key", Prose, nullable=False, unique=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", Instant, nullable=False, index=True),
        sa.Column("document_id", ID, sa.ForeignKey("documents.id", ondelete="SET NULL"), index=True),
    )


def _create_requests() -> None:
    op.create_table(
        "idempotent_requests",
        sa.Column("tenant", sa.String(200), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("body", Json),
        sa.Column("created_at", Instant, nullable=False, index=True),
    )


def _workspace_id(*, index: bool = False) -> sa.Column[str]:
    return sa.Column(
        "workspace_id", ID, sa.ForeignKey("workspaces.id", ondelete="CASCADE"), nullable=False, index=index
    )
