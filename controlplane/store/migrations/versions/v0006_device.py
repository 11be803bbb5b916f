"""What chargers say of themselves: their settings, and the monitors that watch them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "charger_variable",
        sa.Column("charger_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("attribute", sa.Text(), nullable=False),
        sa.Column("component", sa.Text(), nullable=False),
        sa.Column("component_instance", sa.Text(), nullable=False),
        sa.Column("evse_id", sa.BigInteger(), nullable=False),
        sa.Column("connector_id", sa.BigInteger(), nullable=False),
        sa.Column("variable", sa.Text(), nullable=False),
        sa.Column("variable_instance", sa.Text(), nullable=False),
        sa.Column("value", sa.Text()),
        sa.Column("mutability", sa.Text(), nullable=False, server_default=""),
        sa.Column("persistent", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("constant", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("data_type", sa.Text(), nullable=False, server_default=""),
        sa.Column("unit", sa.Text(), nullable=False, server_default=""),
        sa.Column("limit_min", sa.Float()),
        sa.Column("limit_max", sa.Float()),
        sa.Column("values_list", sa.Text(), nullable=False, server_default=""),
        sa.Column("supports_monitoring", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("reported_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("charger_id", "key", "attribute"),
    )
    op.create_table(
        "charger_monitor",
        sa.Column("charger_id", sa.Text(), nullable=False),
        sa.Column("monitor_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("transaction", sa.Boolean(), nullable=False),
        sa.Column("reported_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("charger_id", "monitor_id"),
    )


def downgrade() -> None:
    op.drop_table("charger_monitor")
    op.drop_table("charger_variable")
