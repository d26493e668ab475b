"""Which jobs a line of the audit log is about, and the parts of it that tenants see."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.adapters.database.columns import Instant

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the columns and the table."""
    op.add_column("audit_lines", sa.Column("jobs", sa.Integer, nullable=False, server_default="0"))
    op.add_column("audit_lines", sa.Column("part_of", sa.String(32)))
    op.create_table(
        "audit_jobs",
        sa.Column("line", sa.String(32), nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("job_id", sa.String(200), nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("before", sa.String(16), nullable=False),
        sa.Column("after", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("line", "place", name="pk_audit_jobs"),
    )
    op.create_index("ix_audit_jobs_job_id", "audit_jobs", ["job_id"])
    op.create_index("ix_audit_jobs_at", "audit_jobs", ["at"])


def downgrade() -> None:
    """Drop them, and what tenants saw of actions on many tenants' jobs."""
    op.drop_table("audit_jobs")
    op.execute("DELETE FROM audit_lines WHERE part_of IS NOT NULL")
    with op.batch_alter_table("audit_lines") as batch:
        batch.drop_column("part_of")
        batch.drop_column("jobs")
