"""A vehicle as a station sees it: it draws what it likes, but never more than it is offered.

Pure: `step` takes a duration and the current on offer, and returns what was drawn; an offer below 0
is a setpoint at which a vehicle that can feeds in. Invariants: once
`pilot_delay_s` and the way down its ramp have passed, no more than the offer flows; below
`current_min_a` nothing flows; the energy that flowed, times `efficiency`, is what the battery
gained."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from controlplane.errors import InvalidInput

__all__ = ["Draw", "Vehicle", "VehicleSpec", "VehicleState"]

_S_PER_HOUR = 3_600
_TAPER_STEP_S = 30.0
"""How long the slow decline near full may be taken for a standstill."""
_TAPER_STEP_A = 0.2


class VehicleState(StrEnum):
    """What a vehicle is doing with its plug in."""

    CHARGING = "charging"
    WAITING = "waiting"
    """Too little on offer (IEC 61851: less than 6 A means pause)."""
    ASLEEP = "asleep"
    """The pause was long; it needs a fresh offer, and time, to wake."""
    FULL = "full"


@dataclass(frozen=True)
class VehicleSpec:
    """What a vehicle can do. Times are in the time that `step` is given.

    Attributes:
        battery_wh: usable capacity.
        phases: how many conductors its charger uses, 1 to 3, if the outlet has them.
        current_max_a: most per phase, on the grid's side.
        current_min_a: least offer it starts at; IEC 61851-1 knows no pilot below 6 A.
        power_max_w: most the battery takes, below `taper_soc`.
        taper_soc: state of charge, 0 to 1, from which the battery takes less and less.
        charge_limit_soc: state of charge, 0 to 1, at which it stops by itself: what its driver set.
        efficiency: battery energy gained per energy drawn, 0 to 1.
        pilot_delay_s: from a changed offer to the first reaction.
        ramp_up_a_per_s, ramp_down_a_per_s: how fast the current follows.
        sleep_after_s: length of a pause after which it falls asleep; None never does.
        wake_delay_s: from a fresh offer until a sleeper listens again.
        rhythm_s: it draws for so long, then rests as long, and so on; None draws on.
        discharge_max_a: most per phase that it feeds in, on the grid's side; 0 for one that cannot.
        discharge_floor_soc: state of charge, 0 to 1, at which its battery gives no more.
    """

    battery_wh: float
    phases: int = 3
    current_max_a: float = 16.0
    current_min_a: float = 6.0
    power_max_w: float = 50_000.0
    taper_soc: float = 0.8
    charge_limit_soc: float = 1.0
    efficiency: float = 0.9
    pilot_delay_s: float = 0.5
    ramp_up_a_per_s: float = 8.0
    ramp_down_a_per_s: float = 40.0
    sleep_after_s: float | None = None
    wake_delay_s: float = 5.0
    rhythm_s: float | None = None
    discharge_max_a: float = 0.0
    discharge_floor_soc: float = 0.05

    def __post_init__(self) -> None:
        if self.phases not in (1, 2, 3):
            raise InvalidInput("a vehicle charges on 1, 2 or 3 phases")
        if not 0 < self.efficiency <= 1 or not 0 < self.taper_soc < 1:
            raise InvalidInput("efficiency and taper_soc lie between 0 and 1")
        if not 0 < self.charge_limit_soc <= 1:
            raise InvalidInput("charge_limit_soc lies between 0 and 1")
        if min(self.battery_wh, self.current_max_a, self.power_max_w) <= 0:
            raise InvalidInput("a vehicle has a battery and takes current")
        if self.rhythm_s is not None and self.rhythm_s <= 0:
            raise InvalidInput("a rhythm takes time")
        if min(self.ramp_up_a_per_s, self.ramp_down_a_per_s) <= 0:
            raise InvalidInput("a vehicle follows its offer")


class Draw(msgspec.Struct, frozen=True):
    """What flowed in one step: amperes per active phase at its end, the power of that, and the
    energy of the step, all on the grid's side; below 0 what was fed in."""

    current_a: float
    phases: int
    power_w: float
    energy_wh: float


@dataclass
class Vehicle:
    """A vehicle at an outlet of `outlet_phases` conductors and `voltage_v` line to neutral."""

    spec: VehicleSpec
    soc: float
    outlet_phases: int = 3
    voltage_v: int = 230
    current_a: float = 0.0
    asleep: bool = False
    drawn_wh: float = 0.0
    fed_wh: float = 0.0
    lowest_fed_soc: float = 1.0
    """The lowest state of charge at which it fed in."""
    _clock_s: float = 0.0
    _heard_a: float = 0.0
    _paused_since_s: float | None = 0.0
    _awake_from_s: float = 0.0
    _offers: deque[tuple[float, float]] = field(default_factory=deque)
    phases: int = field(init=False)
    """Conductors it uses at this outlet."""

    def __post_init__(self) -> None:
        self.phases = min(self.spec.phases, self.outlet_phases)
        if not 0 <= self.soc <= 1:
            raise InvalidInput("state of charge lies between 0 and 1")

    @property
    def full(self) -> bool:
        return self.soc >= self.spec.charge_limit_soc

    @property
    def state(self) -> VehicleState:
        if self.full:
            return VehicleState.FULL
        if self.asleep:
            return VehicleState.ASLEEP
        return VehicleState.CHARGING if self.current_a != 0 else VehicleState.WAITING

    def acceptable_a(self) -> float:
        """Most per phase that the vehicle takes at its state of charge: its on-board limit and,
        near full, the linear taper of its battery."""
        spec, soc = self.spec, self.soc
        if soc >= spec.charge_limit_soc:
            return 0.0
        power_w = spec.power_max_w
        if soc > spec.taper_soc:
            # A twentieth is left at the top: with a taper down to zero no battery would get full.
            power_w *= max((1 - soc) / (1 - spec.taper_soc), 0.05)
        from_battery_a = power_w / spec.efficiency / (self.voltage_v * self.phases)
        return min(spec.current_max_a, from_battery_a)

    def step(self, duration_s: float, offered_a: float) -> Draw:
        """Live for `duration_s` with `offered_a` per phase on the pilot, or as a setpoint below
        0."""
        if duration_s < 0:
            raise InvalidInput("time is not negative")
        self._hear(offered_a)
        self._clock_s += duration_s
        while self._offers and self._offers[0][0] <= self._clock_s:
            self._heard_a = self._offers.popleft()[1]
        self._doze()
        self._ramp(duration_s)
        return self._charge(duration_s)

    def cut_off(self) -> None:
        """The contactor has opened: nothing flows, and nothing is offered, from this instant on."""
        self.current_a = self._heard_a = 0.0
        self._offers.clear()

    def heard_max_a(self) -> float:
        """Most per phase that it may still rise to, before the latest offer has reached it."""
        heard_a = max(self._heard_a, *(offered_a for _, offered_a in self._offers), 0.0)
        return min(heard_a, self.acceptable_a())

    def _hear(self, offered_a: float) -> None:
        latest_a = self._offers[-1][1] if self._offers else self._heard_a
        if offered_a != latest_a:
            self._offers.append((self._clock_s + self.spec.pilot_delay_s, offered_a))

    def _doze(self) -> None:
        """Pauses put some vehicles to sleep; only an offer after that wakes them, in time."""
        if 0 <= self._heard_a < self.spec.current_min_a:
            if self._paused_since_s is None:
                self._paused_since_s = self._clock_s
            limit_s = self.spec.sleep_after_s
            if limit_s is not None and self._clock_s - self._paused_since_s >= limit_s:
                self.asleep = True
        elif self._paused_since_s is not None:
            self._paused_since_s = None
            if self.asleep:
                self._awake_from_s = self._clock_s + self.spec.wake_delay_s
        elif self.asleep and self._clock_s >= self._awake_from_s:
            self.asleep = False

    def usable_a(self) -> float:
        """Amperes per phase that it would draw at this moment, were it offered everything."""
        return 0.0 if self.asleep or self._rests() else self.acceptable_a()

    def steady_s(self) -> float:
        """How long its current stays what it is while the offer does, so that it may be left alone:
        0 while it moves, `inf` where only another offer changes anything."""
        if self._offers:
            return max(0.0, self._offers[0][0] - self._clock_s)
        target_a = self._target_a()
        tapers = self.soc >= self.spec.taper_soc
        # Never where it is the offer that declined: more than that must not flow for long.
        declines = tapers and 0 < target_a < self.current_a <= self._heard_a
        declines = declines and self.current_a - target_a <= _TAPER_STEP_A
        if self.current_a != target_a and not declines:
            return 0.0
        return min(self._dozes_in_s(), self._turns_in_s(), self._fills_in_s(tapers=tapers))

    def _dozes_in_s(self) -> float:
        if self.asleep:
            wakes = self._paused_since_s is None
            return max(0.0, self._awake_from_s - self._clock_s) if wakes else math.inf
        if self.spec.sleep_after_s is None or self._paused_since_s is None:
            return math.inf
        return max(0.0, self._paused_since_s + self.spec.sleep_after_s - self._clock_s)

    def _turns_in_s(self) -> float:
        rhythm_s = self.spec.rhythm_s
        if rhythm_s is None or self.full:
            return math.inf
        return rhythm_s - self._clock_s % rhythm_s

    def _fills_in_s(self, *, tapers: bool) -> float:
        """Until the battery is full or, below its taper, until that begins."""
        if self.current_a == 0:
            return math.inf
        if self.current_a < 0:
            loss_w = -self.current_a * self.voltage_v * self.phases / self.spec.efficiency
            left_soc = max(0.0, self.soc - self.spec.discharge_floor_soc)
            return left_soc * self.spec.battery_wh / loss_w * _S_PER_HOUR
        until_soc = self.spec.charge_limit_soc
        if not tapers:
            until_soc = min(until_soc, self.spec.taper_soc)
        gain_w = self.current_a * self.voltage_v * self.phases * self.spec.efficiency
        left_s = max(0.0, until_soc - self.soc) * self.spec.battery_wh / gain_w * _S_PER_HOUR
        return min(left_s, _TAPER_STEP_S) if tapers else left_s

    def _rests(self) -> bool:
        """Whether it takes a rest of its own rhythm."""
        rhythm_s = self.spec.rhythm_s
        return rhythm_s is not None and self._clock_s // rhythm_s % 2 == 1

    def _target_a(self) -> float:
        if self._heard_a < 0:
            gives = self.soc > self.spec.discharge_floor_soc
            return -min(-self._heard_a, self.spec.discharge_max_a) if gives else 0.0
        willing = not (self.asleep or self._rests()) and self._heard_a >= self.spec.current_min_a
        return min(self._heard_a, self.acceptable_a()) if willing else 0.0

    def _ramp(self, duration_s: float) -> None:
        target_a = self._target_a()
        if target_a > self.current_a:
            step_a = self.spec.ramp_up_a_per_s * duration_s
            self.current_a = min(target_a, self.current_a + step_a)
        else:
            step_a = self.spec.ramp_down_a_per_s * duration_s
            self.current_a = max(target_a, self.current_a - step_a)

    def _charge(self, duration_s: float) -> Draw:
        power_w = self.current_a * self.voltage_v * self.phases
        energy_wh = power_w * duration_s / _S_PER_HOUR
        if energy_wh < 0:
            return self._feed(-energy_wh, power_w)
        limit_soc = max(self.spec.charge_limit_soc, self.soc)
        room_wh = (limit_soc - self.soc) * self.spec.battery_wh / self.spec.efficiency
        if energy_wh >= room_wh:
            energy_wh, self.soc, self.current_a, power_w = room_wh, limit_soc, 0.0, 0.0
        else:
            self.soc += energy_wh * self.spec.efficiency / self.spec.battery_wh
        self.drawn_wh += energy_wh
        return Draw(self.current_a, self.phases, power_w, energy_wh)

    def _feed(self, energy_wh: float, power_w: float) -> Draw:
        """Give energy out of the battery, down to its floor."""
        spec = self.spec
        above_wh = max(0.0, self.soc - spec.discharge_floor_soc) * spec.battery_wh * spec.efficiency
        if energy_wh >= above_wh:
            energy_wh, self.current_a, power_w = above_wh, 0.0, 0.0
        self.soc -= energy_wh / spec.efficiency / spec.battery_wh
        self.fed_wh += energy_wh
        self.lowest_fed_soc = min(self.lowest_fed_soc, self.soc)
        return Draw(self.current_a, self.phases, power_w, -energy_wh)
