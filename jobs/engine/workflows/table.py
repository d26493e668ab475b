"""The ledger's table of durable workflows: what was asked for, and how far it was when somebody looked last."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

from jobs.engine.columns import Instant

OPEN = text("ended_at IS NULL")
"""On PostgreSQL, too, indexes hold only such rows: `schema.whole` says so: said here, it would load the dialect."""
Number = BigInteger().with_variant(Integer(), "sqlite")
metadata = MetaData()

WORKFLOWS = Table(
    "ledger_workflows",
    metadata,
    Column("number", Number, autoincrement=True),
    Column("id", String(64), nullable=False),
    Column("tenant", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("epoch", String(32), nullable=False),
    Column("seen", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("asked", LargeBinary, nullable=False),
    Column("state", LargeBinary),
    Column("cancelled", Integer, nullable=False, server_default="0"),
    PrimaryKeyConstraint("number", name="pk_ledger_workflows"),
    Index("uq_ledger_workflows_id", "id", unique=True),
    Index("ix_ledger_workflows_open", "number", sqlite_where=OPEN),
    Index("ix_ledger_workflows_ended_at", "ended_at"),
    sqlite_autoincrement=True,
)
"""`cancelled` is the round that somebody has cancelled last, 0 for none."""

RESULTS = Table(
    "ledger_workflow_results",
    metadata,
    Column("workflow_id", String(64), nullable=False),
    Column("job_id", String(128), nullable=False),
    Column("result", LargeBinary, nullable=False),
    PrimaryKeyConstraint("workflow_id", "job_id", name="pk_ledger_workflow_results"),
)
"""What nodes pass on (zlib of base64 of JSON), written once each."""
