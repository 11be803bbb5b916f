"""The station's own times of a session, what is missing of it, and what was decided about what is
quarantined."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INSTANTS = (
    "started_station_ms",
    "started_received_ms",
    "ended_station_ms",
    "ended_received_ms",
)


def upgrade() -> None:
    for name in _INSTANTS:
        op.add_column("session", sa.Column(name, sa.BigInteger(), nullable=True))
    op.add_column(
        "session", sa.Column("events_missing", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.add_column(
        "quarantine", sa.Column("state", sa.Text(), nullable=False, server_default="open")
    )
    op.add_column("quarantine", sa.Column("session_id", sa.Text(), nullable=True))
    op.add_column("quarantine", sa.Column("transaction_id", sa.Text(), nullable=True))
    op.add_column("quarantine", sa.Column("resolved_ms", sa.BigInteger(), nullable=True))
    op.add_column("quarantine", sa.Column("note", sa.Text(), nullable=False, server_default=""))
    op.create_index("quarantine_by_state", "quarantine", ["state", "quarantine_id"], unique=False)


def downgrade() -> None:
    op.drop_index("quarantine_by_state", table_name="quarantine")
    for name in ("note", "resolved_ms", "transaction_id", "session_id", "state"):
        op.drop_column("quarantine", name)
    op.drop_column("session", "events_missing")
    for name in reversed(_INSTANTS):
        op.drop_column("session", name)
