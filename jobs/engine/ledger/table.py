"""The ledger's tables: a row for each durable job, and one for each value by which it can be found."""

from __future__ import annotations

from typing import Final

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

PENDING: Final = "pending"
"""Written, and never on its way to Redis: only such a row may be run in this process's own pool."""
PUSHING: Final = "pushing"
"""Somebody pushes it, or died while doing so; the step was taken before acting, and repeating the push is harmless."""
PUSHED: Final = "pushed"
"""Redis has it, in the life that `epoch` names."""
LOCAL: Final = "local"
"""A pool of this fleet's own processes runs it; it is never pushed."""
DOUBTED: Final = "doubted"
"""Absorbed by a job that had not ended as far as its row knew: pending if it had, and gone if not (`doubts.settle`)."""

QUEUED, SCHEDULED, STARTED = "queued", "scheduled", "started"
FINISHED, FAILED, CANCELLED, QUARANTINED = "finished", "failed", "cancelled", "quarantined"
ENDED: Final = frozenset({FINISHED, FAILED, CANCELLED, QUARANTINED})

OPEN, WRONG = text("ended_at IS NULL"), text("error IS NOT NULL")
"""On PostgreSQL, too, indexes hold only such rows: `schema.whole` says so: said here, it would load the dialect."""
IN_VAIN: Final = text("state IN ('failed', 'cancelled', 'quarantined')")
"""What few rows are: an index of these states alone costs those nothing that finish."""
Number = BigInteger().with_variant(Integer(), "sqlite")
metadata = MetaData()

JOBS = Table(
    "ledger_jobs",
    metadata,
    Column("number", Number, autoincrement=True),
    Column("id", String(128), nullable=False),
    Column("type", String(200), nullable=False),
    Column("tenant", Text, nullable=False),
    Column("queue", String(200), nullable=False),
    Column("step", String(8), nullable=False),
    Column("step_at", Instant, nullable=False),
    Column("epoch", String(32), nullable=False),
    Column("followed", BigInteger, nullable=False),
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("worker", Text, nullable=False),
    Column("error_type", Text, nullable=False),
    Column("error", Text),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("cancel_at", Instant),
    Column("correlation_id", Text, nullable=False),
    Column("unique_key", Text),
    Column("options", Text),
    Column("more", LargeBinary),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("number", name="pk_ledger_jobs"),
    Index("uq_ledger_jobs_id", "id", unique=True),
    Index("ix_ledger_jobs_open", "step", "number", sqlite_where=OPEN),
    Index("ix_ledger_jobs_unique_key", "unique_key", sqlite_where=OPEN),
    Index("ix_ledger_jobs_tenant_number", "tenant", "number"),
    Index("ix_ledger_jobs_type_number", "type", "number"),
    Index("ix_ledger_jobs_errors", "tenant", "number", sqlite_where=WRONG),
    Index("ix_ledger_jobs_in_vain", "state", "number", sqlite_where=IN_VAIN),
    Index("ix_ledger_jobs_ended_at", "ended_at"),
    sqlite_autoincrement=True,
)

VALUES = Table(
    "ledger_values",
    metadata,
    Column("job_id", String(128), nullable=False),
    Column("field", String(100), nullable=False),
    Column("value", String(200), nullable=False),
    PrimaryKeyConstraint("field", "value", "job_id", name="pk_ledger_values"),
    Index("ix_ledger_values_job_id", "job_id"),
)
