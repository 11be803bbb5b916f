"""How much of what stations say may be under way to a host, and what gives way when that is too
little.

A gateway may have so many CALLs unanswered at each host; a CALL takes one of these credits, its
answer gives it back. So a host that falls behind, or stands still with its store, has a mailbox of
bounded length, and what piles up stays in the gateways: one CALL of each station and the few that
it sent ahead, after which its socket is read no more.

What waits for a credit goes in the order of its weight, and what weighs little gives way:

- a heartbeat asks for the time and says that somebody is there. It takes no credit that others wait
  for: the gateway answers it by itself;
- a periodic sample that waited for too long is refused with a CALLERROR: it was not stored, and the
  station, which may say one thing at a time, comes to what it has to say besides;
- everything else, transactions before all, waits. It is never refused on account of the load, and
  never answered before it is durable; a station that hears nothing says it again."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["Credits", "Weight", "weight_of"]


class Weight(IntEnum):
    """What gives way first is the largest."""

    KEPT = 0
    SAMPLE = 1
    HEARTBEAT = 2


_WEIGHTS: Final = {
    "Heartbeat": Weight.HEARTBEAT,
    "MeterValues": Weight.SAMPLE,
    "NotifyPeriodicEventStream": Weight.SAMPLE,
}


def weight_of(action: str) -> Weight:
    """The weight of a message of this action. A TransactionEvent is kept whatever made the station
    send it: its numbers have no gaps (2.x part 2 E01)."""
    return _WEIGHTS.get(action, Weight.KEPT)


class _Account:
    """One host's."""

    __slots__ = ("free", "waiting")

    def __init__(self, most: int) -> None:
        self.free = most
        self.waiting: tuple[dict[str, None], dict[str, None]] = ({}, {})
        """Connections in the order of their coming: what is kept, and samples."""


class Credits:
    """The credits of one gateway at every host.

    Args:
        most: how many CALLs one host may have unanswered, at least 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._accounts: dict[str, _Account] = {}
        self._held: dict[str, str] = {}
        """The host at which a connection has its credit."""
        self._waits: dict[str, tuple[str, Weight]] = {}
        """Where a connection waits for one, and in which line."""

    @property
    def under_way(self) -> int:
        """CALLs at hosts, unanswered."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """CALLs that wait for a credit."""
        return len(self._waits)

    def exhausted(self, host: str) -> bool:
        """Whether a further CALL for this host would have to wait."""
        account = self._accounts.get(host)
        return account is not None and account.free <= 0

    def take(self, connection: str, host: str, weight: Weight) -> bool:
        """Take the connection's credit at this host; False where it waits for one from now on. A
        credit that it has already is good for the same CALL again."""
        held = self._held.get(connection)
        if held == host:
            return True
        self.forget(connection)
        account = self._accounts.get(host)
        if account is None:
            account = self._accounts[host] = _Account(self._most)
        if account.free > 0:
            account.free -= 1
            self._held[connection] = host
            return True
        line = min(weight, Weight.SAMPLE)
        account.waiting[line][connection] = None
        self._waits[connection] = (host, line)
        return False

    def forget(self, connection: str) -> str:
        """The connection's CALL is over, or it waits no more; returned is the host at which a
        credit is free by that, empty where it had none."""
        host = self._held.pop(connection, None)
        if host is not None:
            self._accounts[host].free += 1
        waits = self._waits.pop(connection, None)
        if waits is not None:
            del self._accounts[waits[0]].waiting[waits[1]][connection]
        return host or ""

    def next(self, host: str) -> str | None:
        """The connection whose CALL goes next, if a credit is free for it; it has it then."""
        account = self._accounts.get(host)
        if account is None or account.free <= 0:
            return None
        for line in account.waiting:
            for connection in line:
                del line[connection]
                del self._waits[connection]
                account.free -= 1
                self._held[connection] = host
                return connection
        return None
