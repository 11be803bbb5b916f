"""Reads what actors wrote: for the API, for gateways that look a charger up, for hosts that bring
actors back.

Reads run on threads of their own with connections of their own and never wait for a writer (WAL on
SQLite, MVCC on PostgreSQL). What there is to read is in `reads/`, by what it is about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection

from controlplane.store.engine import connected, open_engine
from controlplane.store.reads.actors import ActorReads
from controlplane.store.reads.chargers import ChargerReads
from controlplane.store.reads.commands import CommandReads
from controlplane.store.reads.drivers import DriverReads
from controlplane.store.reads.journal import JournalReads
from controlplane.store.reads.network import NetworkReads, StoreCounts
from controlplane.store.reads.pages import PAGE_SIZE_MAX, Result
from controlplane.store.reads.quarantine import QuarantineReads
from controlplane.store.reads.security import SecurityReads
from controlplane.store.reads.sessions import SessionReads

__all__ = ["PAGE_SIZE_MAX", "StoreCounts", "StoreReader"]

_THREADS = 4
_TIMEOUT_S = 10.0


class StoreReader(
    ActorReads,
    ChargerReads,
    CommandReads,
    DriverReads,
    JournalReads,
    NetworkReads,
    QuarantineReads,
    SecurityReads,
    SessionReads,
):
    """Typed, paged reads. Every method raises `Unavailable` where the database is away."""

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url, writer=False, timeout_s=_TIMEOUT_S)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store-reader")

    async def read(self, read: Callable[[Connection], Result]) -> Result:
        """See `reads.pages.Reads.read`."""

        def in_thread() -> Result:
            with connected(self._engine) as connection:
                return read(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, in_thread)

    def abandon(self) -> None:
        """`close`, without waiting for a read that is under way."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    def close(self) -> None:
        """End the threads and the connections."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._engine.dispose()
