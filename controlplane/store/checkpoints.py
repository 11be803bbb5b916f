"""Brings what SQLite's log holds into its database file, beside the commits.

A commit that finds the log long copies it back before it returns, and everybody who waits for an
answer waits for as long as the disk takes for tens of megabytes. Here a connection and a thread of
their own do it instead. Invariant: it locks nobody out (PASSIVE), and where it does not come to it,
the writer does it after all (`engine.py`)."""

from __future__ import annotations

import threading
from typing import Final

from sqlalchemy import Engine

from controlplane.errors import Unavailable
from controlplane.store.engine import database_errors, open_engine

__all__ = ["Checkpoints"]

_INTERVAL_S: Final = 4.0
_ROUNDS_MAX: Final = 4
"""What was committed while the log was copied is copied in the next round, which has less to do:
the log begins anew only once nothing of it is left."""


class Checkpoints:
    """Of one SQLite database, until `close`. Does nothing for a server, which does it by itself."""

    def __init__(self, url: str) -> None:
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        engine = open_engine(url, writer=False)
        if engine.dialect.name != "sqlite":
            engine.dispose()
            return
        self._thread = threading.Thread(
            target=self._run, args=(engine,), name="store-checkpoints", daemon=True
        )
        self._thread.start()

    def close(self, *, wait: bool = True) -> None:
        """Bring no more back; returns, with `wait`, once nothing is under way."""
        self._end.set()
        if wait and self._thread is not None:
            self._thread.join()

    def _run(self, engine: Engine) -> None:
        try:
            while not self._end.wait(_INTERVAL_S):
                try:
                    checkpoint(engine)
                except Unavailable:
                    # The commits find the same, and say so.
                    continue
        finally:
            engine.dispose()


def checkpoint(engine: Engine) -> bool:
    """Bring back what the log holds; whether nothing of it was left at the end.

    Raises:
        Unavailable: the disk is full, or the database away.
    """
    with database_errors(), engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        for _ in range(_ROUNDS_MAX):
            _, logged, brought = driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if logged == brought:
                return True
    return False
