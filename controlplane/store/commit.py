"""The group commit: one transaction for what many actors wrote in the last few milliseconds.

Invariant: a batch is committed whole, by the owner of every shard it touches, or not at all. The
epoch of each shard is checked inside the transaction, on locked rows, so a host that lost a shard
can no longer write. Journal cursors are taken last, under the lock of one row, and so grow in the
order in which commits become visible: a reader by cursor skips nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, IntegrityError

from controlplane.errors import Fenced, Unavailable
from controlplane.ids import ChargerId
from controlplane.store.engine import connected
from controlplane.store.records import (
    LimitDecision,
    MeterSample,
    QuarantineCleared,
    QuarantineRecord,
    QuarantineResolved,
    Record,
    SecurityEventRecord,
)
from controlplane.store.retention import Retained, prune_step
from controlplane.store.samples import SampleWriter
from controlplane.store.writes import JournalLine, RequestResult, Writes, replaced_by, with_value

__all__ = ["CommitBatch", "JournalLine", "RequestResult", "StoreWriter", "check_epochs"]

_QUARANTINED_MAX = 4_000
_LISTED = (
    LimitDecision | QuarantineRecord | QuarantineResolved | QuarantineCleared | SecurityEventRecord
)
"""Kinds that are appended, or change what was: none replaces another."""


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
        self._writes = Writes(engine.dialect)
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
                self._writes.write(connection, RequestResult, batch.results)
            return self._writes.append(connection, batch.events) if batch.events else 0

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
                rows.setdefault(type(record), []).append(record)
            else:
                # The last word on a key is the one that counts.
                table, key = replaced_by(record)
                of_table = rows.setdefault(table, {})
                of_table[key] = with_value(of_table.get(key), record)
        if samples:
            self._samples.write(connection, samples)
        for decision in (QuarantineCleared, QuarantineResolved):
            # What changes an entry comes after the entry.
            if decision in rows:
                rows[decision] = rows.pop(decision)
        for kind, found in rows.items():
            if isinstance(found, list):
                self._writes.write(connection, kind, found)
                continue
            by_statement: dict[type, list[Record]] = {}
            for record in found.values():
                by_statement.setdefault(type(record), []).append(record)
            for statement, replaced in by_statement.items():
                self._writes.write(connection, statement, replaced)


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


def _quarantined(record: Record, error: _Unstorable) -> QuarantineRecord:
    return QuarantineRecord(
        charger_id=getattr(record, "charger_id", ChargerId("")),
        at_ms=time.time_ns() // 1_000_000,
        reason="UNSTORABLE",
        action=type(record).__name__,
        payload={"record": repr(record)[:_QUARANTINED_MAX], "error": str(error)[:1_000]},
    )
