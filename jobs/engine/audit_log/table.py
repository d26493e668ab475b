"""The audit log's tables: a row for each thing that somebody did, and for each job that was changed with others."""

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
    Column("jobs", Integer, nullable=False, server_default="0"),
    Column("part_of", String(32)),
    PrimaryKeyConstraint("number", name="pk_audit_lines"),
    Index("uq_audit_lines_id", "id", unique=True),
    Index("ix_audit_lines_at", "at", "number"),
    Index("ix_audit_lines_tenant_at", "tenant", "at", "number"),
    sqlite_autoincrement=True,
)

JOBS = Table(
    "audit_jobs",
    metadata,
    Column("line", String(32), nullable=False),
    Column("place", Integer, nullable=False),
    Column("at", Instant, nullable=False),
    Column("job_id", String(200), nullable=False),
    Column("tenant", Text, nullable=False),
    Column("before", String(16), nullable=False),
    Column("after", String(16), nullable=False),
    PrimaryKeyConstraint("line", "place", name="pk_audit_jobs"),
    Index("ix_audit_jobs_job_id", "job_id"),
    Index("ix_audit_jobs_at", "at"),
)
"""What a line about many jobs changed; the line is the whole's, also where a part of it is shown to one tenant."""
