"""Durable workflows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.adapters.database.columns import Instant

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

OPEN = sa.text("ended_at IS NULL")


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        "ledger_workflows",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("epoch", sa.String(32), nullable=False),
        sa.Column("seen", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("ended_at", Instant),
        sa.Column("asked", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.LargeBinary),
        sa.PrimaryKeyConstraint("number", name="pk_ledger_workflows"),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_ledger_workflows_id", "ledger_workflows", ["id"], unique=True)
    op.create_index(
        "ix_ledger_workflows_open", "ledger_workflows", ["number"], postgresql_where=OPEN, sqlite_where=OPEN
    )
    op.create_index("ix_ledger_workflows_ended_at", "ledger_workflows", ["ended_at"])


def downgrade() -> None:
    """Drop it: what has not ended is known to Redis alone from then on."""
    op.drop_table("ledger_workflows")
