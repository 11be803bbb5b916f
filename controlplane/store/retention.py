"""What is forgotten, and when: in small steps, so that no commit waits long for one.

Invariant: only what is older than its kind's time is removed, a session only once it has ended, and
the journal says up to where it was pruned, so that a reader with an older cursor is told."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final, Self

import msgspec
from sqlalchemy import Column, Connection, Table, delete, func, select, update

from controlplane.config import Settings
from controlplane.store import schema
from controlplane.store.records import SessionState
from controlplane.store.samples import DAY_MS, drop_day, sample_days

__all__ = ["Retained", "Retention", "prune_step"]

_ROWS_PER_STEP: Final = 1_000
"""Measured on SQLite: a step takes 5 to 25 ms, as long as a large commit."""


class Retained(StrEnum):
    """The kinds that are kept for a time."""

    SAMPLES = "samples"
    """Meter samples, by the day in which they were received."""
    DECISIONS = "decisions"
    """Limits and why they were given (`loadstar why`)."""
    JOURNAL = "journal"
    SECURITY_EVENTS = "security-events"
    RESULTS = "results"
    """Answers to requests that carried a request id."""
    COMMANDS = "commands"
    """Commands that ended, by their end."""
    SESSIONS = "sessions"
    """Ended sessions, by their end."""


class Retention(msgspec.Struct, frozen=True):
    """How many days each kind is kept; a kind that is not in it is kept for ever."""

    days: dict[Retained, int]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the settings say, where 0 is for ever."""
        given = {
            kind: int(getattr(settings, f"retention_{kind.replace('-', '_')}_days"))
            for kind in Retained
        }
        return cls({kind: days for kind, days in given.items() if days})

    def before_ms(self, kind: Retained, now_ms: int) -> int | None:
        """What is older than this goes; None where nothing does."""
        days = self.days.get(kind)
        return None if days is None else now_ms - days * DAY_MS


def prune_step(connection: Connection, kind: Retained, before_ms: int) -> int:
    """Remove a little of what is older than `before_ms`: up to a thousand rows, or the samples of a
    day. Returns how many; 0 where nothing is left to remove."""
    return _STEPS[kind](connection, before_ms)


def _samples(connection: Connection, before_ms: int) -> int:
    days = sample_days(connection, until_ms=before_ms)
    if not days or (days[0] + 1) * DAY_MS > before_ms:
        return 0
    if connection.dialect.name == "postgresql":
        # To take a partition away stops all who use the others: rather another time than long.
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
    drop_day(connection, days[0])
    return 1


def _journal(connection: Connection, before_ms: int) -> int:
    columns = schema.journal.c
    removed, last = _oldest(connection, schema.journal, columns.cursor, columns.at_ms, before_ms)
    if last is not None:
        head = schema.journal_head
        connection.execute(update(head).values(pruned_cursor=last))
    return removed


def _decisions(connection: Connection, before_ms: int) -> int:
    columns = schema.limit_decision.c
    return _oldest(
        connection, schema.limit_decision, columns.decision_id, columns.at_ms, before_ms
    )[0]


def _security_events(connection: Connection, before_ms: int) -> int:
    columns = schema.security_event.c
    return _oldest(
        connection, schema.security_event, columns.event_id, columns.received_ms, before_ms
    )[0]


def _oldest(
    connection: Connection, table: Table, key: Column[int], instant: Column[int], before_ms: int
) -> tuple[int, int | None]:
    """Remove from the beginning of a table that grows in the order of `key`; returns how many and
    up to which. Needs no index on `instant`: a row whose clock was ahead goes with its elders."""
    first = select(key, instant).order_by(key).limit(_ROWS_PER_STEP).subquery()
    query = select(func.max(first.c[key.name])).where(first.c[instant.name] < before_ms)
    last: int | None = connection.execute(query).scalar_one()
    if last is None:
        return 0, None
    return connection.execute(delete(table).where(key <= last)).rowcount, last


def _results(connection: Connection, before_ms: int) -> int:
    columns = schema.request_result.c
    old = select(columns.request_id).where(columns.created_ms < before_ms).limit(_ROWS_PER_STEP)
    found = [row.request_id for row in connection.execute(old)]
    return _removed(connection, schema.request_result, columns.request_id, found)


def _commands(connection: Connection, before_ms: int) -> int:
    columns = schema.command.c
    old = (
        select(columns.command_id)
        .where(columns.created_ms < before_ms, columns.ended_ms < before_ms)
        .order_by(columns.created_ms)
        .limit(_ROWS_PER_STEP)
    )
    found = [row.command_id for row in connection.execute(old)]
    return _removed(connection, schema.command, columns.command_id, found)


def _sessions(connection: Connection, before_ms: int) -> int:
    columns = schema.session.c
    old = (
        select(columns.session_id)
        .where(
            columns.state == SessionState.ENDED,
            columns.started_ms < before_ms,
            func.coalesce(columns.ended_received_ms, columns.ended_ms) < before_ms,
        )
        .order_by(columns.started_ms)
        .limit(_ROWS_PER_STEP)
    )
    found = [row.session_id for row in connection.execute(old)]
    return _removed(connection, schema.session, columns.session_id, found)


def _removed(connection: Connection, table: Table, key: Column[str], ids: list[str]) -> int:
    if ids:
        connection.execute(delete(table).where(key.in_(ids)))
    return len(ids)


_STEPS: Final[dict[Retained, Callable[[Connection, int], int]]] = {
    Retained.SAMPLES: _samples,
    Retained.DECISIONS: _decisions,
    Retained.JOURNAL: _journal,
    Retained.SECURITY_EVENTS: _security_events,
    Retained.RESULTS: _results,
    Retained.COMMANDS: _commands,
    Retained.SESSIONS: _sessions,
}
