"""What jobs have done once, and who wrote last to a resource."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.adapters.database.columns import Instant

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "job_steps",
        sa.Column("job_id", sa.String(128), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("execution_id", sa.String(200), nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("done_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_job_steps"),
    )
    op.create_index("ix_job_steps_done_at", "job_steps", ["done_at"])
    op.create_table(
        "job_fences",
        sa.Column("resource", sa.String(200), nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("execution_id", sa.String(200), nullable=False),
        sa.Column("passed_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("resource", name="pk_job_fences"),
    )
    op.create_index("ix_job_fences_passed_at", "job_fences", ["passed_at"])


def downgrade() -> None:
    """Drop both: steps that were done in SQL may be done again."""
    op.drop_table("job_fences")
    op.drop_table("job_steps")
