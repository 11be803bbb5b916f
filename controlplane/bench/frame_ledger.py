"""What stations may draw, worked out again from the frames they were sent and answered.

It shares nothing with the ledger that it judges. A station counts on each of its rows with the
largest of the limit it holds, the limits it was sent and has not answered, and what its vehicle
still draws. Invariant that is judged: no event lifts the sum of a row above what the row carries at
that moment. A row that is above it already, because its limit has just been lowered, may fall but
not rise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

import msgspec

__all__ = ["FrameEvent", "FrameKind", "FrameLedger", "StationSpec", "Vehicle", "Verdict"]

PILOT_MIN_MA = 6_000
"""Below this a vehicle does not charge (IEC 61851-1)."""


class StationSpec(msgspec.Struct, frozen=True):
    """One station as the bench builds it. `rows` are all rows that carry its current; its vehicle
    follows a changed limit in a straight line that lasts `ramp_s`; a limit is answered
    `answer_s` after it came. With `samples_changes` it sends MeterValues as soon as its vehicle
    has followed, and not only at its interval."""

    id: str
    max_ma: int
    phases: int
    rows: tuple[int, ...]
    ramp_s: float = 0.0
    answer_s: float = 0.0
    samples_changes: bool = False


class Vehicle:
    """What a vehicle draws, by the limits it was given."""

    __slots__ = ("_from_ma", "_max_ma", "_ramp_s", "_since_s", "target_ma")

    def __init__(self, max_ma: int, ramp_s: float) -> None:
        self._max_ma = max_ma
        self._ramp_s = ramp_s
        self._from_ma = 0
        self._since_s = 0.0
        self.target_ma = 0

    def follow(self, limit_ma: int, now_s: float) -> None:
        """Begin to follow a limit; 0 and what is below the pilot's least current ends the
        charge."""
        target_ma = min(limit_ma, self._max_ma) if limit_ma >= PILOT_MIN_MA else 0
        if target_ma == self.target_ma:
            return
        self._from_ma, self._since_s, self.target_ma = self.draw_ma(now_s), now_s, target_ma

    def unplug(self, now_s: float) -> None:
        """Draw nothing from now on."""
        self._from_ma = self.target_ma = 0
        self._since_s = now_s

    @property
    def ramp_end_s(self) -> float:
        """When it will have followed, or has."""
        return self._since_s + self._ramp_s

    def draw_ma(self, now_s: float) -> int:
        """What it draws at an instant not before the last change."""
        passed_s = max(0.0, now_s - self._since_s)
        if passed_s >= self._ramp_s:
            return self.target_ma
        return self._from_ma + round((self.target_ma - self._from_ma) * passed_s / self._ramp_s)


class FrameKind(IntEnum):
    """What happened."""

    ROW = 0
    """A row carries `current_ma` from now on."""
    SENT = 1
    """A limit came in at a station."""
    ACCEPTED = 2
    """The station answered it, and holds it."""
    DEFAULT = 3
    """The station accepted a default profile."""
    STARTED = 4
    STOPPED = 5


class FrameEvent(msgspec.Struct, frozen=True, array_like=True):
    """`place` is the station's position, or the row's."""

    at_s: float
    kind: FrameKind
    place: int
    current_ma: int = 0


class Verdict(msgspec.Struct):
    """What the frames came to: raised limits that were judged, and those that a row could not
    bear, in words."""

    raises: int = 0
    violations: int = 0
    words: list[str] = []


class _Account:
    """One station."""

    __slots__ = ("counted_ma", "default_ma", "in_flight", "limit_ma", "rows", "running", "vehicle")

    def __init__(self, spec: StationSpec) -> None:
        self.rows = spec.rows
        self.vehicle = Vehicle(spec.max_ma, spec.ramp_s)
        # Until it has accepted a default profile, nothing keeps it below its hardware's rating.
        self.default_ma = spec.max_ma
        self.limit_ma: int | None = None
        self.in_flight: list[int] = []
        self.running = False
        self.counted_ma = spec.max_ma

    @property
    def held_ma(self) -> int:
        return self.default_ma if self.limit_ma is None else self.limit_ma

    def may_draw_ma(self, now_s: float) -> int:
        return max(self.held_ma, self.vehicle.draw_ma(now_s), *self.in_flight)


class FrameLedger:
    """Judges a recording, event by event.

    Args:
        rows_ma: what each row carries at first.
    """

    def __init__(self, stations: Sequence[StationSpec], rows_ma: Sequence[int]) -> None:
        self._stations = stations
        self._accounts = [_Account(spec) for spec in stations]
        self._rows_ma = list(rows_ma)
        self._sums = [0] * len(rows_ma)
        for account in self._accounts:
            for row in account.rows:
                self._sums[row] += account.counted_ma
        self._draining: set[int] = set()
        """Stations whose vehicles drew more than their limit when they were looked at last."""
        self.verdict = Verdict()

    def judge(self, events: Iterable[FrameEvent]) -> Verdict:
        """Take in events, in the order in which they happened."""
        for event in events:
            if event.kind is FrameKind.ROW:
                self._rows_ma[event.place] = event.current_ma
            else:
                self._take(self._accounts[event.place], event)
        return self.verdict

    def _take(self, account: _Account, event: FrameEvent) -> None:
        match event.kind:
            case FrameKind.SENT:
                account.in_flight.append(event.current_ma)
            case FrameKind.ACCEPTED:
                account.in_flight.remove(event.current_ma)
                account.limit_ma = event.current_ma
            case FrameKind.DEFAULT:
                account.default_ma = event.current_ma
            case FrameKind.STARTED:
                account.running = True
            case FrameKind.STOPPED:
                account.running = False
                account.limit_ma = None
                account.vehicle.unplug(event.at_s)
        if account.running:
            account.vehicle.follow(account.held_ma, event.at_s)
        before_ma = account.counted_ma
        self._count(event.place, event.at_s)
        if account.counted_ma > before_ma:
            self.verdict.raises += event.kind is FrameKind.SENT
            self._judge_raise(account, event)

    def _count(self, place: int, now_s: float) -> None:
        account = self._accounts[place]
        may_ma = account.may_draw_ma(now_s)
        for row in account.rows:
            self._sums[row] += may_ma - account.counted_ma
        account.counted_ma = may_ma
        if account.vehicle.draw_ma(now_s) > account.held_ma:
            self._draining.add(place)
        else:
            self._draining.discard(place)

    def _judge_raise(self, account: _Account, event: FrameEvent) -> None:
        for place in tuple(self._draining):
            self._count(place, event.at_s)
        for row in account.rows:
            if self._sums[row] > self._rows_ma[row]:
                self.verdict.violations += 1
                self.verdict.words.append(
                    f"{self._stations[event.place].id} was raised to {event.current_ma} mA where "
                    f"row {row} then bore {self._sums[row]} of {self._rows_ma[row]} mA"
                )
                return
