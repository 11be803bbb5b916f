"""`loadstar bench database`: what storing and finding meter samples costs, with days behind them.

The days are made by the database itself; then samples are committed as a host commits them, and
read as the API reads them, once with no days behind and once with all of them. On PostgreSQL the
server is one of its own, durable as a real one."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from sqlalchemy import Connection, insert, text

from controlplane.ids import ChargerId, SessionId
from controlplane.sim.postgresql import PostgresqlServer
from controlplane.store import schema
from controlplane.store.commit import CommitBatch, StoreWriter
from controlplane.store.engine import connected, migrate, open_engine
from controlplane.store.records import MeterSample, SessionState
from controlplane.store.retention import Retained
from controlplane.store.samples import DAY_MS, make_day, sample_table, samples_of_sessions
from controlplane.store.status import database_status

__all__ = ["run"]

_FIRST_DAY: Final = 20_000
_PER_SESSION: Final = 480
"""Four hours, a sample every thirty seconds."""
_COMMITS: Final = 300
_PER_COMMIT: Final = 300
_RUNNING: Final = 1_000
_READS: Final = 100


def run(*, dialect: str, days: int, per_day: int) -> dict[str, Any]:
    """
    Args:
        dialect: `sqlite` or `postgresql`.
        days: how many days of samples lie behind.
        per_day: samples of each.
    """
    with _database(dialect) as url:
        migrate(url)
        empty = _costs(url, day=_FIRST_DAY - 2, behind=None)
        started_s = time.monotonic()
        _fill(url, days, per_day)
        filled_s = time.monotonic() - started_s
        full = _costs(url, day=_FIRST_DAY + days, behind=(days, per_day))
        status = database_status(url)
        return {
            "dialect": dialect,
            "days": days,
            "rows": days * per_day,
            "filled_s": round(filled_s, 1),
            "size_mb": round(status.size_bytes / 1e6, 1),
            "empty": empty,
            "full": full,
            **_pruned(url, (_FIRST_DAY + 1) * DAY_MS),
        }


@contextmanager
def _database(dialect: str) -> Iterator[str]:
    if dialect == "postgresql":
        with PostgresqlServer(durable=True) as server:
            yield server.create("bench")
        return
    with tempfile.TemporaryDirectory(prefix="loadstar-bench-") as folder:
        yield f"sqlite:///{Path(folder) / 'loadstar.db'}"


def _costs(url: str, *, day: int, behind: tuple[int, int] | None) -> dict[str, float]:
    """Commits of samples of running sessions, and reads of sessions; times are medians."""
    writer = StoreWriter(open_engine(url, writer=True))
    times_ms, cpu_s = [], time.process_time()
    for commit in range(_COMMITS):
        batch = CommitBatch(epochs={1: 0}, records=[*_samples(day, commit)])
        started_s = time.monotonic()
        writer.commit(batch)
        times_ms.append((time.monotonic() - started_s) * 1_000)
    cpu_s = time.process_time() - cpu_s
    writer.close()
    costs = {
        "commit_ms": round(median(times_ms), 2),
        "client_cpu_us_per_sample": round(cpu_s / _COMMITS / _PER_COMMIT * 1e6, 2),
    }
    engine = open_engine(url, writer=False)
    with connected(engine) as connection:
        running = [_running(number) for number in range(_READS)]
        costs["newest_of_running_ms"] = _read_ms(connection, running, 3)
        if behind is not None:
            ended = [_ended(number, *behind) for number in range(_READS)]
            costs["whole_ended_session_ms"] = _read_ms(connection, ended, 1_000)
    engine.dispose()
    return costs


def _read_ms(connection: Connection, sessions: list[SessionId], each: int) -> float:
    def read(session: SessionId) -> None:
        if not samples_of_sessions(connection, [session], each)[session]:
            raise AssertionError(f"{session} has no samples")

    return round(median(_timed_ms(lambda s=session: read(s)) for session in sessions), 3)  # type: ignore[misc]


def _timed_ms(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return (time.perf_counter() - started_s) * 1_000


def _samples(day: int, commit: int) -> Iterator[MeterSample]:
    for number in range(_PER_COMMIT):
        sent = commit * _PER_COMMIT + number
        at_ms = day * DAY_MS + sent * 100
        yield MeterSample(
            ChargerId(f"CP{sent % _RUNNING}"), 1, _running(sent % _RUNNING), at_ms, at_ms,
            energy_wh=sent, power_w=11_000, current_l1_ma=16_000, current_l2_ma=16_000,
            current_l3_ma=16_000,
        )  # fmt: skip


def _running(number: int) -> SessionId:
    return SessionId(f"running-{number}")


def _ended(number: int, days: int, per_day: int) -> SessionId:
    """One of those of `_fill`, spread over its days."""
    sessions = max(per_day // _PER_SESSION, 1)
    return SessionId(f"{_FIRST_DAY + number * 7 % days}-{number * 31 % sessions}")


def _fill(url: str, days: int, per_day: int) -> None:
    engine = open_engine(url, writer=True)
    sessions = max(per_day // _PER_SESSION, 1)
    with connected(engine) as connection:
        connection.execute(
            insert(schema.session),
            [
                {"session_id": str(_running(number)), "started_received_ms": _FIRST_DAY * DAY_MS}
                | _session(_FIRST_DAY * DAY_MS)
                for number in range(_RUNNING)
            ],
        )
    for day in range(_FIRST_DAY, _FIRST_DAY + days):
        begin_ms = day * DAY_MS
        with connected(engine) as connection:
            make_day(connection, day)
            connection.execute(text(_generated(engine.dialect.name, day, per_day, sessions)))
            connection.execute(
                insert(schema.session),
                [
                    {
                        "session_id": f"{day}-{number}",
                        "started_received_ms": begin_ms,
                        "ended_received_ms": begin_ms + DAY_MS - 1,
                    }
                    | _session(begin_ms)
                    for number in range(sessions)
                ],
            )
    engine.dispose()


def _session(started_ms: int) -> dict[str, Any]:
    return {
        "charger_id": "CP1",
        "connector_id": 1,
        "transaction_id": "1",
        "state": SessionState.ENDED,
        "started_ms": started_ms,
        "energy_wh": 0,
    }


def _generated(dialect: str, day: int, per_day: int, sessions: int) -> str:
    """The statement that makes a day's samples, those of its sessions in turns."""
    numbers = (
        f"generate_series(0, {per_day - 1}) AS numbers(n)"
        if dialect == "postgresql"
        else f"(WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers"
        f" WHERE n < {per_day - 1}) SELECT n FROM numbers)"
    )
    at_ms = f"{day * DAY_MS} + CAST(n AS BIGINT) * {DAY_MS} / {per_day}"
    return (
        f"INSERT INTO {sample_table(day).name} (charger_id, connector_id, session_id, at_ms,"
        " received_ms, energy_wh, power_w, current_l1_ma, current_l2_ma, current_l3_ma)"
        f" SELECT 'CP' || CAST(n % {sessions} AS TEXT), 1,"
        f" '{day}-' || CAST(n % {sessions} AS TEXT), {at_ms}, {at_ms}, n, 11000, 16000, 16000,"
        f" 16000 FROM {numbers}"
    )


def _pruned(url: str, before_ms: int) -> dict[str, float]:
    """What it takes to forget the first day."""
    writer = StoreWriter(open_engine(url, writer=True))
    writer.prune(Retained.SAMPLES, before_ms - DAY_MS)
    prune_ms = _timed_ms(lambda: writer.prune(Retained.SAMPLES, before_ms))
    writer.close()
    return {"prune_day_ms": round(prune_ms, 1)}
