"""May this charger connect, how does it prove itself, and which site holds it: the store's
directory, cached in the gateway.

Hosts say when an entry changed; without word an entry is believed for a minute, a missing one for a
few seconds. Passwords are checked against their Argon2 hash on a thread, because that is slow on
purpose; a password that was right is remembered as a keyed hash."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from controlplane.errors import Exhausted
from controlplane.ids import ChargerId
from controlplane.store.reader import StoreReader
from controlplane.store.records import ChargerRecord

__all__ = ["Directory", "Passwords"]

_ENTRIES_MAX = 200_000
_KNOWN_S = 60.0
_UNKNOWN_S = 2.0
_CHECKS_WAITING_MAX = 200
_CHECK_THREADS = 2


class Directory:
    """Bounded; the entry unused for longest goes first."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._entries: OrderedDict[str, tuple[float, ChargerRecord | None]] = OrderedDict()

    async def find(self, charger_id: ChargerId) -> ChargerRecord | None:
        """The entry, or None for a charger that nobody described.

        Raises:
            Unavailable: not cached, and the store is away.
        """
        cached = self._entries.get(charger_id)
        if cached is not None and cached[0] > self._loop.time():
            self._entries.move_to_end(charger_id)
            return cached[1]
        record = await self._reader.charger(charger_id)
        lasts_s = _UNKNOWN_S if record is None else _KNOWN_S
        self._entries[charger_id] = (self._loop.time() + lasts_s, record)
        if len(self._entries) > _ENTRIES_MAX:
            self._entries.popitem(last=False)
        return record

    def forget(self, charger_id: ChargerId) -> None:
        """The store says something new of it."""
        self._entries.pop(charger_id, None)


class Passwords:
    """HTTP Basic passwords of OCPP security profiles 1 and 2."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()
        self._threads = ThreadPoolExecutor(_CHECK_THREADS, thread_name_prefix="argon2")
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._waiting = 0

    async def right(self, password_hash: str, password: str) -> bool:
        """Whether `password` is the one that was hashed.

        Raises:
            Exhausted: too many chargers wait for their check; try again.
        """
        known = hashlib.blake2b(
            f"{password_hash}\0{password}".encode(), key=self._key, digest_size=32
        ).digest()
        if known in self._right:
            self._right.move_to_end(known)
            return True
        if self._waiting >= _CHECKS_WAITING_MAX:
            raise Exhausted("too many handshakes at once", reason="HANDSHAKES_WAITING")
        self._waiting += 1
        try:
            verified = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._verify, password_hash, password
            )
        finally:
            self._waiting -= 1
        if verified:
            self._right[known] = None
            if len(self._right) > _ENTRIES_MAX:
                self._right.popitem(last=False)
        return verified

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False
