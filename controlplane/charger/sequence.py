"""Which TransactionEvents of a transaction are missing (2.x part 2 E01.FR.07: `seqNo` counts them).

Events come in any order, some never. The invariant: a number is missing exactly if a higher one was
heard, the transaction's first one is not above it, and it was not heard itself. Stations that never
count, that count across transactions, or that begin again after a reboot, miss nothing by that. Nor
is missing what a host before this one may have heard: no snapshot is written for an event that says
nothing but a reading."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["Sequence"]

_GAPS_MAX: Final = 16


class Sequence(msgspec.Struct, array_like=True):
    """The numbers heard of one transaction."""

    next: int = 0
    """One above the highest number heard."""
    begun: bool = False
    """The event that began the transaction was heard."""
    gaps: list[tuple[int, int]] = []
    """Numbers below `next` that were not heard: first and last of each run, ascending."""
    resumed_ms: int = 0
    """When another host took over: of what happened before, numbers from `next` on may have been
    heard there. 0 once something was heard that happened since."""

    @property
    def missing(self) -> int:
        """How many events are missing."""
        return sum(last - first + 1 for first, last in self.gaps)

    def take(self, seq_no: int, *, begins: bool, at_ms: int | None = None) -> int:
        """Take in an event's number, 0 or more; `begins` where the event began the transaction,
        `at_ms` when it happened. Returns by how much the number of missing events changed."""
        before = self.missing
        if seq_no >= self.next:
            if seq_no > self.next and not self.resumed_ms:
                self._miss(self.next, seq_no - 1)
            self.next = seq_no + 1
            if at_ms is None or at_ms >= self.resumed_ms:
                self.resumed_ms = 0
        else:
            self._fill(seq_no)
        if begins and not self.begun:
            self.begun = True
            self.gaps = [(max(first, seq_no), last) for first, last in self.gaps if last > seq_no]
        return self.missing - before

    def _miss(self, first: int, last: int) -> None:
        gaps = [*self.gaps, (first, last)]
        if len(gaps) > _GAPS_MAX:
            # What lies between the two lowest runs is counted with them rather than not at all.
            gaps[:2] = [(gaps[0][0], gaps[1][1])]
        self.gaps = gaps

    def _fill(self, seq_no: int) -> None:
        gaps: list[tuple[int, int]] = []
        for first, last in self.gaps:
            if first <= seq_no <= last:
                gaps += [(first, seq_no - 1)] if first < seq_no else []
                gaps += [(seq_no + 1, last)] if seq_no < last else []
            else:
                gaps.append((first, last))
        self.gaps = gaps[-_GAPS_MAX:]
