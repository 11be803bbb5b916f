"""The group commit: one transaction for what many actors wrote in the last few milliseconds.

Invariant: a batch is committed whole, by the owner of every shard it touches, or not at all. The
epoch of each shard is checked inside the transaction, on locked rows, so a host that lost a shard
can no longer write. Journal cursors are taken last, under the lock of one row, and so grow in the
order in which commits become visible: a reader by cursor skips nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Table, and_, bindparam, delete, insert, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.sql.base import Executable

from controlplane.errors import Fenced, Unavailable
from controlplane.ids import ActorRef, ChargerId
from controlplane.store import schema
from controlplane.store.engine import connected
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
    MeterSample,
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
from controlplane.store.retention import Retained, prune_step
from controlplane.store.samples import SampleWriter

__all__ = ["CommitBatch", "JournalLine", "RequestResult", "StoreWriter", "check_epochs"]

Rows = list[dict[str, Any]]

_QUARANTINED_MAX = 4_000
_LISTED = (
    LimitDecision | QuarantineRecord | QuarantineResolved | QuarantineCleared | SecurityEventRecord
)
"""Kinds that are appended, or change what was: none replaces another."""


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


class CommitBatch(msgspec.Struct):
    """What one transaction writes. `epochs` holds, for every shard that some part of it belongs to,
    the epoch under which this host owns it."""

    epochs: dict[int, int] = {}
    records: list[Record] = []
    events: list[JournalLine] = []
    results: list[RequestResult] = []


class _Unstorable(Exception):
    """The database is there and well, but cannot hold a value."""


class StoreWriter:
    """Writes batches; used by one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locking = " FOR SHARE" if engine.dialect.name == "postgresql" else ""
        self._writes = _writes(engine.dialect.name)
        self._samples = SampleWriter(engine.dialect)

    def commit(self, batch: CommitBatch) -> int:
        """Write `batch`; returns the cursor of its first event (the following ones count up), or 0
        where it has none. A record that the database cannot hold (a number or a character out of
        its range) must not keep the others from being stored: it goes to the quarantine.

        Raises:
            Fenced: another host owns a shard of the batch; nothing was written.
            Unavailable: the database is away; whether it was written is unknown.
        """
        try:
            return self._commit(batch, self._write_records)
        except _Unstorable:
            return self._commit(batch, self._write_one_by_one)
        except Unavailable:
            self._samples.forget()
            raise

    def _commit(self, batch: CommitBatch, write: Callable[[Connection, list[Record]], None]) -> int:
        with connected(self._engine) as connection:
            self._check_epochs(connection, batch.epochs)
            write(connection, batch.records)
            if batch.results:
                connection.execute(
                    self._writes[RequestResult], [_result_row(result) for result in batch.results]
                )
            return self._append_events(connection, batch.events) if batch.events else 0

    def prune(self, kind: Retained, before_ms: int) -> int:
        """One step of forgetting what is older than `before_ms` (`retention.py`); 0 at the end.

        Raises:
            Unavailable: the database is away.
        """
        with connected(self._engine) as connection:
            return prune_step(connection, kind, before_ms)

    def settle(self, shards: Collection[int]) -> None:
        """Wait until nothing that was sent for these shards can be committed any more: a commit
        whose answer was lost holds the lock of its epochs until it has happened or failed. Call
        before what it wrote is read.

        Raises:
            Unavailable: the database is away.
        """
        if self._locking and shards:
            with connected(self._engine) as connection:
                connection.exec_driver_sql(
                    f"SELECT shard FROM shard_owner WHERE shard IN ({_listed(shards)})"
                    " ORDER BY shard FOR UPDATE"
                )

    def close(self) -> None:
        self._engine.dispose()

    def _check_epochs(self, connection: Connection, epochs: dict[int, int]) -> None:
        if not epochs:
            return
        rows = connection.exec_driver_sql(
            f"SELECT shard, epoch FROM shard_owner WHERE shard IN ({_listed(epochs)})"
            " ORDER BY shard" + self._locking
        ).all()
        check_epochs(epochs, {row.shard: row.epoch for row in rows})

    def _write_one_by_one(self, connection: Connection, records: list[Record]) -> None:
        for record in records:
            try:
                with connection.begin_nested():
                    self._write_records(connection, [record])
            except _Unstorable as error:
                self._write_records(connection, [_quarantined(record, error)])

    def _write_records(self, connection: Connection, records: list[Record]) -> None:
        """Raises _Unstorable."""
        try:
            self._execute(connection, records)
        except (OverflowError, DataError, IntegrityError) as error:
            raise _Unstorable(str(error)) from error

    def _execute(self, connection: Connection, records: list[Record]) -> None:
        rows: dict[type, Any] = {}
        samples: list[MeterSample] = []
        for record in records:
            if isinstance(record, MeterSample):
                samples.append(record)
            elif isinstance(record, _LISTED):
                rows.setdefault(type(record), []).append(_row(record))
            else:
                # The last word on a key is the one that counts.
                table, key = _upserted(record)
                of_table = rows.setdefault(table, {})
                of_table[key] = _with_value(of_table.get(key), record)
        if samples:
            self._samples.write(connection, samples)
        for decision in (QuarantineCleared, QuarantineResolved):
            # What changes an entry comes after the entry.
            if decision in rows:
                rows[decision] = rows.pop(decision)
        for kind, found in rows.items():
            if isinstance(found, list):
                connection.execute(self._writes[kind], found)
                continue
            by_statement: dict[type, Rows] = {}
            for record in found.values():
                by_statement.setdefault(type(record), []).append(_row(record))
            for statement, replaced in by_statement.items():
                connection.execute(self._writes[statement], replaced)

    def _append_events(self, connection: Connection, events: list[JournalLine]) -> int:
        head = connection.execute(
            update(schema.journal_head)
            .values(cursor=schema.journal_head.c.cursor + len(events))
            .returning(schema.journal_head.c.cursor)
        ).scalar_one()
        first = int(head) - len(events) + 1
        connection.execute(
            self._writes[JournalLine],
            [
                {
                    "cursor": first + offset,
                    "at_ms": line.at_ms,
                    "kind": line.kind,
                    "actor_kind": line.actor.kind,
                    "actor_id": line.actor.id,
                    "data": msgspec.json.encode(line.data),
                }
                for offset, line in enumerate(events)
            ],
        )
        return first


_SILENT_MS = 5_000


def _let_go_when_silent(connection: Any, _record: Any) -> None:
    """A writer that is frozen or cut off within a transaction must not keep its shards locked:
    nobody could claim them."""
    connection.execute(f"SET idle_in_transaction_session_timeout = {_SILENT_MS}")
    connection.commit()


def _listed(shards: Iterable[int]) -> str:
    # Written out rather than bound: the number differs from batch to batch, and integers need no
    # quoting. Locked in one order, so that writers cannot block each other.
    return ",".join(map(str, sorted(shards)))


def check_epochs(held: Mapping[int, int], stored: Mapping[int, int]) -> None:
    """The fence: compares the epochs under which a batch was stepped with those of the owner rows,
    which the transaction must have locked: a claim waits for its end then, or comes first.

    Raises:
        Fenced: a shard was claimed since.
    """
    for shard, epoch in held.items():
        if stored.get(shard) != epoch:
            raise Fenced(
                f"shard {shard} is owned under epoch {stored.get(shard)}, not {epoch}",
                reason="SHARD_LOST",
                metadata={"shard": str(shard)},
            )


def _writes(dialect: str) -> dict[type, Executable]:
    """One statement per kind of row."""
    dialect_insert: Callable[[Table], Any] = (
        postgresql.insert if dialect == "postgresql" else sqlite.insert
    )

    def upsert(table: Table) -> Executable:
        statement = dialect_insert(table)
        keys = [column.name for column in table.primary_key]
        statement = statement.on_conflict_do_update(
            index_elements=keys,
            set_={
                column.name: statement.excluded[column.name]
                for column in table.columns
                if column.name not in keys
            },
        )
        return statement  # type: ignore[no-any-return]

    def removal(table: Table) -> Executable:
        keys = table.primary_key
        return delete(table).where(and_(*(key == bindparam(f"removed_{key.name}") for key in keys)))

    def replaced(table: Table) -> Executable:
        return delete(table).where(
            table.c.charger_id == bindparam("removed_charger_id"),
            table.c.reported_ms < bindparam("removed_before_ms"),
        )

    def value_only(table: Table) -> Executable:
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
        CertificateRecord: upsert(schema.certificate),
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


def _resolution() -> Executable:
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


def _clearance() -> Executable:
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


def _upserted(record: Record) -> tuple[type[Record], object]:
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


def _with_value(held: Record | None, record: Record) -> Record:
    """The record to write: a mere value does not take away what the same batch says besides."""
    if isinstance(record, VariableValue) and isinstance(held, VariableRecord):
        return msgspec.structs.replace(held, value=record.value, reported_ms=record.reported_ms)
    return record


def _row(record: Record) -> dict[str, Any]:
    if isinstance(record, ActorSnapshot):
        return {"kind": record.ref.kind, "id": record.ref.id, "state": record.state}
    row = msgspec.structs.asdict(record)
    if isinstance(record, QuarantineRecord):
        return row | {"payload": msgspec.json.encode(record.payload)}
    if isinstance(record, _REMOVALS):
        return {f"removed_{name}": value for name, value in row.items()}
    if isinstance(record, QuarantineResolved | QuarantineCleared):
        return {f"resolved_{name}": value for name, value in row.items()}
    return row


def _quarantined(record: Record, error: _Unstorable) -> QuarantineRecord:
    return QuarantineRecord(
        charger_id=getattr(record, "charger_id", ChargerId("")),
        at_ms=time.time_ns() // 1_000_000,
        reason="UNSTORABLE",
        action=type(record).__name__,
        payload={"record": repr(record)[:_QUARANTINED_MAX], "error": str(error)[:1_000]},
    )


def _result_row(result: RequestResult) -> dict[str, Any]:
    return {
        "request_id": result.request_id,
        "actor_kind": result.ref.kind,
        "actor_id": result.ref.id,
        "fingerprint": result.fingerprint,
        "response": result.response,
        "created_ms": result.created_ms,
    }
