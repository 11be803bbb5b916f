"""A gateway's membership: the promise of the hosts to tell it who owns what before they serve.

Invariant: while `valid`, every claim that was ever followed by service is known here. A host serves
only when each member has heard of its claim, or a whole lease has passed since. Every renewal reads
the epochs in force, and time counts from its start; so a gateway that is valid after such a lease
has read of the claim by itself, and one whose membership was not renewed in time trusts no host
until it is a member again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, text

from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.runtime.members import MemberKind, MemberRow
from controlplane.runtime.ownership import boottime_s
from controlplane.runtime.telemetry import log
from controlplane.runtime.tenure import RENEW_AT, STOP_AT, Tenure
from controlplane.store.engine import connected, open_engine

__all__ = ["GatewayMember"]

_RETRY_S = 0.5

Result = TypeVar("Result")


class GatewayMember:
    """The row of one gateway.

    Args:
        entered: called with the epochs in force, each time it has become a member.
        in_force: called with the epochs in force when a renewal finds that they changed.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        node: str,
        *,
        entered: Callable[[Mapping[int, int]], None],
        in_force: Callable[[Mapping[int, int]], None],
    ) -> None:
        self.running = False
        self._tenure = Tenure(settings.lease_s)
        self._row = MemberRow(
            name=name,
            kind=MemberKind.GATEWAY,
            node=node,
            incarnation=name,
            lease_s=settings.lease_s,
        )
        self._entered = entered
        self._in_force = in_force
        self._version = -1
        """The sum of the epochs that were read: it grows with every claim."""
        # A renewal that is begun in time and not done by the end of the lease is of no use; what is
        # cut off on its way would be sent again ever more seldom, long after the cut was mended.
        self._engine = open_engine(
            settings.database, writer=True, timeout_s=settings.lease_s * (STOP_AT - RENEW_AT)
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="membership")
        self._renewing: asyncio.Task[None] | None = None

    @property
    def valid(self) -> bool:
        """Whether hosts may be trusted: nobody can serve a shard unheard."""
        return self._tenure.valid(boottime_s())

    async def enter(self, address: str) -> None:
        """Become a member, now or as soon as the database is there, and stay one."""
        self._row.address = address
        self.running = True
        await self._renew_once()
        self._renewing = asyncio.get_running_loop().create_task(self._renew_forever())

    async def leave(self) -> None:
        """Be a member no more."""
        self.running = False
        self._tenure.end()
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
            await asyncio.sleep(self._tenure.renew_after_s if renewed else _RETRY_S)
            await self._renew_once()

    async def _renew_once(self) -> None:
        started_s = boottime_s()
        try:
            if self.valid:
                there, changed = await self._in_thread(self._renew)
                if there:
                    if changed:
                        self._in_force(changed)
                    self._tenure.extended({}, started_s=started_s)
                    return
            self._tenure.end()
            epochs = await self._in_thread(self._enter)
        except Unavailable as error:
            log.error("membership_not_renewed", error=str(error))
            return
        self._entered(epochs)
        self._tenure.extended({}, started_s=started_s)

    def _renew(self) -> tuple[bool, dict[int, int]]:
        """Whether the row is still there; the epochs in force where they changed."""
        with connected(self._engine) as connection:
            if not self._row.renew(connection):
                return False, {}
            version = connection.execute(text("SELECT SUM(epoch) FROM shard_owner")).scalar_one()
            if int(version) == self._version:
                return True, {}
            return True, self._read(connection)

    def _enter(self) -> dict[int, int]:
        with connected(self._engine) as connection:
            self._row.enter(connection)
        # Read behind the commit: a claim that is not seen here sees this member.
        with connected(self._engine) as connection:
            return self._read(connection)

    def _read(self, connection: Connection) -> dict[int, int]:
        rows = connection.execute(text("SELECT shard, epoch FROM shard_owner"))
        epochs = {row.shard: row.epoch for row in rows}
        self._version = sum(epochs.values())
        return epochs

    def _leave(self) -> None:
        with connected(self._engine) as connection:
            self._row.leave(connection)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
