"""Tokens, what became of them in sessions, and reservations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "token",
        sa.Column("token_key", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.Column("group_key", sa.Text(), nullable=True),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("token_key"),
    )
    op.create_index("token_by_version", "token", ["version", "token_key"], unique=False)
    op.create_index("token_by_group", "token", ["group_key", "token_key"], unique=False)
    op.create_table(
        "reservation",
        sa.Column("reservation_id", sa.Text(), nullable=False),
        sa.Column("charger_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("connector_id", sa.Integer(), nullable=False),
        sa.Column("connector_type", sa.Text(), nullable=False),
        sa.Column("id_token", sa.Text(), nullable=False),
        sa.Column("group_id", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("reservation_id"),
    )
    op.create_index(
        "reservation_by_creation", "reservation", ["created_ms", "reservation_id"], unique=False
    )
    op.create_index(
        "reservation_by_charger",
        "reservation",
        ["charger_id", "created_ms", "reservation_id"],
        unique=False,
    )
    op.add_column("session", sa.Column("token_key", sa.Text(), nullable=True))
    op.add_column("session", sa.Column("token_status", sa.Text(), nullable=True))
    op.create_index("session_by_token", "session", ["token_key", "state"], unique=False)


def downgrade() -> None:
    op.drop_index("session_by_token", table_name="session")
    op.drop_column("session", "token_status")
    op.drop_column("session", "token_key")
    op.drop_table("reservation")
    op.drop_table("token")
