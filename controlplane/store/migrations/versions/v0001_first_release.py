"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controlplane.ids import SHARDS

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "actor_snapshot",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id"),
    )
    op.create_table(
        "charger",
        sa.Column("charger_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("charger_id"),
    )
    op.create_index("ix_charger_site_id", "charger", ["site_id"], unique=False)
    op.create_table(
        "feeder",
        sa.Column("feeder_id", sa.Text(), nullable=False),
        sa.Column("config", sa.LargeBinary(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("feeder_id"),
    )
    op.create_table(
        "journal",
        sa.Column("cursor", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("cursor"),
    )
    op.create_table(
        "journal_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "meter_sample",
        sa.Column(
            "sample_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("charger_id", sa.Text(), nullable=False),
        sa.Column("connector_id", sa.Integer(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("energy_wh", sa.BigInteger(), nullable=True),
        sa.Column("power_w", sa.BigInteger(), nullable=True),
        sa.Column("current_l1_ma", sa.BigInteger(), nullable=True),
        sa.Column("current_l2_ma", sa.BigInteger(), nullable=True),
        sa.Column("current_l3_ma", sa.BigInteger(), nullable=True),
        sa.Column("soc_percent", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("sample_id"),
    )
    op.create_index(
        "meter_sample_by_session", "meter_sample", ["session_id", "sample_id"], unique=False
    )
    op.create_table(
        "quarantine",
        sa.Column(
            "quarantine_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("charger_id", sa.Text(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("quarantine_id"),
    )
    op.create_index("ix_quarantine_charger_id", "quarantine", ["charger_id"], unique=False)
    op.create_table(
        "request_result",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_index("ix_request_result_created_ms", "request_result", ["created_ms"], unique=False)
    op.create_table(
        "session",
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("charger_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=True),
        sa.Column("connector_id", sa.Integer(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("id_token", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("meter_start_wh", sa.BigInteger(), nullable=True),
        sa.Column("meter_stop_wh", sa.BigInteger(), nullable=True),
        sa.Column("energy_wh", sa.BigInteger(), nullable=False),
        sa.Column("need_wh", sa.BigInteger(), nullable=True),
        sa.Column("departure_ms", sa.BigInteger(), nullable=True),
        sa.Column("stop_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("session_id"),
    )
    op.create_index(
        "session_by_charger", "session", ["charger_id", "started_ms", "session_id"], unique=False
    )
    op.create_index(
        "session_by_site", "session", ["site_id", "started_ms", "session_id"], unique=False
    )
    op.create_index("session_by_start", "session", ["started_ms", "session_id"], unique=False)
    op.create_index(
        "session_by_state", "session", ["state", "started_ms", "session_id"], unique=False
    )
    op.create_table(
        "shard_owner",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("shard"),
    )
    op.create_table(
        "site",
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("feeder_id", sa.Text(), nullable=True),
        sa.Column("config", sa.LargeBinary(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("site_id"),
    )
    op.create_index("ix_site_feeder_id", "site", ["feeder_id"], unique=False)
    owners = sa.table(
        "shard_owner",
        sa.column("shard", sa.Integer),
        sa.column("owner", sa.Text),
        sa.column("epoch", sa.BigInteger),
        sa.column("lease_until_ms", sa.BigInteger),
    )
    op.bulk_insert(
        owners,
        [{"shard": shard, "owner": "", "epoch": 0, "lease_until_ms": 0} for shard in range(SHARDS)],
    )
    head = sa.table("journal_head", sa.column("id", sa.Integer), sa.column("cursor", sa.BigInteger))
    op.bulk_insert(head, [{"id": 1, "cursor": 0}])


def downgrade() -> None:
    for table in (
        "request_result",
        "journal_head",
        "journal",
        "quarantine",
        "meter_sample",
        "session",
        "charger",
        "feeder",
        "site",
        "actor_snapshot",
        "shard_owner",
    ):
        op.drop_table(table)
