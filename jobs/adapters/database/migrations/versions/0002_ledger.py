"""The ledger of durable jobs and the values by which they are found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.adapters.database.columns import Instant

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN, WRONG = sa.text("ended_at IS NULL"), sa.text("error IS NOT NULL")


def upgrade() -> None:
    """Make both tables and their indexes."""
    _create_jobs()
    op.create_table(
        "ledger_values",
        sa.Column("job_id", sa.String(128), nullable=False),
        sa.Column("field", sa.String(100), nullable=False),
        sa.Column("value", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("field", "value", "job_id", name="pk_ledger_values"),
    )
    op.create_index("ix_ledger_values_job_id", "ledger_values", ["job_id"])


def downgrade() -> None:
    """Drop both: what has not ended is known to Redis alone from then on."""
    op.drop_table("ledger_values")
    op.drop_table("ledger_jobs")


def _create_jobs() -> None:
    op.create_table(
        "ledger_jobs",
        sa.Column("number", NUMBER, autoincrement=True),
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("type", sa.String(200), nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("queue", sa.String(200), nullable=False),
        sa.Column("step", sa.String(8), nullable=False),
        sa.Column("step_at", Instant, nullable=False),
        sa.Column("epoch", sa.String(32), nullable=False),
        sa.Column("followed", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("error_type", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("due_at", Instant),
        sa.Column("started_at", Instant),
        sa.Column("ended_at", Instant),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("unique_key", sa.Text),
        sa.Column("options", sa.Text),
        sa.Column("more", sa.LargeBinary),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_ledger_jobs"),
        sqlite_autoincrement=True,
    )
    _create_indexes()


def _create_indexes() -> None:
    op.create_index("uq_ledger_jobs_id", "ledger_jobs", ["id"], unique=True)
    for name, columns in (("open", ["step", "number"]), ("unique_key", ["unique_key"])):
        op.create_index(f"ix_ledger_jobs_{name}", "ledger_jobs", columns, postgresql_where=OPEN, sqlite_where=OPEN)
    op.create_index("ix_ledger_jobs_tenant_number", "ledger_jobs", ["tenant", "number"])
    op.create_index("ix_ledger_jobs_type_number", "ledger_jobs", ["type", "number"])
    op.create_index(
        "ix_ledger_jobs_errors", "ledger_jobs", ["tenant", "number"], postgresql_where=WRONG, sqlite_where=WRONG
    )
    op.create_index("ix_ledger_jobs_ended_at", "ledger_jobs", ["ended_at"])
