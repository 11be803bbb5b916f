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

__all__ = ["Account", "Credits", "Holder", "Weight", "weight_of"]


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


class Account:
    """One host's credits."""

    __slots__ = ("free", "host", "lines")

    def __init__(self, host: str, most: int) -> None:
        self.host = host
        self.free = most
        self.lines: tuple[Line, Line] = ({}, {})
        """Who waits, in the order of coming: for what is kept, and for samples."""


class Holder:
    """Who needs a credit for its CALL: a connection. What it has is written down at itself, because
    that is looked at for every CALL."""

    __slots__ = ("credit", "line")

    def __init__(self) -> None:
        self.credit: Account | None = None
        """Where it has one."""
        self.line: Line | None = None
        """In which it waits."""


Line = dict[Holder, None]


class Credits:
    """The credits of one gateway at every host.

    Args:
        most: how many CALLs one host may have unanswered, at least 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._accounts: dict[str, Account] = {}

    @property
    def under_way(self) -> int:
        """CALLs at hosts, unanswered."""
        return sum(self._most - account.free for account in self._accounts.values())

    @property
    def waiting(self) -> int:
        """CALLs that wait for a credit."""
        return sum(len(line) for account in self._accounts.values() for line in account.lines)

    def exhausted(self, host: str) -> bool:
        """Whether a further CALL for this host would have to wait."""
        account = self._accounts.get(host)
        return account is not None and account.free <= 0

    def take(self, holder: Holder, host: str, weight: Weight) -> bool:
        """Take a credit at this host; False where the holder waits for one from now on. A credit
        that it has already is good for the same CALL again."""
        held = holder.credit
        if held is not None and held.host == host:
            return True
        self.forget(holder)
        account = self._accounts.get(host)
        if account is None:
            account = self._accounts[host] = Account(host, self._most)
        if account.free > 0:
            account.free -= 1
            holder.credit = account
            return True
        holder.line = account.lines[min(weight, Weight.SAMPLE)]
        holder.line[holder] = None
        return False

    @staticmethod
    def forget(holder: Holder) -> Account | None:
        """The holder's CALL is over, or it waits no more; returned is where a credit is free by
        that, None where it had none."""
        account = holder.credit
        if account is not None:
            account.free += 1
            holder.credit = None
        if holder.line is not None:
            del holder.line[holder]
            holder.line = None
        return account

    @staticmethod
    def next(account: Account) -> Holder | None:
        """Whose CALL goes next, if a credit is free for it; it has it then."""
        if account.free <= 0:
            return None
        for line in account.lines:
            for holder in line:
                del line[holder]
                account.free -= 1
                holder.credit, holder.line = account, None
                return holder
        return None
