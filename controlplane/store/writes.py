"""How each kind of record is written: one statement for each kind, compiled once.

The statements go to the driver as they are. SQLAlchemy would look at every parameter of every row
and hash every statement anew: more than half of the processor time of a commit with one row.
Invariant: a statement names the columns that its rows have, so none is written under a wrong
name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Dialect, Table, and_, bindparam, case, delete, insert, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import UpdateBase

from controlplane.ids import ActorRef
from controlplane.store import schema
from controlplane.store.records import (
    ActorSnapshot,
    CampaignRecord,
    CandidateRecord,
    CandidateRemoved,
    CertificateRecord,
    ChargerRecord,
    ChargerRemoved,
    CommandRecord,
    CredentialRecord,
    FeederRecord,
    FeederRemoved,
    GridEventRecord,
    LimitDecision,
    MonitorRecord,
    MonitorRemoved,
    MonitorsReplaced,
    QuarantineCleared,
    QuarantineRecord,
    QuarantineResolved,
    QuarantineState,
    Record,
    ReservationRecord,
    SecurityEventRecord,
    SessionRecord,
    SigningRecord,
    SiteRecord,
    SiteRemoved,
    TokenRecord,
    TokenRemoved,
    VariableRecord,
    VariablesReplaced,
    VariableValue,
)

__all__ = ["JournalLine", "RequestResult", "Writes", "replaced_by", "with_value"]

Row = dict[str, Any]


class JournalLine(msgspec.Struct, frozen=True):
    """An event as an actor emitted it, before it has a cursor."""

    at_ms: int
    kind: str
    actor: ActorRef
    data: dict[str, Any]


class RequestResult(msgspec.Struct, frozen=True):
    """The answer to a request that carried a `request_id`. `fingerprint` tells a repetition from
    another request that reuses the id; `created_ms` is of the machine's clock."""

    request_id: str
    ref: ActorRef
    fingerprint: bytes
    response: bytes
    created_ms: int


class _Compiled(NamedTuple):
    """A statement in the driver's words."""

    text: str
    names: list[str] | None
    """Of the parameters, where the driver takes them by their places."""
    constants: Row
    """What every row has."""


class Writes:
    """The statements of a database, for its writer."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._statements = _statements(dialect.name)
        self._compiled: dict[type, _Compiled] = {}
        mark = "?" if dialect.positional else "%s"
        self._number = f"UPDATE journal_head SET cursor = cursor + {mark} RETURNING cursor"

    def write(self, connection: Connection, kind: type, written: list[Any]) -> None:
        """Write records of one kind, at least one, or answers to requests."""
        row: Callable[[Any], Row] = _ROWS.get(kind, msgspec.structs.asdict)
        self._execute(connection, kind, [row(each) for each in written])

    def append(self, connection: Connection, lines: list[JournalLine]) -> int:
        """Append to the journal; returns the cursor of the first line."""
        numbered = connection.exec_driver_sql(self._number, (len(lines),)).scalar_one()
        first = int(numbered) - len(lines) + 1
        self._execute(
            connection,
            JournalLine,
            [
                {
                    "cursor": first + offset,
                    "at_ms": line.at_ms,
                    "kind": line.kind,
                    "actor_kind": line.actor.kind,
                    "actor_id": line.actor.id,
                    "data": msgspec.json.encode(line.data),
                }
                for offset, line in enumerate(lines)
            ],
        )
        return first

    def _execute(self, connection: Connection, kind: type, rows: list[Row]) -> None:
        compiled = self._compiled.get(kind)
        if compiled is None:
            compiled = self._compiled[kind] = self._compile(kind, rows[0])
        text, names, constants = compiled
        if constants:
            rows = [constants | row for row in rows]
        if names is not None:
            connection.exec_driver_sql(text, [tuple(row[name] for name in names) for row in rows])
        else:
            connection.exec_driver_sql(text, rows)

    def _compile(self, kind: type, row: Row) -> _Compiled:
        statement = self._statements[kind]
        columns = list(row) if statement.is_insert else None
        compiled = statement.compile(dialect=self._dialect, column_keys=columns)
        constants = {
            name: value
            for name, value in compiled.params.items()
            if value is not None and name not in row
        }
        return _Compiled(str(compiled), compiled.positiontup, constants)


def _statements(dialect: str) -> dict[type, UpdateBase]:
    """One statement per kind of row."""
    dialect_insert: Callable[[Table], Any] = (
        postgresql.insert if dialect == "postgresql" else sqlite.insert
    )

    def upsert(table: Table, *, final: tuple[str, ...] = ()) -> UpdateBase:
        """`final`: columns that are never changed again once the first of them is set."""
        statement = dialect_insert(table)
        keys = [column.name for column in table.primary_key]
        values: dict[str, Any] = {
            column.name: statement.excluded[column.name]
            for column in table.columns
            if column.name not in keys
        }
        for name in final:
            values[name] = case((table.c[final[0]].is_(None), values[name]), else_=table.c[name])
        return statement.on_conflict_do_update(  # type: ignore[no-any-return]
            index_elements=keys, set_=values
        )

    def removal(table: Table) -> UpdateBase:
        keys = table.primary_key
        return delete(table).where(and_(*(key == bindparam(f"removed_{key.name}") for key in keys)))

    def replaced(table: Table) -> UpdateBase:
        return delete(table).where(
            table.c.charger_id == bindparam("removed_charger_id"),
            table.c.reported_ms < bindparam("removed_before_ms"),
        )

    def value_only(table: Table) -> UpdateBase:
        statement = dialect_insert(table).values(
            {name: bindparam(name) for name in VariableValue.__struct_fields__}
        )
        return statement.on_conflict_do_update(  # type: ignore[no-any-return]
            index_elements=[column.name for column in table.primary_key],
            set_={name: statement.excluded[name] for name in ("value", "reported_ms")},
        )

    return {
        ActorSnapshot: upsert(schema.actor_snapshot),
        SiteRecord: upsert(schema.site),
        FeederRecord: upsert(schema.feeder),
        GridEventRecord: upsert(schema.grid_event),
        CampaignRecord: upsert(schema.campaign),
        CommandRecord: upsert(schema.command),
        ChargerRecord: upsert(schema.charger),
        SiteRemoved: removal(schema.site),
        FeederRemoved: removal(schema.feeder),
        ChargerRemoved: removal(schema.charger),
        SessionRecord: upsert(schema.session),
        ReservationRecord: upsert(schema.reservation),
        TokenRecord: upsert(schema.token),
        TokenRemoved: update(schema.token)
        .where(schema.token.c.token_key == bindparam("removed_token_key"))
        .values(removed=True, version=bindparam("removed_version")),
        CredentialRecord: upsert(schema.credential),
        CandidateRecord: upsert(schema.candidate),
        CandidateRemoved: removal(schema.candidate),
        CertificateRecord: upsert(schema.certificate, final=("revoked_ms", "revocation_reason")),
        SigningRecord: upsert(schema.signing),
        SecurityEventRecord: insert(schema.security_event),
        LimitDecision: insert(schema.limit_decision),
        QuarantineRecord: insert(schema.quarantine),
        QuarantineCleared: _clearance(),
        QuarantineResolved: _resolution(),
        JournalLine: insert(schema.journal),
        RequestResult: upsert(schema.request_result),
        VariableRecord: upsert(schema.charger_variable),
        VariableValue: value_only(schema.charger_variable),
        VariablesReplaced: replaced(schema.charger_variable),
        MonitorRecord: upsert(schema.charger_monitor),
        MonitorRemoved: removal(schema.charger_monitor),
        MonitorsReplaced: replaced(schema.charger_monitor),
    }


def _resolution() -> UpdateBase:
    """An operator's decision; the first one about an entry stands."""
    columns = schema.quarantine.c
    return (
        update(schema.quarantine)
        .where(
            columns.quarantine_id == bindparam("resolved_quarantine_id"),
            columns.state == QuarantineState.OPEN.value,
        )
        .values(
            {
                name: bindparam(f"resolved_{name}")
                for name in QuarantineResolved.__struct_fields__
                if name != "quarantine_id"
            }
        )
    )


def _clearance() -> UpdateBase:
    columns = schema.quarantine.c
    return (
        update(schema.quarantine)
        .where(
            columns.charger_id == bindparam("resolved_charger_id"),
            columns.transaction_id == bindparam("resolved_transaction_id"),
            columns.state == QuarantineState.OPEN.value,
        )
        .values(
            state=QuarantineState.RELEASED.value,
            session_id=bindparam("resolved_session_id"),
            resolved_ms=bindparam("resolved_resolved_ms"),
        )
    )


_KEYS: dict[type[Record], tuple[type[Record], Callable[[Any], object]]] = {
    ActorSnapshot: (ActorSnapshot, attrgetter("ref")),
    CampaignRecord: (CampaignRecord, attrgetter("campaign_id")),
    CandidateRecord: (CandidateRecord, attrgetter("charger_id")),
    CandidateRemoved: (CandidateRecord, attrgetter("charger_id")),
    CertificateRecord: (CertificateRecord, attrgetter("serial")),
    CommandRecord: (CommandRecord, attrgetter("command_id")),
    ChargerRecord: (ChargerRecord, attrgetter("charger_id")),
    ChargerRemoved: (ChargerRecord, attrgetter("charger_id")),
    CredentialRecord: (CredentialRecord, attrgetter("charger_id")),
    FeederRecord: (FeederRecord, attrgetter("feeder_id")),
    FeederRemoved: (FeederRecord, attrgetter("feeder_id")),
    GridEventRecord: (GridEventRecord, attrgetter("event_id")),
    MonitorRecord: (MonitorRecord, attrgetter("charger_id", "monitor_id")),
    MonitorRemoved: (MonitorRecord, attrgetter("charger_id", "monitor_id")),
    MonitorsReplaced: (MonitorsReplaced, attrgetter("charger_id")),
    ReservationRecord: (ReservationRecord, attrgetter("reservation_id")),
    SessionRecord: (SessionRecord, attrgetter("session_id")),
    SigningRecord: (SigningRecord, attrgetter("request_id")),
    SiteRecord: (SiteRecord, attrgetter("site_id")),
    SiteRemoved: (SiteRecord, attrgetter("site_id")),
    TokenRecord: (TokenRecord, attrgetter("token_key")),
    TokenRemoved: (TokenRecord, attrgetter("token_key")),
    VariableRecord: (VariableRecord, attrgetter("charger_id", "key", "attribute")),
    VariableValue: (VariableRecord, attrgetter("charger_id", "key", "attribute")),
    VariablesReplaced: (VariablesReplaced, attrgetter("charger_id")),
}
"""The kind of row that each kind of record replaces, and what that is known by."""


def replaced_by(record: Record) -> tuple[type[Record], object]:
    """The kind of row that `record` replaces, and its key."""
    found = _KEYS.get(type(record))
    if found is None:
        raise TypeError(f"no table for {type(record).__name__}")
    kind, key = found
    return kind, key(record)


_REMOVALS = (
    CandidateRemoved,
    ChargerRemoved,
    FeederRemoved,
    MonitorRemoved,
    MonitorsReplaced,
    SiteRemoved,
    TokenRemoved,
    VariablesReplaced,
)


def with_value(held: Record | None, record: Record) -> Record:
    """The record to write: a mere value does not take away what the same batch says besides."""
    if isinstance(record, VariableValue) and isinstance(held, VariableRecord):
        return msgspec.structs.replace(held, value=record.value, reported_ms=record.reported_ms)
    return record


def _snapshot_row(record: ActorSnapshot) -> Row:
    return {"kind": record.ref.kind, "id": record.ref.id, "state": record.state}


def _quarantine_row(record: QuarantineRecord) -> Row:
    return msgspec.structs.asdict(record) | {"payload": msgspec.json.encode(record.payload)}


def _result_row(result: RequestResult) -> Row:
    return {
        "request_id": result.request_id,
        "actor_kind": result.ref.kind,
        "actor_id": result.ref.id,
        "fingerprint": result.fingerprint,
        "response": result.response,
        "created_ms": result.created_ms,
    }


def _named(prefix: str) -> Callable[[msgspec.Struct], Row]:
    """A record's fields as parameters whose names are no columns'."""

    def row(record: msgspec.Struct) -> Row:
        fields = msgspec.structs.asdict(record)
        return {f"{prefix}_{name}": value for name, value in fields.items()}

    return row


_ROWS: Mapping[type, Callable[[Any], Row]] = {
    ActorSnapshot: _snapshot_row,
    QuarantineRecord: _quarantine_row,
    RequestResult: _result_row,
    **dict.fromkeys((QuarantineResolved, QuarantineCleared), _named("resolved")),
    **dict.fromkeys(_REMOVALS, _named("removed")),
}
"""How a record becomes a row, where its fields are not the columns."""
