"""When somebody cancelled a durable job, as its row has to know before that is answered."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.engine.columns import Instant

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no row is written anew."""
    op.add_column("ledger_jobs", sa.Column("cancel_at", Instant(), nullable=True))


def downgrade() -> None:
    """Drop it: what was asked for in Redis alone is known there."""
    op.drop_column("ledger_jobs", "cancel_at")
