"""What sessions fed in, and what drivers are credited with for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_COUNTS = ("exported_wh", "credited_wh")
_TEXTS = {"credit_amount": "0", "credit_currency": "", "credit_price_per_kwh": "0"}


def upgrade() -> None:
    for name in _COUNTS:
        op.add_column(
            "session", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        )
    op.add_column("session", sa.Column("discharge_reserve_percent", sa.Integer(), nullable=True))
    for name, default in _TEXTS.items():
        op.add_column("session", sa.Column(name, sa.Text(), nullable=False, server_default=default))


def downgrade() -> None:
    for name in (*_TEXTS, "discharge_reserve_percent", *_COUNTS):
        op.drop_column("session", name)
