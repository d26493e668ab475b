"""What durable workflows pass on, and which of them were cancelled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the column."""
    op.create_table(
        "ledger_workflow_results",
        sa.Column("workflow_id", sa.String(64), nullable=False),
        sa.Column("job_id", sa.String(128), nullable=False),
        sa.Column("result", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("workflow_id", "job_id", name="pk_ledger_workflow_results"),
    )
    op.add_column("ledger_workflows", sa.Column("cancelled", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    """Drop both: a workflow that a wiped Redis gets back goes on without what was passed on."""
    op.drop_column("ledger_workflows", "cancelled")
    op.drop_table("ledger_workflow_results")
