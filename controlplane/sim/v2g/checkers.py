"""What must hold where vehicles feed in: rows for export, reserves and needs, site meters, credits.

A checker trusts nothing that Loadstar says of itself: power and energy come from vehicles and the
stations' own registers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from controlplane.network import SiteConfig
from controlplane.sim.buildings import Buildings
from controlplane.sim.v2g.scenario import CREDIT_PER_KWH, CURRENCY, VOLTAGE_V, Driver
from controlplane.sim.violations import Violations
from controlplane.sim.virtual_outlet import VirtualOutlet
from controlplane.sim.virtual_station import VirtualStation
from controlplane.store.records import SessionRecord
from controlplane.units import MS_PER_HOUR

__all__ = ["BatteryChecker", "ExportChecker", "SiteMeters", "credit_faults"]

_ROUNDING_A = 0.005
"""What a setpoint in watts may gain per connector when it is turned into amperes."""
_SHORT_SOC = 0.0005
"""Less than this part of a battery is no shortfall: meters count whole watt-hours."""
_RESERVE_SOC = 0.003
"""State of charge is told in tenths of a per cent."""


class ExportChecker:
    """On every line of every circuit what is fed in, or may be by what stations hold to, stays
    within what may be fed in through it: looked at whenever anything changes."""

    def __init__(
        self,
        sites: Sequence[SiteConfig],
        stations: Mapping[str, VirtualStation],
        violations: Violations,
    ) -> None:
        self._violations = violations
        self.utilisation_max = 0.0
        self._paths: dict[str, list[tuple[str, str]]] = {}
        self._most_a: dict[tuple[str, str], float] = {}
        self._sums_a: dict[tuple[str, str], list[float]] = {}
        for site in sites:
            parents = {circuit.id: circuit.parent for circuit in site.circuits}
            for circuit in site.circuits:
                self._most_a[site.id, circuit.id] = circuit.export_ma / 1_000
                self._sums_a[site.id, circuit.id] = [0.0, 0.0, 0.0]
            for charger in site.chargers:
                path, node = [], charger.circuit
                while node:
                    path.append((site.id, node))
                    node = parents[node] or ""
                self._paths[charger.id] = path
        self._may_a: dict[tuple[str, int], tuple[float, ...]] = {}
        self._outlets = len(stations)

    def watch(self, station: VirtualStation, outlet: VirtualOutlet, now_ms: int) -> None:
        """What an outlet feeds in, or may, has changed."""
        lines = [0.0, 0.0, 0.0]
        may_a = max(0.0, -outlet.promised_a)
        for line, flows_a in zip(outlet.spec.lines, outlet.currents_a(), strict=True):
            lines[line] = max(may_a, -flows_a, 0.0)
        key, told = (station.spec.id, outlet.spec.connector_id), tuple(lines)
        before = self._may_a.get(key, (0.0, 0.0, 0.0))
        if told == before:
            return
        self._may_a[key] = told
        over: dict[str, str] = {}
        for place in self._paths[station.spec.id]:
            sums, most_a = self._sums_a[place], self._most_a[place]
            for line in range(3):
                sums[line] += told[line] - before[line]
            highest_a = max(sums)
            self.utilisation_max = max(self.utilisation_max, highest_a / most_a)
            if highest_a > most_a + _ROUNDING_A * self._outlets:
                over["/".join(place)] = f"{highest_a:.3f} A fed in, {most_a:g} A may be"
        self._violations.lasting_all(now_ms, "row for export over its limit", over)


class SiteMeters:
    """What flows through each site's connection: the building, what is drawn, less what is fed
    in."""

    def __init__(
        self,
        sites: Sequence[SiteConfig],
        buildings: Buildings,
        stations: Mapping[str, VirtualStation],
    ) -> None:
        self._buildings = buildings
        self._stations = stations
        self._number = {
            charger.id: number for number, site in enumerate(sites) for charger in site.chargers
        }
        self._chargers_w = [0.0] * len(sites)
        self._drawn_w: dict[tuple[str, int], float] = {}
        self._fed_w = [0.0] * len(sites)
        self.fed_max_w = [0.0] * len(sites)
        self._charged = 0.0
        """What vehicles drew since the event began, in watt-milliseconds."""
        self._begun_ms: int | None = None
        self._last_ms = 0
        self._until_ms: int | None = None
        self._energy = [0.0] * len(sites)
        """In watt-milliseconds since the event began."""

    def watch(self, station: VirtualStation, outlet: VirtualOutlet) -> None:
        """What an outlet draws or feeds in has changed."""
        number = self._number[station.spec.id]
        key, power_w = (station.spec.id, outlet.spec.connector_id), outlet.draw.power_w
        before_w = self._drawn_w.get(key, 0.0)
        self._drawn_w[key] = power_w
        self._chargers_w[number] += power_w - before_w
        self._fed_w[number] += max(0.0, -power_w) - max(0.0, -before_w)
        self.fed_max_w[number] = max(self.fed_max_w[number], self._fed_w[number])

    def power_w(self, number: int, now_ms: int) -> tuple[float, float]:
        """What a site draws at an instant, and what of it the building does."""
        building_w = float(self._buildings.current_a(now_ms)[number].sum()) * VOLTAGE_V
        return building_w + self._chargers_w[number], building_w

    def begin(self, now_ms: int) -> None:
        """The event begins."""
        self._begun_ms = self._last_ms = now_ms

    def until(self, now_ms: int) -> None:
        """The event is over."""
        self._until_ms = now_ms

    def tick(self, now_ms: int) -> None:
        """Count what flowed since the last tick at what flows now."""
        if self._begun_ms is None or self._until_ms is not None:
            return
        buildings_w = self._buildings.current_a(now_ms).sum(axis=1) * VOLTAGE_V
        passed_ms, self._last_ms = now_ms - self._last_ms, now_ms
        self._charged += (sum(self._chargers_w) + sum(self._fed_w)) * passed_ms
        for number, chargers_w in enumerate(self._chargers_w):
            self._energy[number] += (float(buildings_w[number]) + chargers_w) * passed_ms

    @property
    def charged_wh(self) -> float:
        """What vehicles drew during the event, all sites together."""
        return self._charged / MS_PER_HOUR

    def mean_w(self, number: int) -> float:
        """What a site drew on average during the event."""
        return self._energy[number] / max(1, self._last_ms - (self._begun_ms or 0))


class BatteryChecker:
    """Nobody leaves with less than was needed, and nobody's battery was drawn below the reserve
    unless it was below when it came."""

    def __init__(self, violations: Violations) -> None:
        self._violations = violations
        self.left_with: dict[str, float] = {}
        self.left_short: list[dict[str, Any]] = []

    def left(self, driver: Driver, now_ms: int) -> None:
        """A driver leaves now."""
        soc = driver.vehicle.soc
        self.left_with[driver.charger_id] = soc
        if soc < driver.soc_needed - _SHORT_SOC:
            self.left_short.append(
                {
                    "charger": driver.charger_id,
                    "soc": round(soc, 4),
                    "needed": round(driver.soc_needed, 4),
                    "fed_in_wh": round(driver.vehicle.fed_wh),
                }
            )
            self._violations.record(now_ms, "left below the need", driver.charger_id)
        reserve = driver.reserve_percent
        if reserve is None and driver.vehicle.fed_wh > 0:
            self._violations.record(now_ms, "fed in without consent", driver.charger_id)
        if reserve is not None and driver.vehicle.lowest_fed_soc < reserve / 100 - _RESERVE_SOC:
            self._violations.record(
                now_ms,
                "battery below the reserve",
                f"{driver.charger_id}: {driver.vehicle.lowest_fed_soc:.4f}, {reserve} % reserved",
            )


def credit_faults(
    stations: Iterable[VirtualStation],
    sessions: Iterable[SessionRecord],
    accrued: Mapping[str, Decimal],
) -> tuple[list[str], dict[str, Any]]:
    """Where a credit is not what the station's register says, and the sums of both."""
    stored = {(str(each.charger_id), each.transaction_id): each for each in sessions}
    faults = []
    metered_wh = credited_wh = credited = 0
    amount = Decimal(0)
    for station in stations:
        for book in station.closed:
            transaction = book.transaction
            fed_wh = transaction.exported_stop_wh - transaction.exported_start_wh
            session = stored.get((station.spec.id, transaction.id or ""))
            if session is None:
                continue
            due = CREDIT_PER_KWH * fed_wh / 1_000
            credit = Decimal(session.credit_amount)
            wrong = session.credited_wh != fed_wh or credit != due
            if wrong or (fed_wh and session.credit_currency != CURRENCY):
                faults.append(
                    f"{session.session_id}: {fed_wh} Wh metered, {session.credited_wh} Wh credited "
                    f"with {credit}, due {due}"
                )
            if accrued.get(session.session_id, Decimal(0)) != due:
                faults.append(f"{session.session_id}: the journal's credits do not add up to {due}")
            metered_wh += fed_wh
            credited_wh += session.credited_wh
            credited += credit > 0
            amount += credit
    return faults, {
        "sessions": credited,
        "metered_wh": metered_wh,
        "credited_wh": credited_wh,
        "amount": str(amount),
        "currency": CURRENCY,
    }
