"""The tables. Records of `records.py` map to them column by column; nothing outside `store/` names
a table.

Instants are milliseconds UTC, energies watt-hours, currents milliamperes, as in the records. Keys
that grow are 64 bits wide. Text has no length here: what a station says must not fail the commit of
others."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
)

__all__ = [
    "actor_snapshot",
    "campaign",
    "candidate",
    "certificate",
    "charger",
    "charger_monitor",
    "charger_variable",
    "command",
    "credential",
    "feeder",
    "grid_event",
    "journal",
    "journal_head",
    "limit_decision",
    "member",
    "metadata",
    "quarantine",
    "request_result",
    "reservation",
    "sample_day",
    "security_event",
    "session",
    "shard_owner",
    "signing",
    "site",
    "token",
]

metadata = MetaData()

_ROW_ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the key is exactly INTEGER."""

shard_owner = Table(
    "shard_owner",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
)

member = Table(
    "member",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("incarnation", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("draining", Boolean, nullable=False),
)

actor_snapshot = Table(
    "actor_snapshot",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("state", LargeBinary, nullable=False),
)

site = Table(
    "site",
    metadata,
    Column("site_id", Text, primary_key=True),
    Column("feeder_id", Text, index=True),
    Column("config", LargeBinary, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

feeder = Table(
    "feeder",
    metadata,
    Column("feeder_id", Text, primary_key=True),
    Column("config", LargeBinary, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

grid_event = Table(
    "grid_event",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("target_kind", Text, nullable=False),
    Column("target_id", Text, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("event", LargeBinary, nullable=False),
    Index("grid_event_by_start", "start_ms", "event_id"),
    Index("grid_event_by_target", "target_kind", "target_id", "start_ms", "event_id"),
)

campaign = Table(
    "campaign",
    metadata,
    Column("campaign_id", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

charger = Table(
    "charger",
    metadata,
    Column("charger_id", Text, primary_key=True),
    Column("site_id", Text, nullable=False, index=True),
    Column("password_hash", Text),
    Column("updated_ms", BigInteger, nullable=False),
    Column("security_profile_min", Integer),
)

session = Table(
    "session",
    metadata,
    Column("session_id", Text, primary_key=True),
    Column("charger_id", Text, nullable=False),
    Column("site_id", Text),
    Column("connector_id", Integer, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("id_token", Text),
    Column("state", Text, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("meter_start_wh", BigInteger),
    Column("meter_stop_wh", BigInteger),
    Column("energy_wh", BigInteger, nullable=False),
    Column("need_wh", BigInteger),
    Column("departure_ms", BigInteger),
    Column("stop_reason", Text),
    Column("boost_until_ms", BigInteger),
    Column("started_station_ms", BigInteger),
    Column("started_received_ms", BigInteger),
    Column("ended_station_ms", BigInteger),
    Column("ended_received_ms", BigInteger),
    Column("events_missing", BigInteger, nullable=False, server_default="0"),
    Column("token_key", Text),
    Column("token_status", Text),
    Column("exported_wh", BigInteger, nullable=False, server_default="0"),
    Column("discharge_reserve_percent", Integer),
    Column("credited_wh", BigInteger, nullable=False, server_default="0"),
    Column("credit_amount", Text, nullable=False, server_default="0"),
    Column("credit_currency", Text, nullable=False, server_default=""),
    Column("credit_price_per_kwh", Text, nullable=False, server_default="0"),
    Index("session_by_start", "started_ms", "session_id"),
    Index("session_by_site", "site_id", "started_ms", "session_id"),
    Index("session_by_charger", "charger_id", "started_ms", "session_id"),
    Index("session_by_state", "state", "started_ms", "session_id"),
    Index("session_by_token", "token_key", "state"),
)

token = Table(
    "token",
    metadata,
    Column("token_key", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("group_key", Text),
    Column("token", LargeBinary, nullable=False),
    Index("token_by_version", "version", "token_key"),
    Index("token_by_group", "group_key", "token_key"),
)
"""A removed token stays as a row, so that lists that hold it can be told."""

reservation = Table(
    "reservation",
    metadata,
    Column("reservation_id", Text, primary_key=True),
    Column("charger_id", Text, nullable=False),
    Column("site_id", Text),
    Column("number", BigInteger, nullable=False),
    Column("connector_id", Integer, nullable=False),
    Column("connector_type", Text, nullable=False),
    Column("id_token", Text, nullable=False),
    Column("group_id", Text),
    Column("state", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("end_reason", Text, nullable=False),
    Column("session_id", Text),
    Index("reservation_by_creation", "created_ms", "reservation_id"),
    Index("reservation_by_charger", "charger_id", "created_ms", "reservation_id"),
)

sample_day = Table(
    "sample_day",
    metadata,
    Column("day", Integer, primary_key=True, autoincrement=False),
)
"""The days, counted from 1970-01-01 UTC, that have a table of meter samples (`samples.py`)."""

limit_decision = Table(
    "limit_decision",
    metadata,
    Column("decision_id", _ROW_ID, primary_key=True),
    Column("charger_id", Text, nullable=False),
    Column("connector_id", Integer, nullable=False),
    Column("session_id", Text),
    Column("at_ms", BigInteger, nullable=False),
    Column("limit_ma", BigInteger, nullable=False),
    Column("before_ma", BigInteger),
    Column("reason", Text, nullable=False),
    Index("limit_decision_by_connector", "charger_id", "connector_id", "at_ms"),
)

charger_variable = Table(
    "charger_variable",
    metadata,
    Column("charger_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("attribute", Text, primary_key=True),
    Column("component", Text, nullable=False),
    Column("component_instance", Text, nullable=False),
    Column("evse_id", BigInteger, nullable=False),
    Column("connector_id", BigInteger, nullable=False),
    Column("variable", Text, nullable=False),
    Column("variable_instance", Text, nullable=False),
    Column("value", Text),
    Column("mutability", Text, nullable=False, server_default=""),
    Column("persistent", Boolean, nullable=False, server_default=false()),
    Column("constant", Boolean, nullable=False, server_default=false()),
    Column("data_type", Text, nullable=False, server_default=""),
    Column("unit", Text, nullable=False, server_default=""),
    Column("limit_min", Float),
    Column("limit_max", Float),
    Column("values_list", Text, nullable=False, server_default=""),
    Column("supports_monitoring", Boolean, nullable=False, server_default=false()),
    Column("reported_ms", BigInteger, nullable=False),
)

charger_monitor = Table(
    "charger_monitor",
    metadata,
    Column("charger_id", Text, primary_key=True),
    Column("monitor_id", BigInteger, primary_key=True, autoincrement=False),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Float, nullable=False),
    Column("severity", Integer, nullable=False),
    Column("transaction", Boolean, nullable=False),
    Column("reported_ms", BigInteger, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("quarantine_id", _ROW_ID, primary_key=True),
    Column("charger_id", Text, nullable=False, index=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("state", Text, nullable=False, server_default="open"),
    Column("session_id", Text),
    Column("transaction_id", Text),
    Column("resolved_ms", BigInteger),
    Column("note", Text, nullable=False, server_default=""),
    Index("quarantine_by_state", "state", "quarantine_id"),
)

journal = Table(
    "journal",
    metadata,
    Column("cursor", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

journal_head = Table(
    "journal_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("cursor", BigInteger, nullable=False),
    Column("pruned_cursor", BigInteger, nullable=False, server_default="0"),
)
"""One row: the cursor of the newest line, and that of the newest one that was pruned. Writers take
their cursors from it as the last thing before they commit, so cursors appear in commit order and a
reader skips nothing."""

request_result = Table(
    "request_result",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("actor_kind", Text, nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False, index=True),
)

command = Table(
    "command",
    metadata,
    Column("command_id", Text, primary_key=True),
    Column("charger_id", Text, nullable=False),
    Column("request_type", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("wish", LargeBinary, nullable=False),
    Column("stage", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("sent_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("response", LargeBinary, nullable=False),
    Index("command_by_creation", "created_ms", "command_id"),
    Index("command_by_charger", "charger_id", "created_ms", "command_id"),
    Index(
        "command_open",
        "charger_id",
        "command_id",
        sqlite_where=text("ended_ms IS NULL"),
        postgresql_where=text("ended_ms IS NULL"),
    ),
)

credential = Table(
    "credential",
    metadata,
    Column("charger_id", Text, primary_key=True),
    Column("described_hash", Text),
    Column("password_hash", Text),
    Column("pending_hash", Text),
    Column("security_profile", Integer, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("spare_hash", Text),
)

candidate = Table(
    "candidate",
    metadata,
    Column("charger_id", Text, primary_key=True),
    Column("vendor", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("firmware", Text, nullable=False),
    Column("ocpp_version", Text, nullable=False),
    Column("remote", Text, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger, nullable=False),
)

certificate = Table(
    "certificate",
    metadata,
    Column("serial", Text, primary_key=True),
    Column("charger_id", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("pem", Text, nullable=False),
    Column("not_before_ms", BigInteger, nullable=False),
    Column("not_after_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    Column("revocation_reason", Text, nullable=False),
    Column("handed_over", Text, nullable=False, server_default=""),
    Index("certificate_by_charger", "charger_id", "serial"),
    Index("certificate_by_end", "not_after_ms", "serial"),
)

signing = Table(
    "signing",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("charger_id", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("csr", Text, nullable=False),
    Column("asked_ms", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("serial", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("station_request_id", BigInteger),
    Index("signing_by_state", "state", "asked_ms"),
    Index("signing_by_charger", "charger_id", "asked_ms"),
)

security_event = Table(
    "security_event",
    metadata,
    Column("event_id", _ROW_ID, primary_key=True),
    Column("charger_id", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("critical", Boolean, nullable=False),
    Column("source", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Index("security_event_by_charger", "charger_id", "event_id"),
    Index("security_event_by_receipt", "received_ms"),
)
