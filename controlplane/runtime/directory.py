"""May this charger connect, how does it prove itself, and which site holds it: the store's
directory, cached in gateways and in those who ask actors.

Hosts say when an entry changed; without word an entry is believed for a minute, a missing one for a
few seconds."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple

from controlplane.ids import ChargerId, SiteId
from controlplane.store.reader import StoreReader
from controlplane.store.records import ChargerRecord, CredentialRecord

__all__ = ["Directory", "Entry"]

_ENTRIES_MAX = 200_000
_KNOWN_S = 60.0
_UNKNOWN_S = 2.0


class Entry(NamedTuple):
    """A described charger."""

    record: ChargerRecord
    credential: CredentialRecord | None

    @property
    def site_id(self) -> SiteId:
        return self.record.site_id

    @property
    def profile_reached(self) -> int:
        """The highest security profile at which it ever connected."""
        return 0 if self.credential is None else self.credential.security_profile

    @property
    def password_hashes(self) -> tuple[tuple[str, bool], ...]:
        """Of the passwords that are right, each with whether it is one that was sent and not used
        yet. A description that was changed goes before what was made up in the place of the old
        one."""
        described = self.record.password_hash
        given = self.credential
        if given is None or given.described_hash != described:
            return () if described is None else ((described, False),)
        settled = given.password_hash or described
        sent = f"{given.spare_hash or ''} {given.pending_hash or ''}".split()
        return (*(() if settled is None else ((settled, False),)), *((each, True) for each in sent))


class Directory:
    """Bounded; the entry unused for longest goes first."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._entries: OrderedDict[str, tuple[float, Entry | None]] = OrderedDict()
        self._news = 0
        """How often the store said something new."""

    async def find(self, charger_id: ChargerId) -> Entry | None:
        """The entry, or None for a charger that nobody described.

        Raises:
            Unavailable: not cached, and the store is away.
        """
        cached = self._entries.get(charger_id)
        if cached is not None and cached[0] > self._loop.time():
            self._entries.move_to_end(charger_id)
            return cached[1]
        news = self._news
        found = await self._reader.admission(charger_id)
        entry = None if found is None else Entry(*found)
        if news != self._news:
            # What was read may be from before the news; it is good for this once.
            return entry
        lasts_s = _UNKNOWN_S if entry is None else _KNOWN_S
        self._entries[charger_id] = (self._loop.time() + lasts_s, entry)
        if len(self._entries) > _ENTRIES_MAX:
            self._entries.popitem(last=False)
        return entry

    async def revoked(self, serial: str) -> bool:
        """Whether the local authority revoked the certificate.

        Raises:
            Unavailable: the store is away.
        """
        record = await self._reader.certificate(serial)
        return record is not None and record.revoked_ms is not None

    def forget(self, charger_id: ChargerId) -> None:
        """The store says something new of it."""
        self._news += 1
        self._entries.pop(charger_id, None)

    def forget_all(self) -> None:
        """The store may say something new of anybody."""
        self._news += 1
        self._entries.clear()
