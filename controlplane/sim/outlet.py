"""What a simulated station is made of: its outlets, their meters, and its books on transactions.

Knows no version of OCPP and no network. Invariant: the registers only grow, one by exactly what the
vehicle drew, the other by what it fed in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from controlplane.sim.vehicle import Draw, Vehicle

__all__ = ["Outlet", "OutletSpec", "OutletState", "StationSpec", "Transaction", "Version"]

PILOT_MIN_A = 6.0
"""IEC 61851-1: a pilot signal cannot offer less."""
NO_DRAW = Draw(0.0, 0, 0.0, 0.0)


class OutletState(StrEnum):
    """The states of OCPP 1.6 4.9; a 2.0.1 station tells them in its own way."""

    AVAILABLE = "Available"
    PREPARING = "Preparing"
    CHARGING = "Charging"
    SUSPENDED_EV = "SuspendedEV"
    SUSPENDED_EVSE = "SuspendedEVSE"
    FINISHING = "Finishing"
    UNAVAILABLE = "Unavailable"
    FAULTED = "Faulted"


@dataclass(frozen=True)
class OutletSpec:
    """One connector. `lines` are the columns (0 for L1) of the site's phases on which its
    conductors sit, in the connector's own order."""

    connector_id: int
    lines: tuple[int, ...]
    current_max_a: float
    voltage_v: int = 230
    direct_current: bool = False
    efficiency: float = 1.0
    """What reaches the vehicle of what is drawn from the grid."""


Version = Literal["1.6", "2.0.1", "2.1"]
"""What a simulated station may speak."""


@dataclass(frozen=True)
class StationSpec:
    """What a station is. `unit` is the only unit in which it takes charging profiles."""

    id: str
    version: Version
    unit: Literal["A", "W"]
    outlets: tuple[OutletSpec, ...]
    vendor: str = "Simulated"
    model: str = "Wallbox"
    firmware: str = "1.0"


@dataclass
class Transaction:
    """One transaction by the station's own books. `id` is None until a 1.6 CSMS has handed one
    out."""

    id_token: str
    started_ms: int
    register_start_wh: int
    id: str | None = None
    remote_start_id: int | None = None
    seq_no: int = 0
    ended_ms: int | None = None
    register_stop_wh: int | None = None
    exported_start_wh: int = 0
    exported_stop_wh: int = 0

    def next_seq_no(self) -> int:
        self.seq_no += 1
        return self.seq_no - 1


@dataclass
class Outlet:
    """A connector with its meter, and a vehicle while one is plugged in."""

    spec: OutletSpec
    vehicle: Vehicle | None = None
    id_token: str = ""
    transaction: Transaction | None = None
    operative: bool = True
    fault: str = ""
    """An error code of OCPP 1.6 7.6; empty while nothing is wrong."""
    register_wh: float = 0.0
    exported_wh: float = 0.0
    """The register of what was fed in."""
    offered_a: float = 0.0
    """Below 0: a setpoint at which the vehicle feeds in."""
    draw: Draw = NO_DRAW
    state: OutletState = OutletState.AVAILABLE
    state_since_ms: int = 0

    @property
    def feeds_in(self) -> bool:
        """Whether its vehicle can."""
        return self.vehicle is not None and self.vehicle.spec.discharge_max_a > 0

    @property
    def usable(self) -> bool:
        """Whether somebody may begin to charge here."""
        return self.operative and not self.fault

    def currents_a(self) -> tuple[float, ...]:
        """Amperes on each conductor of the connector, in its own order."""
        return tuple(
            self.draw.current_a if conductor < self.draw.phases else 0.0
            for conductor in range(len(self.spec.lines))
        )

    def line_currents_a(self) -> tuple[float, float, float]:
        """Amperes that it puts on L1, L2, L3 of the site."""
        lines = [0.0, 0.0, 0.0]
        for line, current_a in zip(self.spec.lines, self.currents_a(), strict=True):
            lines[line] += current_a
        return lines[0], lines[1], lines[2]

    def step(self, duration_s: float, offered_a: float) -> None:
        """Offer a current for a while and count what flows."""
        self.offered_a = offered_a
        if self.vehicle is None:
            self.draw = NO_DRAW
            return
        self.draw = self.vehicle.step(duration_s, offered_a)
        if self.draw.energy_wh >= 0:
            self.register_wh += self.draw.energy_wh
        else:
            self.exported_wh -= self.draw.energy_wh

    def state_now(self) -> OutletState:
        """What a driver would see at this moment."""
        if self.fault:
            return OutletState.FAULTED
        if self.vehicle is None:
            return OutletState.AVAILABLE if self.operative else OutletState.UNAVAILABLE
        if self.transaction is None:
            finished = self.state not in (OutletState.AVAILABLE, OutletState.PREPARING)
            return OutletState.FINISHING if finished else OutletState.PREPARING
        if self.draw.current_a != 0:
            return OutletState.CHARGING
        # A station knows what it offers, and not what this vehicle would need to start.
        least_a = 0.0 if self.spec.direct_current else PILOT_MIN_A
        if self.offered_a <= 0 or self.offered_a < least_a:
            return OutletState.SUSPENDED_EVSE
        return OutletState.SUSPENDED_EV
