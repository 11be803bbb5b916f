"""A gateway's membership: the promise of the hosts to tell it who owns what before they serve.

Invariant: while `valid`, every claim that was ever followed by service is known here. A host serves
only when each member has heard of its claim, or is no member any more and its time is over; so a
gateway whose membership was not renewed in time trusts no host until it is a member again and has
read the epochs in force."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import text

from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.runtime.members import MemberKind, MemberRow
from controlplane.runtime.ownership import RENEW_AT, STOP_AT, boottime_s
from controlplane.runtime.telemetry import log
from controlplane.store.engine import connected, open_engine

__all__ = ["GatewayMember"]

_RETRY_S = 0.5

Result = TypeVar("Result")


class GatewayMember:
    """The row of one gateway.

    Args:
        entered: called with the epochs in force, each time it has become a member.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        node: str,
        *,
        entered: Callable[[Mapping[int, int]], None],
    ) -> None:
        self.running = False
        self._lease_s = settings.lease_s
        self._row = MemberRow(
            name=name,
            kind=MemberKind.GATEWAY,
            node=node,
            incarnation=name,
            lease_s=settings.lease_s,
        )
        self._entered = entered
        self._engine = open_engine(settings.database, writer=True)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="membership")
        self._stop_at_s = 0.0
        self._renewing: asyncio.Task[None] | None = None

    @property
    def valid(self) -> bool:
        """Whether hosts may be trusted: nobody can serve a shard unheard."""
        return boottime_s() < self._stop_at_s

    async def enter(self, address: str) -> None:
        """Become a member, now or as soon as the database is there, and stay one."""
        self._row.address = address
        self.running = True
        await self._renew_once()
        self._renewing = asyncio.get_running_loop().create_task(self._renew_forever())

    async def leave(self) -> None:
        """Be a member no more."""
        self.running = False
        self._stop_at_s = 0.0
        if self._renewing is not None:
            self._renewing.cancel()
        try:
            await self._in_thread(self._leave)
        except Unavailable as error:
            log.warning("membership_not_left", error=str(error))
        self._thread.shutdown(wait=True)
        self._engine.dispose()

    async def _renew_forever(self) -> None:
        while True:
            renewed = self.valid
            await asyncio.sleep(self._lease_s * RENEW_AT if renewed else _RETRY_S)
            await self._renew_once()

    async def _renew_once(self) -> None:
        started_s = boottime_s()
        try:
            if self.valid and await self._in_thread(self._renew):
                self._stop_at_s = started_s + self._lease_s * STOP_AT
                return
            self._stop_at_s = 0.0
            epochs = await self._in_thread(self._enter)
        except Unavailable as error:
            log.error("membership_not_renewed", error=str(error))
            return
        self._stop_at_s = started_s + self._lease_s * STOP_AT
        self._entered(epochs)

    def _renew(self) -> bool:
        with connected(self._engine) as connection:
            return self._row.renew(connection)

    def _enter(self) -> dict[int, int]:
        with connected(self._engine) as connection:
            self._row.enter(connection)
        # Read behind the commit: a claim that is not seen here sees this member.
        with connected(self._engine) as connection:
            rows = connection.execute(text("SELECT shard, epoch FROM shard_owner"))
            return {row.shard: row.epoch for row in rows}

    def _leave(self) -> None:
        with connected(self._engine) as connection:
            self._row.leave(connection)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
