"""Meter samples in a table for every day, and up to where the journal was pruned."""

from __future__ import annotations

import datetime

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_DAY_MS = 86_400_000
_EPOCH = datetime.date(1970, 1, 1).toordinal()
_COLUMNS = (
    "sample_id, charger_id, connector_id, session_id, at_ms, received_ms, energy_wh, power_w,"
    " current_l1_ma, current_l2_ma, current_l3_ma, soc_percent"
)


def upgrade() -> None:
    op.create_table(
        "sample_day",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("day"),
    )
    op.add_column(
        "journal_head",
        sa.Column("pruned_cursor", sa.BigInteger(), nullable=False, server_default="0"),
    )
    connection = op.get_bind()
    postgresql = connection.dialect.name == "postgresql"
    op.drop_index("meter_sample_by_session", table_name="meter_sample")
    op.rename_table("meter_sample", "meter_sample_undivided")
    if postgresql:
        _divide_postgresql()
    # Division rounds towards zero; nothing was received before 1970.
    days = connection.execute(
        sa.text(f"SELECT DISTINCT received_ms / {_DAY_MS} FROM meter_sample_undivided")
    )
    for day in sorted(row[0] for row in days):
        _move(day, postgresql=postgresql)
    op.drop_table("meter_sample_undivided")


def _divide_postgresql() -> None:
    """The table that the days are partitions of; it goes on with the numbers of the old one."""
    op.execute("ALTER SEQUENCE meter_sample_sample_id_seq OWNED BY NONE")
    op.execute(
        "CREATE TABLE meter_sample ("
        " sample_id BIGINT NOT NULL DEFAULT nextval('meter_sample_sample_id_seq'),"
        " charger_id TEXT NOT NULL, connector_id INTEGER NOT NULL, session_id TEXT,"
        " at_ms BIGINT NOT NULL, received_ms BIGINT NOT NULL, energy_wh BIGINT, power_w BIGINT,"
        " current_l1_ma BIGINT, current_l2_ma BIGINT, current_l3_ma BIGINT,"
        " soc_percent DOUBLE PRECISION) PARTITION BY RANGE (received_ms)"
    )
    op.execute("ALTER SEQUENCE meter_sample_sample_id_seq OWNED BY meter_sample.sample_id")
    op.execute("CREATE INDEX meter_sample_by_session ON meter_sample (session_id, sample_id)")


def _move(day: int, *, postgresql: bool) -> None:
    name = f"meter_sample_{datetime.date.fromordinal(_EPOCH + day):%Y%m%d}"
    from_ms, until_ms = day * _DAY_MS, (day + 1) * _DAY_MS
    if postgresql:
        op.execute(
            f"CREATE TABLE {name} PARTITION OF meter_sample"
            f" FOR VALUES FROM ({from_ms}) TO ({until_ms})"
        )
    else:
        op.execute(
            f"CREATE TABLE {name} (sample_id INTEGER NOT NULL PRIMARY KEY,"
            " charger_id TEXT NOT NULL, connector_id INTEGER NOT NULL, session_id TEXT,"
            " at_ms BIGINT NOT NULL, received_ms BIGINT NOT NULL, energy_wh BIGINT,"
            " power_w BIGINT, current_l1_ma BIGINT, current_l2_ma BIGINT, current_l3_ma BIGINT,"
            " soc_percent FLOAT)"
        )
        op.execute(f"CREATE INDEX {name}_by_session ON {name} (session_id, sample_id)")
    op.execute(
        f"INSERT INTO {name} ({_COLUMNS}) SELECT {_COLUMNS} FROM meter_sample_undivided"
        f" WHERE received_ms >= {from_ms} AND received_ms < {until_ms} ORDER BY sample_id"
    )
    op.execute(f"INSERT INTO sample_day (day) VALUES ({day})")


def downgrade() -> None:
    connection = op.get_bind()
    postgresql = connection.dialect.name == "postgresql"
    op.create_table(
        "meter_sample_undivided",
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
    columns = _COLUMNS.removeprefix("sample_id, ")
    for (day,) in connection.execute(sa.text("SELECT day FROM sample_day ORDER BY day")).all():
        name = f"meter_sample_{datetime.date.fromordinal(_EPOCH + day):%Y%m%d}"
        # Numbered anew: on SQLite every day begins at 1.
        op.execute(
            f"INSERT INTO meter_sample_undivided ({columns})"
            f" SELECT {columns} FROM {name} ORDER BY sample_id"
        )
        op.drop_table(name)
    if postgresql:
        op.drop_table("meter_sample")
        op.execute(
            "ALTER SEQUENCE meter_sample_undivided_sample_id_seq"
            " RENAME TO meter_sample_sample_id_seq"
        )
    op.rename_table("meter_sample_undivided", "meter_sample")
    op.create_index(
        "meter_sample_by_session", "meter_sample", ["session_id", "sample_id"], unique=False
    )
    op.drop_column("journal_head", "pruned_cursor")
    op.drop_table("sample_day")
