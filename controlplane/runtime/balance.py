"""Brings shards to a host and away from it: claims, announces, serves, hands over.

Invariants. A shard is served only after every gateway that is there has heard under which epoch, or
has lost its membership and the time that it may go on without. A shard is given back only after
every gateway has stopped sending for it, what came before was carried out and committed, and its
actors are gone from here. What is claimed after a failure is claimed part by part, the next one
when the actors of the last are loaded. What should be whose is decided in `placement.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import text

from controlplane.errors import Fenced, Unavailable
from controlplane.ids import SHARDS, shard_of
from controlplane.registry.messages import REGISTRY
from controlplane.runtime.actor_loop import ActorLoop
from controlplane.runtime.links import Links, Reach
from controlplane.runtime.members import ClusterReading, Member, MemberKind
from controlplane.runtime.ownership import Ownership
from controlplane.runtime.placement import Lease, Moves, Rate, host_of, next_moves, wanted
from controlplane.runtime.telemetry import log
from controlplane.runtime.transport import Link
from controlplane.runtime.wire import Announcement, LookAgain, Parcel, Withdrawal
from controlplane.store.reader import StoreReader

__all__ = ["Balance"]

LOOK_INTERVAL_S = 1.0
"""How often the members and the free shards are read."""
CLAIMS_AT_ONCE = 512
GIVE_BACKS_AT_ONCE = 512
_HEARD_TIMEOUT_S = 2.0
_MEMBER_INTERVAL_S = 0.5
"""How often it is looked whether a gateway that does not answer is still a member."""
_RETRY_S = 0.2
_SETTLE_TIMEOUT_S = 2.0
"""How long a hand-over waits for open answers, and then for what is queued."""

Result = TypeVar("Result")


class Balance:
    """The shards of one host.

    Args:
        in_writer: calls on the writer's thread, behind the commits before it.
        lease_s: how long a gateway that does not answer is waited for.
        fenced: called where the host must end.
    """

    def __init__(
        self,
        ownership: Ownership,
        actors: ActorLoop,
        reader: StoreReader,
        reach: Reach,
        *,
        in_writer: Callable[[Callable[[], Any]], Awaitable[Any]],
        lease_s: float,
        fenced: Callable[[str], None],
    ) -> None:
        self.leaving: frozenset[int] = frozenset()
        """Shards that are being handed over: no new request is taken for them."""
        self.draining = False
        self.steps = 0
        """Claims, parts of them, and tries to read the database, so far."""
        self.address = ""
        self._ownership = ownership
        self._actors = actors
        self._reader = reader
        self._in_writer = in_writer
        self._lease_s = lease_s
        self._fenced = fenced
        self._loop = asyncio.get_running_loop()
        self._gateways = Links(reach, actors.drop_gateway)
        self._known_gateways: dict[str, Member] = {}
        self._hosts = Links(reach, self._host_gone)
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._ownership_version = -1
        self._settled: object = None
        """What was true when there was nothing to do."""
        self._started = False
        self._serial = 0
        self._heard: dict[int, asyncio.Future[None]] = {}
        self._wake = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._handing_over: asyncio.Task[None] | None = None
        self.emptied = asyncio.Event()
        """Set once a draining host has nothing left."""

    # --- life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Claim and serve what should be this host's, as far as it is free; keep it so."""
        await self._look_patiently()
        self._started = True
        self._looking = self._loop.create_task(self._look_forever())

    def pause(self) -> None:
        """Claim and give back nothing more; what is served goes on."""
        for task in (self._looking, self._handing_over, *self._opening.values()):
            if task is not None:
                task.cancel()

    def close(self) -> None:
        """Claim, give back and send nothing more."""
        self.pause()
        self._gateways.close_all()
        self._hosts.close_all()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def heard(self, serial: int) -> None:
        """A gateway confirmed."""
        waiting = self._heard.pop(serial, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def drain(self) -> None:
        """Give everything to others; returns when nothing is left, or nobody takes it.

        Raises:
            Unavailable: the database is away.
        """
        await self._in_writer(self._ownership.drain)
        self.draining = True
        self.wake()
        while not self.emptied.is_set():
            reading = await self._reader.read(ClusterReading.read)
            if not [each for each in reading.hosts() if not each.draining]:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_INTERVAL_S):
                    await self.emptied.wait()

    async def _look_forever(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_INTERVAL_S):
                    await self._wake.wait()
            self._wake.clear()
            await self._look_patiently()

    async def _look_patiently(self) -> None:
        while True:
            self.steps += 1
            try:
                await self._look()
            except Unavailable as error:
                log.error("cluster_not_read", error=str(error))
                if not self._started:
                    await asyncio.sleep(_RETRY_S)
                    continue
            except Fenced as error:
                self._fenced(f"fenced: {error}")
            return

    # --- one look ---------------------------------------------------------------------------------

    async def _look(self) -> None:
        reading: ClusterReading = await self._reader.read(ClusterReading.read)
        me = reading.members.get(self._ownership.host)
        if me is not None and me.draining:
            self.draining = True
        await self._link(reading)
        while await self._move(reading):
            self.steps += 1
            reading = await self._reader.read(ClusterReading.read)

    async def _link(self, reading: ClusterReading) -> None:
        """Keep a link to everybody who is there, and none to who is not."""
        gateways = {each.name: each for each in reading.gateways()}
        for name in [name for name in self._known_gateways if name not in gateways]:
            del self._known_gateways[name]
            self._gateways.close(name)
            self._actors.remove_gateway(name)
        self._known_gateways = gateways
        hosts = {each.name: each for each in reading.hosts()}
        hosts.pop(self._ownership.host, None)
        for name in [name for name in self._hosts.names() if name not in hosts]:
            self._hosts.close(name)
            self._actors.departures.peers.pop(name, None)
        for member in (*gateways.values(), *hosts.values()):
            links = self._gateways if member.name in gateways else self._hosts
            if member.name not in links and member.name not in self._opening:
                # On the side: whoever cannot be reached must not hold up the others.
                opening = self._loop.create_task(self._open(member))
                self._opening[member.name] = opening
                opening.add_done_callback(partial(self._opened, member.name))
        if hosts and reading.ownership_version != self._ownership_version:
            await self._read_owners()
            self._ownership_version = reading.ownership_version

    async def _open(self, member: Member) -> None:
        with suppress(ConnectionError):
            if member.kind is MemberKind.GATEWAY:
                await self._gateway(member)
                return
            link, _ = await self._hosts.open(member.name, member.address)
            self._actors.departures.peers[member.name] = link

    def _opened(self, name: str, _opening: asyncio.Task[None]) -> None:
        del self._opening[name]

    def _host_gone(self, name: str, link: Link) -> None:
        if self._actors.departures.peers.get(name) is link:
            del self._actors.departures.peers[name]
        self.wake()

    async def _read_owners(self) -> None:
        rows = await self._reader.read(
            lambda connection: connection.execute(
                text("SELECT shard, owner FROM shard_owner")
            ).all()
        )
        for shard, owner in rows:
            self._actors.departures.owners[shard] = host_of(owner)

    async def _gateway(self, member: Member) -> Link:
        """The link to a gateway, which knows all that is served here.

        Raises:
            ConnectionError: it cannot be reached.
        """
        link, new = await self._gateways.open(member.name, member.address)
        if new:
            self._actors.departures.gateways[member.name] = link
        if new and self._actors.epochs:
            link.send(self._announcement(self._actors.epochs, 0))
        return link

    async def _move(self, reading: ClusterReading) -> bool:
        """Come closer to what should be; whether there is more to do at once."""
        hosts = sorted(each.name for each in reading.hosts() if not each.draining)
        if self.draining and self._ownership.host in hosts:
            hosts.remove(self._ownership.host)
        now_ms, table = await self._reader.read(self._ownership.claimable)
        state = (hosts, self._ownership.epochs, self.leaving)
        if not table and state == self._settled:
            return False
        first = not self._ownership.epochs
        rate = Rate(SHARDS if first else CLAIMS_AT_ONCE, GIVE_BACKS_AT_ONCE)
        moves = self._moves(hosts, now_ms, table, rate)
        if self.draining and not self._ownership.epochs:
            self.emptied.set()
        if moves.give_back and self._handing_over is None:
            self._handing_over = self._loop.create_task(self._hand_over(moves.give_back, hosts))
        if moves.claim or self._unserved():
            await self._claim(moves.claim)
        elif not moves.give_back and not table:
            self._settled = state
        return bool(moves.claim)

    def _moves(
        self, hosts: Collection[str], now_ms: int, table: dict[int, Lease], rate: Rate
    ) -> Moves:
        own = Lease(self._ownership.owner, now_ms + 1)
        table = dict.fromkeys(self._actors.epochs, own) | table
        moves = next_moves(self._ownership.owner, hosts, table, now_ms, rate, giving=self.leaving)
        # What an earlier incarnation owned is served at once; it moves on afterwards.
        prefix = f"{self._ownership.host}/"
        left_over = {
            shard
            for shard, lease in table.items()
            if lease.owner.startswith(prefix) and lease.owner != self._ownership.owner
        }
        if left_over and not self.draining:
            moves = moves._replace(claim=tuple(sorted(left_over.union(moves.claim))))
        return moves

    # --- towards this host ------------------------------------------------------------------------

    async def _claim(self, shards: Collection[int]) -> None:
        """
        Raises:
            Fenced, Unavailable: see `Ownership.claim`.
        """
        owned = await self._in_writer(lambda: self._ownership.claim(shards))
        epochs = self._unserved()
        if not epochs:
            return
        self._actors.expect(epochs)
        # Read after the claim: who is not there now will read the new epochs when it comes.
        reading = await self._patiently(lambda: self._reader.read(ClusterReading.read))
        await self._tell_gateways(reading, lambda serial: self._announcement(epochs, serial))
        if not self._ownership.valid:
            raise Fenced("the lease ran out before all gateways had heard", reason="LEASE_LAPSED")
        refs = await self._patiently(self._reader.activated_refs)
        self._actors.serve(epochs)
        for link in self._actors.departures.clients.values():
            link.send(self._announcement(epochs, 0), urgent=True)
        for link in self._actors.departures.peers.values():
            # Who gave them back may go on.
            link.send(LookAgain(), urgent=True)
        for ref in (*refs, REGISTRY):
            if shard_of(ref.kind, ref.id) in epochs:
                self._actors.residents.find(ref)
        await self._actors.residents.loaded()
        self._actors.schedule()
        log.info(
            "shards_served", shards=len(epochs), owned=len(owned), gateways=len(reading.gateways())
        )

    def _unserved(self) -> dict[int, int]:
        """What is owned and not served: claimed just now, or by a claim whose answer was lost."""
        served = self._actors.epochs
        return {
            shard: epoch
            for shard, epoch in self._ownership.epochs.items()
            if served.get(shard) != epoch and shard not in self.leaving
        }

    def announce_to(self, link: Link) -> None:
        """Say what is served here."""
        link.send(self._announcement(self._actors.epochs, 0), urgent=True)

    def _announcement(self, epochs: Mapping[int, int], serial: int) -> Announcement:
        return Announcement(
            self._ownership.host, self._ownership.incarnation, dict(epochs), self.address, serial
        )

    # --- away from this host ----------------------------------------------------------------------

    async def _hand_over(self, shards: tuple[int, ...], hosts: list[str]) -> None:
        try:
            self.leaving = frozenset(shards)
            await self._until(lambda: not self._actors.asked(self.leaving))
            reading = await self._patiently(lambda: self._reader.read(ClusterReading.read))
            host = self._ownership.host
            await self._tell_gateways(reading, lambda serial: Withdrawal(host, shards, serial))
            for link in self._actors.departures.clients.values():
                link.send(Withdrawal(host, shards), urgent=True)
            await self._until(lambda: not self._actors.mailbox.busy(self.leaving))
            await self._actors.withdraw(self.leaving)
            await self._patiently(
                lambda: self._in_writer(lambda: self._ownership.give_back(self.leaving))
            )
            log.info("shards_given_back", shards=len(shards))
            for name in {name for name, part in wanted(hosts, shards).items() if part}:
                peer = self._actors.departures.peers.get(name)
                if peer is not None:
                    peer.send(LookAgain(), urgent=True)
        except Fenced as error:
            self._fenced(f"fenced: {error}")
        finally:
            self.leaving = frozenset()
            self._handing_over = None
            self.wake()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`, within bounds."""
        until_s = self._loop.time() + _SETTLE_TIMEOUT_S
        while not condition() and self._loop.time() < until_s:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)

    # --- gateways ---------------------------------------------------------------------------------

    async def _tell_gateways(
        self, reading: ClusterReading, parcel: Callable[[int], Parcel]
    ) -> None:
        await asyncio.gather(*(self._tell(member, parcel) for member in reading.gateways()))

    async def _tell(self, member: Member, parcel: Callable[[int], Parcel]) -> None:
        """Until the gateway has heard, is no member any more, or a whole lease has passed: one that
        trusts hosts after that has read the epochs since (`gateway_member.py`)."""
        until_s = self._loop.time() + self._lease_s
        telling = self._loop.create_task(self._tell_again_and_again(member, parcel))
        try:
            while not (await asyncio.wait((telling,), timeout=_MEMBER_INTERVAL_S))[0]:
                if self._loop.time() >= until_s:
                    log.error("gateway_not_told", gateway=member.name)
                    return
                reading = await self._patiently(lambda: self._reader.read(ClusterReading.read))
                still = reading.members.get(member.name)
                if still is None or still.incarnation != member.incarnation:
                    return
            telling.result()
        finally:
            telling.cancel()

    async def _tell_again_and_again(self, member: Member, parcel: Callable[[int], Parcel]) -> None:
        while True:
            self._serial += 1
            serial = self._serial
            heard = self._heard[serial] = self._loop.create_future()
            try:
                async with asyncio.timeout(_HEARD_TIMEOUT_S):
                    (await self._gateway(member)).send(parcel(serial), urgent=True)
                    await heard
            except (ConnectionError, TimeoutError):
                await asyncio.sleep(_RETRY_S)
            else:
                return
            finally:
                self._heard.pop(serial, None)

    async def _patiently(self, work: Callable[[], Awaitable[Result]]) -> Result:
        while True:
            self.steps += 1
            try:
                return await work()
            except Unavailable as error:
                log.error("database_awaited", error=str(error))
                await asyncio.sleep(_RETRY_S)
