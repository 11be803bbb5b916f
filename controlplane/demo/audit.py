"""The judge of the demonstration: conductors and registers, and nothing that Loadstar says.

Pure. A violation is a tick in which some conductor of some circuit carried more than its rating by
over a thousandth, a feeder supplied more than its power, or a session whose energy Loadstar does
not hold to the watt-hour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane.demo.reports import SessionReport, SiteReport
from controlplane.demo.scenario import Scenario, Visit
from controlplane.network import SiteConfig

__all__ = ["Audit", "Load", "StoredSession", "Verdict"]

TOLERANCE = 0.001


@dataclass(frozen=True)
class Load:
    """What a circuit carries on L1, L2, L3, and how much of that is the building's own."""

    circuit_id: str
    rating_a: float
    lines_a: tuple[float, float, float]
    building_a: tuple[float, float, float]


@dataclass(frozen=True)
class StoredSession:
    """A session as Loadstar holds it."""

    charger_id: str
    transaction_id: str
    ended: bool
    energy_wh: int


@dataclass(frozen=True)
class Verdict:
    """What became of a visit."""

    visit: Visit
    delivered_wh: int
    met: bool


@dataclass
class Audit:
    """Watches every report of every site."""

    scenario: Scenario
    overloads: int = 0
    max_row_utilisation: float = 0.0
    worst: str = ""
    ticks: int = 0
    faults: list[str] = field(default_factory=list)
    loads: dict[str, list[Load]] = field(default_factory=dict)
    _site_power_w: dict[str, float] = field(default_factory=dict)

    def observe(self, report: SiteReport) -> None:
        """Judge one instant of one site."""
        site = self.scenario.site(report.site_id)
        self.ticks += 1
        self.loads[site.id] = loads = _loads(site, self.scenario, report)
        for load in loads:
            for number, current_a in enumerate(load.lines_a, start=1):
                place = f"{site.id} {load.circuit_id} L{number}"
                self._judge(place, current_a / load.rating_a, report.at_ms)
        supply = next(load for load in loads if load.circuit_id == site.supply.id)
        self._site_power_w[site.id] = sum(supply.lines_a) * site.voltage_v
        for feeder in self.scenario.network.feeders:
            power_w = sum(
                self._site_power_w.get(fed.id, 0.0)
                for fed in self.scenario.network.sites
                if fed.feeder == feeder.id
            )
            self._judge(feeder.id, power_w / feeder.power_max_w, report.at_ms)

    def _judge(self, place: str, utilisation: float, at_ms: int) -> None:
        if utilisation > self.max_row_utilisation:
            self.max_row_utilisation, self.worst = utilisation, place
        if utilisation > 1 + TOLERANCE:
            self.overloads += 1
            if len(self.faults) < 50:
                self.faults.append(f"{at_ms}: {place} at {utilisation:.1%} of its rating")

    def feeder_power_w(self) -> float:
        """What all sites draw together at the moment."""
        return sum(self._site_power_w.values())

    def verdicts(self, sessions: Iterable[SessionReport]) -> list[Verdict]:
        """Each visit with what it got, by the stations' registers."""
        delivered_wh: dict[str, int] = {}
        for session in sessions:
            before_wh = delivered_wh.get(session.id_token, 0)
            delivered_wh[session.id_token] = before_wh + session.delivered_wh
        return [
            Verdict(
                visit=visit,
                delivered_wh=(got_wh := delivered_wh.get(visit.id_token, 0)),
                met=visit.satisfied_by(got_wh),
            )
            for visit in self.scenario.visits
        ]

    @staticmethod
    def reconcile(sessions: Iterable[SessionReport], stored: Iterable[StoredSession]) -> list[str]:
        """Where Loadstar's books differ from the stations': a line per difference."""
        held = {(session.charger_id, session.transaction_id): session for session in stored}
        differences = []
        for session in sessions:
            name = f"{session.charger_id} {session.id_token}"
            found = held.pop((session.charger_id, session.transaction_id or ""), None)
            if found is None:
                differences.append(f"{name}: session lost")
            elif found.energy_wh != session.delivered_wh:
                differences.append(
                    f"{name}: {session.delivered_wh} Wh delivered, {found.energy_wh} Wh stored"
                )
            elif not found.ended:
                differences.append(f"{name}: still active in Loadstar's books")
        differences.extend(
            f"{charger_id}: Loadstar holds transaction {transaction_id} that never was"
            for charger_id, transaction_id in held
        )
        return differences


def _loads(site: SiteConfig, scenario: Scenario, report: SiteReport) -> list[Load]:
    """Every circuit with what hangs below it."""
    parent = {circuit.id: circuit.parent for circuit in site.circuits}
    totals = {circuit.id: [0.0, 0.0, 0.0] for circuit in site.circuits}
    buildings = {circuit.id: (0.0, 0.0, 0.0) for circuit in site.circuits}

    def add(node: str | None, lines_a: tuple[float, float, float]) -> None:
        while node is not None:
            for line, current_a in enumerate(lines_a):
                totals[node][line] += current_a
            node = parent[node]

    circuit_of = {charger.id: charger.circuit for charger in site.chargers}
    for outlet in report.outlets:
        add(circuit_of[outlet.charger_id], outlet.lines_a)
    if site.building_load is not None:
        building_a = scenario.buildings[site.id].current_a(report.at_ms)
        add(site.building_load.circuit, building_a)
        node: str | None = site.building_load.circuit
        while node is not None:
            buildings[node] = building_a
            node = parent[node]
    return [
        Load(
            circuit_id=circuit.id,
            rating_a=circuit.rating_a,
            lines_a=(totals[circuit.id][0], totals[circuit.id][1], totals[circuit.id][2]),
            building_a=buildings[circuit.id],
        )
        for circuit in site.circuits
    ]
