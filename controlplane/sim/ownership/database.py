"""The database: owner rows, members and what is stored, with the locks and delays of PostgreSQL.

What a statement does to owner rows is decided by the rules of production (`placement.claimable`,
`store.commit.check_epochs`); that the SQL of `runtime/ownership.py` changes its rows in the same
way has a test of its own. A statement takes effect at one instant between its arrival and its
answer, which may be long after whoever sent it has given up. A transaction that has checked its
epochs holds a share lock on the owner rows until it ends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, NamedTuple

from controlplane.errors import LoadstarError, Unavailable
from controlplane.runtime.placement import Lease
from controlplane.sim.ownership.clockwork import Clockwork, Process, Wait
from controlplane.sim.ownership.network import DATABASE, Network
from controlplane.sim.ownership.rules import Rules

__all__ = ["Database", "LeaseTable", "Member", "OwnerRow", "Reading", "Writes"]

STATEMENT_TIMEOUT_MS = 5_000
"""How long a client waits for an answer."""
IDLE_TIMEOUT_MS = 5_000
"""How long the database keeps a transaction open whose client says nothing."""


@dataclass(slots=True)
class OwnerRow:
    owner: str = ""
    epoch: int = 0
    lease_until_ms: int = 0


class Member(NamedTuple):
    name: str
    kind: str
    incarnation: str
    lease_until_ms: int
    draining: bool = False


class Reading(NamedTuple):
    """What one look at the database says; members are those whose lease runs."""

    now_ms: int
    members: dict[str, Member]
    table: dict[int, Lease]


class LeaseTable:
    """Rows of `shard_owner` and `member`, and what statements make of them at `now_ms` of the
    database's clock."""

    def __init__(self, shards: Collection[int], rules: Rules) -> None:
        self.owners = {shard: OwnerRow() for shard in shards}
        self.members: dict[str, Member] = {}
        self._rules = rules

    def enter(self, member: Member) -> None:
        self.members[member.name] = member

    def renew_member(self, name: str, incarnation: str, until_ms: int) -> bool:
        """Whether the row is still this incarnation's."""
        member = self.members.get(name)
        if member is None or member.incarnation != incarnation:
            return False
        self.members[name] = member._replace(lease_until_ms=until_ms)
        return True

    def renew(self, owner: str, until_ms: int) -> None:
        for row in self.owners.values():
            if row.owner == owner:
                row.lease_until_ms = until_ms

    def claim(
        self,
        owner: str,
        shards: Collection[int],
        now_ms: int,
        until_ms: int,
        locked: Callable[[int], bool] = lambda _: False,
    ) -> list[int]:
        """The shards whose owner changed."""
        claimed = []
        for shard in shards:
            row = self.owners[shard]
            lease = Lease(row.owner, row.lease_until_ms)
            if not locked(shard) and self._rules.claimable(lease, owner, now_ms):
                row.owner, row.lease_until_ms = owner, until_ms
                row.epoch = self._rules.next_epoch(row.epoch)
                claimed.append(shard)
        return claimed

    def give_back(self, owner: str, epochs: Mapping[int, int]) -> None:
        for shard, epoch in epochs.items():
            row = self.owners[shard]
            if row.owner == owner and self._rules.same_tenure(row.epoch, epoch):
                row.owner, row.lease_until_ms = "", 0

    def release(self, owner: str) -> None:
        for row in self.owners.values():
            if row.owner == owner:
                row.lease_until_ms = 0

    def forget(self, name: str, incarnation: str) -> None:
        self.release(f"{name}/{incarnation}")
        member = self.members.get(name)
        if member is not None and member.incarnation == incarnation:
            del self.members[name]

    def owned(self, owner: str) -> dict[int, int]:
        return {shard: row.epoch for shard, row in self.owners.items() if row.owner == owner}

    def epochs(self) -> dict[int, int]:
        """In force."""
        return {shard: row.epoch for shard, row in self.owners.items()}

    def read(self, now_ms: int) -> Reading:
        return Reading(
            now_ms,
            {name: m for name, m in self.members.items() if m.lease_until_ms >= now_ms},
            {shard: Lease(row.owner, row.lease_until_ms) for shard, row in self.owners.items()},
        )


class Writes(NamedTuple):
    """What one transaction stores."""

    states: dict[int, int]
    """Of shards: how many events of its station the actor took."""
    events: list[tuple[int, int, int]]
    """For the journal: shard, number, and how many the actor had taken before."""


class _Locked(Exception):
    """The statement waits for the end of a transaction."""


@dataclass(slots=True)
class _Transaction:
    client: Process
    epochs: Mapping[int, int]
    number: int
    committing: bool = False


@dataclass
class Database:
    """One server.

    Attributes:
        claimed, committed: called at the instant of the effect; the checker listens.
    """

    clockwork: Clockwork
    network: Network
    random: Random
    rules: Rules
    table: LeaseTable
    claimed: Callable[[str, list[int]], None]
    committed: Callable[[str, Mapping[int, int], Writes], None]
    off_ms: int = 0
    """By how much its wall clock is wrong."""
    slow: bool = False
    stored: dict[int, int] = field(default_factory=dict)
    _open: dict[int, _Transaction] = field(default_factory=dict)
    _numbers: Any = field(default_factory=count)
    _blocked: list[Callable[[], None]] = field(default_factory=list)

    @property
    def now_ms(self) -> int:
        return 1_000_000 + self.clockwork.now_ms + self.off_ms

    # --- the client's side ------------------------------------------------------------------------

    def ask(
        self,
        client: Process,
        statement: Callable[[], Any],
        arrived: Callable[[], None] = lambda: None,
    ) -> Wait:
        """Send a statement; the answer, or `Unavailable` when none came in time."""
        answer = Wait()

        def arrive() -> None:
            arrived()
            self.clockwork.after(self._work_ms(), self._carry_out, client, statement, answer)

        self.network.carry(client.name, DATABASE, arrive)
        client.after(STATEMENT_TIMEOUT_MS, answer.fail, _given_up())
        client.exposed()
        return answer

    def begin(self, client: Process, epochs: Mapping[int, int]) -> Wait:
        """Open a transaction, check the epochs and lock their rows; its number."""

        def statement() -> int:
            rows = self.table.owners
            self.rules.check_epochs(epochs, {shard: rows[shard].epoch for shard in epochs})
            number: int = next(self._numbers)
            self._open[number] = _Transaction(client, epochs, number)
            self.clockwork.after(IDLE_TIMEOUT_MS, self._idle, number)
            return number

        return self.ask(client, statement)

    def commit(self, client: Process, number: int, writes: Writes) -> Wait:
        """Write, and end the transaction."""

        def arrived() -> None:
            if number in self._open:
                self._open[number].committing = True

        def statement() -> None:
            transaction = self._open.get(number)
            if transaction is None:
                raise Unavailable("the transaction was ended", reason="DATABASE_UNAVAILABLE")
            if any(
                other.number < number and not other.epochs.keys().isdisjoint(writes.states)
                for other in self._open.values()
            ):
                raise _Locked
            self.committed(f"{client.name}/{client.incarnation}", transaction.epochs, writes)
            self.stored |= writes.states
            self._end(number)

        return self.ask(client, statement, arrived)

    def disconnected(self, client: Process) -> None:
        """The client closed its connections, or its machine did so for it: what it has open is
        undone, once the database hears of it."""

        def hear() -> None:
            for number, transaction in list(self._open.items()):
                if transaction.client is client and not transaction.committing:
                    self._end(number)

        self.network.carry(client.name, DATABASE, hear)

    # --- the server's side ------------------------------------------------------------------------

    def locked(self, shard: int) -> bool:
        """Whether a transaction that checked this shard's epoch is open."""
        return self.rules.share_locks and any(
            shard in transaction.epochs for transaction in self._open.values()
        )

    def passed_over(self, shard: int) -> bool:
        """Whether a claim leaves this row alone. Raises to be carried out later where it must wait
        instead."""
        if not self.locked(shard):
            return False
        if not self.rules.skip_locked:
            raise _Locked
        return True

    def wait_for_locks(self, shards: Collection[int]) -> None:
        """In a statement: be carried out only once no transaction on these shards is open."""
        if any(self.locked(shard) for shard in shards):
            raise _Locked

    def _carry_out(self, client: Process, statement: Callable[[], Any], answer: Wait) -> None:
        value: Any = None
        error: LoadstarError | None = None
        try:
            value = statement()
        except _Locked:
            self._blocked.append(lambda: self._carry_out(client, statement, answer))
            return
        except LoadstarError as raised:
            error = raised
        if self.slow and self.random.random() < 0.1:
            # The connection breaks when the work is done.
            error = _given_up()

        def arrive() -> None:
            if error is None:
                client.run(answer.set, value)
            else:
                client.run(answer.fail, error)

        self.network.carry(DATABASE, client.name, arrive)

    def _idle(self, number: int) -> None:
        transaction = self._open.get(number)
        if self.rules.idle_timeout and transaction is not None and not transaction.committing:
            self._end(number)

    def restart(self) -> None:
        """Every transaction that is open is undone."""
        for number in list(self._open):
            self._end(number)

    def _end(self, number: int) -> None:
        if self._open.pop(number, None) is not None:
            blocked, self._blocked = self._blocked, []
            for retry in blocked:
                self.clockwork.after(0, retry)

    def _work_ms(self) -> int:
        if self.slow and self.random.random() < 0.15:
            return self.random.randrange(12_000)
        return 1 + self.random.randrange(4)


def _given_up() -> Unavailable:
    return Unavailable("no answer from the database", reason="DATABASE_UNAVAILABLE")
