"""The audit log's table: a row for each thing that somebody did."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, PrimaryKeyConstraint, String, Table, Text

from jobs.engine.columns import Instant

Number = BigInteger().with_variant(Integer(), "sqlite")
metadata = MetaData()

LINES = Table(
    "audit_lines",
    metadata,
    Column("number", Number, autoincrement=True),
    Column("id", String(32), nullable=False),
    Column("at", Instant, nullable=False),
    Column("subject", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("tenant", Text),
    Column("how", String(8), nullable=False),
    Column("action", String(100), nullable=False),
    Column("target", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("correlation_id", String(64), nullable=False),
    PrimaryKeyConstraint("number", name="pk_audit_lines"),
    Index("uq_audit_lines_id", "id", unique=True),
    Index("ix_audit_lines_at", "at", "number"),
    Index("ix_audit_lines_tenant_at", "tenant", "at", "number"),
    sqlite_autoincrement=True,
)
