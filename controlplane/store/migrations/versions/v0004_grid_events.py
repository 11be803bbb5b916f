"""What the grid wished, and what was made of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "grid_event",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("target_kind", sa.Text(), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=False),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("grid_event_by_start", "grid_event", ["start_ms", "event_id"], unique=False)
    op.create_index(
        "grid_event_by_target",
        "grid_event",
        ["target_kind", "target_id", "start_ms", "event_id"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_table("grid_event")
