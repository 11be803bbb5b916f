"""Passwords that a charger was sent and came back without."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("credential", sa.Column("spare_hash", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("credential", "spare_hash")
