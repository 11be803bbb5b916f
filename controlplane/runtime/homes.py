"""Where chargers live that a host has not got, or may have no more.

A charger lives where its site does, and the store knows where that is. Invariant: an actor whose
charger has moved to a site of another host is stepped here no more once this host has heard of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Container

from controlplane.errors import Unavailable
from controlplane.ids import SHARDS, ActorKind, ActorRef, ChargerId, shard_of
from controlplane.runtime.mailbox import Mailbox
from controlplane.runtime.residents import Resident, Residents
from controlplane.runtime.telemetry import log
from controlplane.store.reader import StoreReader

__all__ = ["Homes"]


class Homes:
    """The directory as one host needs it.

    Args:
        evict: takes out actors that live elsewhere.
    """

    def __init__(
        self,
        reader: StoreReader,
        residents: Residents,
        mailbox: Mailbox,
        evict: Callable[[set[Resident]], None],
    ) -> None:
        self._reader = reader
        self._residents = residents
        self._mailbox = mailbox
        self._evict = evict
        self._loop = asyncio.get_running_loop()
        self._evicting: set[asyncio.Task[None]] = set()

    @property
    def all_here(self) -> bool:
        """Whether this host serves everybody."""
        return len(self._mailbox.epochs) == SHARDS

    async def shards(self, charger_ids: Collection[ChargerId]) -> dict[str, int]:
        """The shard of each.

        Raises:
            Unavailable: the store is away.
        """
        sites = await self._reader.sites_of(charger_ids)
        return {
            charger_id: shard_of(ActorKind.CHARGER, charger_id, site_id=sites.get(charger_id))
            for charger_id in charger_ids
        }

    def check(self, charger_ids: Collection[ChargerId]) -> None:
        """The directory's word on these chargers is new: those that live elsewhere now must not be
        stepped here."""
        here = [charger_id for charger_id in charger_ids if self._resident(charger_id) is not None]
        if here and not self.all_here:
            task = self._loop.create_task(self._evict_moved(here))
            self._evicting.add(task)
            task.add_done_callback(self._evicting.discard)

    def close(self) -> None:
        for task in self._evicting:
            task.cancel()

    def _resident(self, charger_id: str) -> Resident | None:
        return self._residents.get(ActorRef(ActorKind.CHARGER, charger_id))

    async def _evict_moved(self, charger_ids: Collection[ChargerId]) -> None:
        try:
            shards = await self.shards(charger_ids)
        except Unavailable as error:
            log.warning("homes_not_checked", chargers=len(charger_ids), error=str(error))
            return
        served: Container[int] = self._mailbox.epochs
        moved = (self._resident(each) for each, shard in shards.items() if shard not in served)
        self._evict({resident for resident in moved if resident is not None})
