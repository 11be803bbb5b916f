"""A host of the model: claims, announces, serves, hands over, commits, as `runtime/balance.py`,
`runtime/actor_loop.py` and `runtime/batch.py` do, one actor to a shard.

What it may do and when is decided by the rules of production: `runtime/tenure.py`,
`runtime/placement.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from controlplane.errors import Fenced, Unavailable
from controlplane.runtime.placement import Rate, claimable, next_moves
from controlplane.sim.ownership.clockwork import Mutex, Process, Task, Wait
from controlplane.sim.ownership.database import Member, Reading, Writes
from controlplane.sim.ownership.network import Link
from controlplane.sim.ownership.parcels import (
    Announcement,
    Call,
    Connection,
    Heard,
    Introduced,
    Reintroduce,
    ToStation,
    Withdrawal,
)

if TYPE_CHECKING:
    from controlplane.sim.ownership.gateway import Gateway
    from controlplane.sim.ownership.world import World

__all__ = ["Host"]

_RATE = Rate(claims=3, give_backs=2)
_LOOK_MS = 1_000
_RETRY_MS = 200
_RENEW_RETRY_MS = 500
_HEARD_MS = 2_000
_SETTLE_MS = 2_000
_FLUSH_MS = 2
_COMMANDS_MS = 1_200
_WATCH = 0.05
_HELD_MAX = 100


@dataclass
class _Batch:
    """What shares one commit."""

    epochs: dict[int, int] = field(default_factory=dict)
    writes: Writes = field(default_factory=lambda: Writes({}, []))
    out: list[ToStation] = field(default_factory=list)
    left: Wait = field(default_factory=Wait)


class Host(Process):
    """One incarnation of a host."""

    def __init__(self, world: World, random: Random, name: str, incarnation: int) -> None:
        super().__init__(world.clockwork, random, name, incarnation)
        self.owner = f"{name}/{incarnation}"
        self.tenure = world.rules.tenure(world.lease_s)
        self.served: dict[int, int] = {}
        """Shards whose actors are stepped, each with its epoch."""
        self.draining = False
        self._world = world
        self._rules = world.rules
        self._entered = False
        self._writer = Mutex()
        self._leaving: frozenset[int] = frozenset()
        self._claimed: set[int] = set()
        self._held: list[Any] = []
        self._states: dict[int, int | None] = {}
        """What each actor knows; None while it is read from the database."""
        self._waiting: dict[int, list[Any]] = {}
        self._connected: dict[int, Connection] = {}
        self._gateways: dict[str, Link] = {}
        self._heard: dict[int, Wait] = {}
        self._serial = 0
        self._batch = _Batch()
        self._committing: _Batch | None = None
        self._handing_over = False
        self._unsettled: frozenset[int] = frozenset()
        self.spawn(self._begin())

    @property
    def valid(self) -> bool:
        return self.tenure.valid(self._rules.now_s(self))

    @property
    def writing(self) -> set[int]:
        """Shards for which something is under way to the database."""
        committing = self._committing
        ahead = set() if committing is None else set(committing.writes.states)
        return ahead.union(self._batch.writes.states)

    def drain(self) -> None:
        """Give everything to others, and end."""
        if not self.draining:
            self.draining = True
            self.spawn(self._drain())

    def _end(self) -> None:
        self._world.host_ended(self)

    # --- lease ------------------------------------------------------------------------------------

    def _begin(self) -> Task:
        while True:
            try:
                yield from self._look()
            except Unavailable:
                yield _RETRY_MS
                continue
            except Fenced:
                self._end()
                return
            break
        self.spawn(self._renew_forever())
        self.spawn(self._watch())
        self.spawn(self._command_forever())
        self.spawn(self._look_forever())

    def _renew_forever(self) -> Task:
        while True:
            yield int(self.tenure.renew_after_s * 1_000)
            while True:
                try:
                    yield from self._extend(())
                except Unavailable:
                    yield _RENEW_RETRY_MS
                    continue
                except Fenced:
                    self._end()
                    return
                break

    def _watch(self) -> Task:
        while self.valid:
            yield int(self.tenure.lease_s * _WATCH * 1_000)
        self._end()

    def _extend(self, claim: Collection[int]) -> Task:
        """`Ownership.claim` and `renew`. Raises Fenced, Unavailable."""
        yield self._writer.acquire()
        try:
            started_s = self._rules.now_s(self)
            self.tenure.check(started_s)
            returning = dict(self.tenure.returning)
            owned = yield from self._ask(lambda: self._extend_rows(returning, claim))
            self._entered = True
            self.tenure.returned(returning)
            if not self._rules.count_from_start:
                started_s = self._rules.now_s(self)
            self.tenure.extended(owned, started_s=started_s)
        finally:
            self._writer.release()

    def _extend_rows(self, returning: Mapping[int, int], claim: Collection[int]) -> dict[int, int]:
        """A statement."""
        database = self._world.database
        table, now_ms = database.table, database.now_ms
        until_ms = now_ms + self._world.lease_ms
        if not self._entered:
            table.enter(Member(self.name, "host", self.incarnation, until_ms, self.draining))
        elif not table.renew_member(self.name, self.incarnation, until_ms):
            raise Fenced("another host has this name", reason="NAME_LOST")
        table.give_back(self.owner, returning)
        database.wait_for_locks(table.owned(self.owner))
        table.renew(self.owner, until_ms)
        claimed = table.claim(self.owner, claim, now_ms, until_ms, database.passed_over)
        database.claimed(self.owner, claimed)
        return table.owned(self.owner)

    def _ask(self, statement: Callable[[], Any]) -> Task:
        """A statement on the writer's connection, which is given up with it."""
        try:
            return (yield self._world.database.ask(self, statement))
        except Unavailable:
            self._world.database.disconnected(self)
            raise

    def _patiently(self, statement: Callable[[], Any]) -> Task:
        while True:
            try:
                return (yield self._world.database.ask(self, statement))
            except Unavailable:
                yield _RETRY_MS

    def _read(self) -> Reading:
        """A statement."""
        return self._world.database.table.read(self._world.database.now_ms)

    # --- balance ----------------------------------------------------------------------------------

    def _look_forever(self) -> Task:
        while True:
            yield _LOOK_MS
            try:
                yield from self._look()
            except Unavailable:
                continue
            except Fenced:
                self._end()
                return

    def _look(self) -> Task:
        while True:
            reading: Reading = yield self._world.database.ask(self, self._read)
            self._link(reading)
            hosts = [m.name for m in reading.members.values() if m.kind == "host"]
            able = {name for name in hosts if not reading.members[name].draining}
            # The first look is what makes it a member.
            able |= set() if self._entered else {self.name}
            if self.draining:
                able.discard(self.name)
            claim, give_back = self._moves(reading, able)
            if give_back and not self._handing_over:
                self._handing_over = True
                self.spawn(self._hand_over(give_back))
            if claim or not self._entered:
                yield from self._extend(claim)
            unserved = {
                shard: epoch
                for shard, epoch in self.tenure.epochs.items()
                if self.served.get(shard) != epoch and shard not in self._leaving
            }
            if unserved:
                yield from self._introduce(unserved)
            if not claim:
                return

    def _moves(self, reading: Reading, able: Collection[str]) -> tuple[list[int], frozenset[int]]:
        first = not self.tenure.epochs
        rate = Rate(len(reading.table), _RATE.give_backs) if first else _RATE
        moves = next_moves(
            self.owner, able, reading.table, reading.now_ms, rate, giving=self._leaving
        )
        claim = set(moves.claim)
        if not self.draining:
            # What an earlier incarnation owned is served at once; it moves on afterwards.
            claim |= {
                shard
                for shard, lease in reading.table.items()
                if lease.owner and claimable(lease, self.owner, 0)
            }
        # What is claimed and not served yet goes nowhere.
        return sorted(claim), frozenset(s for s in moves.give_back if s in self.served)

    def _introduce(self, epochs: Mapping[int, int]) -> Task:
        """Announce, then serve."""
        self._claimed |= epochs.keys()
        if not self._rules.announce_first:
            self._serve(epochs)
        reading: Reading = yield from self._patiently(self._read)
        yield from self._tell_gateways(reading, lambda serial: Announcement(self, epochs, serial))
        if not self.valid:
            raise Fenced("the lease ran out before all gateways had heard", reason="LEASE_LAPSED")
        self._claimed -= epochs.keys()
        held = self.tenure.epochs
        self._serve({s: epoch for s, epoch in epochs.items() if held.get(s) == epoch})

    def _serve(self, epochs: Mapping[int, int]) -> None:
        self.served |= epochs
        self._world.checker.serving(self, epochs)
        held, self._held = self._held, []
        for parcel in held:
            self.receive(parcel)

    def _hand_over(self, shards: frozenset[int]) -> Task:
        self._leaving = shards
        reading: Reading = yield from self._patiently(self._read)
        yield from self._tell_gateways(reading, lambda serial: Withdrawal(self, shards, serial))
        if self._rules.finish_first:
            yield from self._finish(shards)
        yield self._writer.acquire()
        self.tenure.give_back(shards)
        self._writer.release()
        table = self._world.database.table
        while self.tenure.returning:
            returning = dict(self.tenure.returning)
            yield self._writer.acquire()
            try:
                yield from self._ask(partial(table.give_back, self.owner, returning))
                self.tenure.returned(returning)
            except Unavailable:
                yield _RETRY_MS
            finally:
                self._writer.release()
        if not self._rules.finish_first:
            yield from self._finish(shards)
        self._leaving = frozenset()
        self._handing_over = False

    def _finish(self, shards: Collection[int]) -> Task:
        """Step the actors of these shards no more; wait until all that they did has left."""
        for shard in shards:
            self.served.pop(shard, None)
            self._waiting.pop(shard, None)
            self._connected.pop(shard, None)
            if self._rules.forget_on_return:
                self._states.pop(shard, None)
        for batch in (self._committing, self._batch):
            if batch is not None and not batch.epochs.keys().isdisjoint(shards):
                yield batch.left

    def _drain(self) -> Task:
        def mark() -> None:
            table = self._world.database.table
            member = table.members.get(self.name)
            if member is not None and member.incarnation == self.incarnation:
                table.enter(member._replace(draining=True))

        yield from self._patiently(mark)
        while self.tenure.epochs or self.tenure.returning or self._claimed:
            yield _RETRY_MS
            reading: Reading = yield from self._patiently(self._read)
            if all(m.kind != "host" or m.draining for m in reading.members.values()):
                break

        def leave() -> None:
            table = self._world.database.table
            table.release(self.owner)
            member = table.members.get(self.name)
            if member is not None and member.incarnation == self.incarnation:
                del table.members[self.name]

        self.served = {}
        for batch in (self._committing, self._batch):
            if batch is not None and batch.epochs:
                yield batch.left
        yield self._writer.acquire()
        self.tenure.end()
        yield from self._patiently(leave)
        self._end()

    # --- gateways ---------------------------------------------------------------------------------

    def _link(self, reading: Reading) -> None:
        """Keep a link to every gateway that is there, and none to who is not."""
        for name, link in list(self._gateways.items()):
            member = reading.members.get(name)
            if member is None or member.incarnation != link.receiver.incarnation:
                link.close()
                del self._gateways[name]
        for member in reading.members.values():
            if member.kind == "gateway":
                self._gateway(member)

    def _gateway(self, member: Member) -> Link | None:
        """The link to a gateway, which knows all that is served here."""
        link = self._gateways.get(member.name)
        if link is None:
            gateway: Gateway = self._world.gateways[member.name]
            if gateway.incarnation != member.incarnation:
                return None
            if not self._world.reachable(self, gateway):
                return None
            link = Link(self._world.network, self, gateway, gateway.receive, self._link_broke)
            self._gateways[member.name] = link
            link.send(Announcement(self, dict(self.served), 0))
        return link

    def _link_broke(self, link: Link) -> None:
        if self._gateways.get(link.receiver.name) is link:
            del self._gateways[link.receiver.name]

    def _tell_gateways(self, reading: Reading, parcel: Callable[[int], Any]) -> Task:
        waits = []
        for member in reading.members.values():
            if member.kind == "gateway":
                waits.append(Wait())
                self.spawn(self._tell(member, parcel, waits[-1]))
        yield from waits

    def _tell(self, member: Member, parcel: Callable[[int], Any], done: Wait) -> Task:
        """Until the gateway has heard, is no member any more, or a whole lease has passed: one that
        delivers commands after that has read the epochs since."""
        until_s = self._rules.now_s(self) + self.tenure.lease_s * self._rules.unheard_wait
        while True:
            self._serial += 1
            heard = self._heard[self._serial] = Wait()
            link = self._gateway(member)
            if link is not None:
                link.send(parcel(self._serial))
                self.exposed()
            self.after(_HEARD_MS, heard.set, False)
            if (yield heard) is not False or self._rules.now_s(self) >= until_s:
                break
            reading: Reading = yield from self._patiently(self._read)
            found = reading.members.get(member.name)
            if found is None or found.incarnation != member.incarnation:
                break
            yield _RETRY_MS
        done.set()

    # --- actors -----------------------------------------------------------------------------------

    def receive(self, parcel: Any) -> None:
        """What a gateway sent."""
        if type(parcel) is Heard:
            heard = self._heard.pop(parcel.serial, None)
            if heard is not None:
                heard.set()
            return
        shard = parcel.shard
        if shard in self._claimed:
            if len(self._held) < _HELD_MAX:
                self._held.append(parcel)
        elif shard in self.served and shard not in self._unsettled:
            self._take(parcel)

    def _take(self, parcel: Introduced | Call) -> None:
        shard = parcel.shard
        if type(parcel) is Introduced:
            self._connected[shard] = parcel.connection
        if self._connected.get(shard) != parcel.connection:
            return
        if shard not in self._states:
            self._states[shard] = None
            self._waiting[shard] = []
            self.spawn(self._load(shard, self.served[shard]))
        if self._states[shard] is None:
            self._waiting[shard].append(parcel)
        elif type(parcel) is Call:
            self._event(parcel)

    def _load(self, shard: int, epoch: int) -> Task:
        state = yield from self._patiently(lambda: self._world.database.stored.get(shard, 0))
        if self.served.get(shard) != epoch or self._states.get(shard, 0) is not None:
            return
        self._states[shard] = state
        for parcel in self._waiting.pop(shard, ()):
            self._take(parcel)

    def _event(self, call: Call) -> None:
        shard, state = call.shard, self._states[call.shard]
        assert state is not None
        batch = self._batch
        batch.epochs[shard] = self.served[shard]
        if call.number > state:
            self._states[shard] = batch.writes.states[shard] = call.number
            batch.writes.events.append((shard, call.number, state))
        answer = ToStation(shard, self.served[shard], call.connection, call.number, command=False)
        if self._rules.answer_after_commit:
            batch.out.append(answer)
        else:
            self._send(answer)
        self._pump_soon()

    def _command_forever(self) -> Task:
        """Limits change on this host's own account, too: some are stored, some are not."""
        while True:
            yield _COMMANDS_MS // 2 + self._random.randrange(_COMMANDS_MS)
            for shard, epoch in self.served.items():
                state = self._states.get(shard)
                if state is None or shard not in self._connected or self._random.random() < 0.5:
                    continue
                batch = self._batch
                batch.epochs[shard] = epoch
                if self._random.random() < 0.5:
                    batch.writes.states[shard] = state
                batch.out.append(ToStation(shard, epoch, self._connected[shard], 0, command=True))
            self._pump()

    # --- commits ----------------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        if self._committing is None:
            self.after(_FLUSH_MS, self._pump)

    def _pump(self) -> None:
        if self._committing is not None or not self._batch.epochs:
            return
        batch, self._batch = self._batch, _Batch()
        if not batch.writes.states:
            self._released(batch)
            return
        self._committing = batch
        self.spawn(self._commit(batch))

    def _commit(self, batch: _Batch) -> Task:
        database = self._world.database
        yield self._writer.acquire()
        if not self.valid:
            self._end()
            return
        try:
            number = yield database.begin(self, batch.epochs)
            yield database.commit(self, number, batch.writes)
        except Fenced:
            self._end()
            return
        except Unavailable:
            database.disconnected(self)
            self._writer.release()
            yield from self._bring_back(batch)
            return
        self._writer.release()
        self._committing = None
        self._released(batch)
        self._pump()

    def _released(self, batch: _Batch) -> None:
        if not self.valid:
            self._end()
            return
        for parcel in batch.out:
            # The link's own buffer; a freeze may come between the check and the wire.
            self.after(self._random.randrange(8), self._send, parcel)
        self.exposed()
        batch.left.set()

    def _send(self, parcel: ToStation) -> None:
        link = self._gateways.get(parcel.connection.gateway)
        if link is not None and link.receiver.incarnation == parcel.connection.incarnation:
            link.send(parcel)

    def _bring_back(self, batch: _Batch) -> Task:
        """Nothing of the batch leaves, nor of what was stepped on top of it; every actor they
        touched comes back as it was stored."""
        lost = [batch, self._batch]
        self._batch = _Batch()
        touched = frozenset(shard for each in lost for shard in each.epochs)
        for shard in touched:
            self._states.pop(shard, None)
            self._waiting.pop(shard, None)
            self._connected.pop(shard, None)
        if self._rules.settle:
            self._unsettled = touched
            yield from self._patiently(lambda: self._world.database.wait_for_locks(touched))
            self._unsettled = frozenset()
        self._committing = None
        for each in lost:
            each.left.set()
        mine = frozenset(shard for shard in touched if shard in self.served)
        for link in self._gateways.values():
            link.send(Reintroduce(self, mine))
        self._pump()
