"""An index of the durable jobs that ended otherwise than well."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

IN_VAIN = sa.text("state IN ('failed', 'cancelled', 'quarantined')")


def upgrade() -> None:
    """Make the index."""
    op.create_index(
        "ix_ledger_jobs_in_vain", "ledger_jobs", ["state", "number"], postgresql_where=IN_VAIN, sqlite_where=IN_VAIN
    )


def downgrade() -> None:
    """Drop it: searches by state get slow."""
    op.drop_index("ix_ledger_jobs_in_vain", "ledger_jobs")
