"""Sessions that go first for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("session", sa.Column("boost_until_ms", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("session", "boost_until_ms")
