"""What operators did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobs.adapters.database.columns import Instant

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        "audit_lines",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("how", sa.String(8), nullable=False),
        sa.Column("action", sa.String(100), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
        sa.Column("correlation_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_audit_lines"),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_audit_lines_id", "audit_lines", ["id"], unique=True)
    op.create_index("ix_audit_lines_at", "audit_lines", ["at", "number"])
    op.create_index("ix_audit_lines_tenant_at", "audit_lines", ["tenant", "at", "number"])


def downgrade() -> None:
    """Drop it, with what it tells."""
    op.drop_table("audit_lines")
