"""Contract power: how much energy the site has used in the running window of the clock, and how
much power it may draw for the rest of it.

Fixed-window demand limiting, as building automation does it: what the contract allows for the
window, less what was used, over the time that is left. Three rules keep the end of a window from
becoming a cliff, `shed` being the time in which vehicles follow a reduction:

* Above the target, a site may draw only so much that shedding it would cost the window that follows
  `OVERSHOOT_PERMILLE` of its energy.
* In the last `shed` of a window nothing goes above the target, so that vehicles have come down
  when the next one begins.
* In that time what is missing or left over is spread over `shed`, not over the seconds that are
  left: what is sent now takes effect in the next window, which has done no wrong.

Invariants: energy is counted once for every instant, from meters or, where these are silent, as
what may flow; power is never promised beyond what rows carry, because this limit only narrows."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from controlplane.network_power import ContractConfig

__all__ = ["ClosedWindow", "ContractWindow", "Smoothed", "Target"]

OVERSHOOT_PERMILLE = 20

GAP_MAX_MS = 60_000
"""Between two estimates of the power further apart than this, the larger of both is counted."""


@dataclass(slots=True)
class Smoothed:
    """A value that follows another with a lag, in whole units; the first one counts at once."""

    lag_ms: int
    value: int = 0
    at_ms: int | None = None

    def follow(self, goal: int, now_ms: int) -> int:
        """The value at `now_ms`, where the other stands at `goal`."""
        if self.at_ms is None:
            self.value = goal
        else:
            elapsed_ms = max(0, now_ms - self.at_ms)
            self.value += (goal - self.value) * elapsed_ms // (self.lag_ms + elapsed_ms)
        self.at_ms = now_ms
        return self.value

    def reset(self, value: int, now_ms: int) -> int:
        """Take a value at once."""
        self.value, self.at_ms = value, now_ms
        return value


class ClosedWindow(msgspec.Struct, frozen=True, array_like=True):
    """A window that is over. `estimated_ms` of it were counted without a meter, at what might
    flow."""

    start_ms: int
    end_ms: int
    mean_w: int
    power_w: int
    """Of the contract."""
    estimated_ms: int

    @property
    def held(self) -> bool:
        return self.mean_w <= self.power_w


class Target(msgspec.Struct, frozen=True):
    """What a site aims at: its contract less the margin.

    Args:
        power_w: the mean to aim at.
        window_ms: the length of a window.
        shed_ms: how long vehicles take to follow a reduction.
    """

    power_w: int
    window_ms: int
    shed_ms: int

    @classmethod
    def of(cls, contract: ContractConfig, *, margin_percent: float, ramp_ms: int) -> Target:
        """The target of a site; a reduction is acknowledged and followed within twice the ramp."""
        power_w = int(contract.power_w * (100 - margin_percent) // 100)
        return cls(power_w, contract.window_ms, min(2 * ramp_ms, contract.window_ms // 3))

    @property
    def peak_w(self) -> int:
        """The highest momentary power."""
        overshoot_w = self.power_w * OVERSHOOT_PERMILLE * self.window_ms // (1_000 * self.shed_ms)
        return self.power_w + overshoot_w


class ContractWindow(msgspec.Struct, array_like=True):
    """The running window. Energy in millijoules (W x ms), so that nothing is rounded away."""

    start_ms: int
    at_ms: int
    """Up to here energy is counted."""
    energy_mj: int = 0
    power_w: int = 0
    """At `at_ms`."""
    estimated_ms: int = 0
    window_ms: int = 900_000
    closed: ClosedWindow | None = None
    """The window before."""

    @classmethod
    def begin(cls, now_ms: int, *, power_w: int, contract: ContractConfig) -> ContractWindow:
        """The first window. What flowed in it before is not known: it counts as the contract's
        power, which neither gives room to the rest nor takes any."""
        start_ms = now_ms - now_ms % contract.window_ms
        return cls(
            start_ms=start_ms,
            at_ms=now_ms,
            energy_mj=contract.power_w * (now_ms - start_ms),
            power_w=power_w,
            estimated_ms=now_ms - start_ms,
            window_ms=contract.window_ms,
        )

    def advance(
        self, now_ms: int, *, power_w: int, measured: bool, contract: ContractConfig
    ) -> list[ClosedWindow]:
        """Count what flowed since the last call, and close what is over.

        Args:
            power_w: what the site draws at `now_ms`, or may draw where meters are silent.
            measured: whether meters say so.

        Returns:
            The windows that ended. Those of which nothing was seen, because nobody ran, are left
            out.
        """
        window_ms = contract.window_ms
        if now_ms < self.start_ms or self.window_ms != window_ms:
            # The clock was set back, or the contract has another window now.
            again = self.begin(now_ms, power_w=power_w, contract=contract)
            self.start_ms, self.at_ms, self.power_w = again.start_ms, again.at_ms, power_w
            self.energy_mj, self.estimated_ms = again.energy_mj, again.estimated_ms
            self.window_ms = window_ms
            return []
        elapsed_ms = now_ms - self.at_ms
        if elapsed_ms <= 0:
            self.at_ms, self.power_w = now_ms, power_w
            return []
        blind = not measured or elapsed_ms > GAP_MAX_MS
        twice_w = 2 * max(self.power_w, power_w) if blind else self.power_w + power_w
        ended: list[ClosedWindow] = []
        end_ms = self.start_ms + window_ms
        if now_ms >= end_ms:
            self._count(end_ms, twice_w, blind=blind)
            ended.append(self._close(end_ms, contract))
            self.start_ms = self.at_ms = now_ms - now_ms % window_ms
            self.energy_mj = self.estimated_ms = 0
        self._count(now_ms, twice_w, blind=blind)
        self.power_w = power_w
        return ended

    def _count(self, until_ms: int, twice_w: int, *, blind: bool) -> None:
        elapsed_ms = until_ms - self.at_ms
        self.energy_mj += twice_w * elapsed_ms // 2
        self.estimated_ms += elapsed_ms if blind else 0
        self.at_ms = until_ms

    def _close(self, end_ms: int, contract: ContractConfig) -> ClosedWindow:
        mean_w = max(0, self.energy_mj // contract.window_ms)
        self.closed = ClosedWindow(
            self.start_ms, end_ms, mean_w, contract.power_w, self.estimated_ms
        )
        return self.closed

    def mean_w(self) -> int:
        """The mean since the window began."""
        return max(0, self.energy_mj // max(1, self.at_ms - self.start_ms))

    def allowed_w(self, target: Target, now_ms: int) -> int:
        """What the whole site may draw from `now_ms` on."""
        rest_ms = max(0, self.start_ms + target.window_ms - now_ms)
        unseen_mj = self.power_w * max(0, now_ms - self.at_ms)
        left_mj = target.power_w * target.window_ms - self.energy_mj - unseen_mj
        if rest_ms > target.shed_ms:
            return max(0, min(left_mj // rest_ms, target.peak_w))
        spare_mj = left_mj - target.power_w * rest_ms
        return max(0, target.power_w + min(0, spare_mj) // target.shed_ms)

    def lost(self, contract: ContractConfig, *, least_w: int) -> bool:
        """Whether the window's mean is over the contract, or will be even if nothing more than
        `least_w` is drawn until its end."""
        rest_ms = max(0, self.start_ms + contract.window_ms - self.at_ms)
        return self.energy_mj + least_w * rest_ms > contract.power_w * contract.window_ms
