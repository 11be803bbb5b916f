"""A bound on every transaction with a server that may fall silent.

A PostgreSQL that is frozen, or behind a cable that was pulled, answers nothing and closes nothing,
and its driver would wait for ever. Invariant: a transaction that lasts longer than its engine's
patience fails as one whose connection was lost, because its connections are shut down here; whether
it was committed is then unknown, as with any lost connection."""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, event

__all__ = ["Patience", "patient"]

_LOOK_INTERVAL_S: Final = 0.2

_all: weakref.WeakSet[Patience] = weakref.WeakSet()
_of_engine: weakref.WeakKeyDictionary[Engine, Patience] = weakref.WeakKeyDictionary()
_started = threading.Lock()
_watching: list[threading.Thread] = []


class Patience:
    """How long the transactions of an engine may last, and its connections.

    Args:
        timeout_s: from before a connection is had to the end of the commit.
    """

    def __init__(self, engine: Engine, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._until_s: dict[int, float] = {}
        event.listen(engine, "connect", self._connected)
        _of_engine[engine] = self
        _all.add(self)
        _watch()

    def _connected(self, connection: Any, _record: object) -> None:
        self._connections.add(connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        thread = threading.get_ident()
        self._until_s[thread] = time.monotonic() + self._timeout_s
        try:
            yield
        finally:
            self._until_s.pop(thread, None)

    @property
    def over(self) -> bool:
        """Whether a transaction has lasted too long."""
        now_s = time.monotonic()
        return any(until_s < now_s for until_s in list(self._until_s.values()))

    def shut_down(self) -> None:
        """Fail what waits for an answer now, and let every other transaction connect anew."""
        for connection in list(self._connections):
            try:
                with socket.socket(fileno=os.dup(connection.pgconn.socket)) as shut:
                    shut.shutdown(socket.SHUT_RDWR)
            except (psycopg.Error, OSError):
                continue  # closed already


@contextmanager
def patient(engine: Engine) -> Iterator[None]:
    """Bounds what runs inside, where the engine has a bound."""
    patience = _of_engine.get(engine)
    if patience is None:
        yield
        return
    with patience.transaction():
        yield


def _watch() -> None:
    """One thread looks after all engines of a process."""
    with _started:
        if not _watching:
            thread = threading.Thread(target=_look_forever, name="database-patience", daemon=True)
            _watching.append(thread)
            thread.start()


def _look_forever() -> None:
    while True:
        time.sleep(_LOOK_INTERVAL_S)
        for patience in list(_all):
            if patience.over:
                patience.shut_down()
