"""What must hold in every world, looked at from outside: the physics, the line and the books.

A checker trusts nothing that Loadstar says of itself: currents come from the vehicles, energies
from the stations' meters, answers are counted on the line. It only records; the world goes on, so
that one run shows all that is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.network import FeederConfig, Phase, SiteConfig
from controlplane.sim.outlet import Transaction
from controlplane.sim.virtual_station import VirtualStation
from controlplane.store.records import SessionRecord, SessionState
from controlplane.units import iso_from_ms

__all__ = ["AnswerChecker", "EnergyChecker", "RowChecker", "Violation", "Violations"]

_ROUNDING_A = 0.001
"""What a limit in watts may gain per connector when it is turned into amperes."""
_ANSWER_WITHIN_MS = 10_000
_FEEDER_MARGIN = 0.15
"""A feeder's description has no margin of its own, so its owner states a power that is this much
below what the conductor takes: buildings move between two reports, and while chargers are away."""

LineCurrents = tuple[float, float, float]


@dataclass(frozen=True)
class Violation:
    """One thing that must not be."""

    at_ms: int
    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{iso_from_ms(self.at_ms)} {self.rule}: {self.detail}"


@dataclass
class Violations:
    """What was found; a condition that lasts counts once until it has ended."""

    found: list[Violation] = field(default_factory=list)
    _lasting: set[str] = field(default_factory=set)

    def record(self, at_ms: int, rule: str, detail: str) -> None:
        self.found.append(Violation(at_ms, rule, detail))

    def lasting(self, at_ms: int, rule: str, subject: str, detail: str | None) -> None:
        """The state of a condition about `subject`; `detail` None means that all is well."""
        key = f"{rule}/{subject}"
        if detail is None:
            self._lasting.discard(key)
        elif key not in self._lasting:
            self._lasting.add(key)
            self.record(at_ms, rule, f"{subject}: {detail}")


class RowChecker:
    """On every phase of every circuit and feeder, the building load and what vehicles may draw at
    this instant stay within the rating: what flows, or what the station's own profiles allow where
    that is more, on each conductor of the outlet."""

    def __init__(
        self,
        sites: Sequence[SiteConfig],
        feeders: Sequence[FeederConfig],
        stations: Mapping[str, VirtualStation],
        violations: Violations,
    ) -> None:
        self._violations = violations
        self._ratings_a: dict[str, float] = {}
        self._below: dict[str, list[VirtualStation]] = {}
        self._buildings: dict[str, list[str]] = {}
        self.utilisation_max = 0.0
        """The highest share of a rating that was drawn."""
        for feeder in feeders:
            self._ratings_a[f"feeder {feeder.id}"] = (
                feeder.current_max_ma / 1_000 / (1 - _FEEDER_MARGIN)
            )
        for site in sites:
            parents = {circuit.id: circuit.parent for circuit in site.circuits}
            for circuit in site.circuits:
                self._ratings_a[f"{site.id}/{circuit.id}"] = circuit.rating_a
            if site.building_load is not None:
                for row in _rows_above(site, site.building_load.circuit, parents):
                    self._buildings.setdefault(row, []).append(site.id)
            for charger in site.chargers:
                for row in _rows_above(site, charger.circuit, parents):
                    self._below.setdefault(row, []).append(stations[charger.id])

    def check(self, now_ms: int, buildings_a: Mapping[str, LineCurrents]) -> None:
        """Look at this instant; `buildings_a` is what each site's building draws."""
        for row, rating_a in self._ratings_a.items():
            below = self._below.get(row, [])
            drawn_a, allowed_a = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
            for site_id in self._buildings.get(row, ()):
                for column, current_a in enumerate(buildings_a[site_id]):
                    drawn_a[column] += current_a
                    allowed_a[column] += current_a
            for station in below:
                outlet = station.outlet
                if not outlet.offered_a and not outlet.draw.current_a:
                    continue
                for conductor, column in enumerate(outlet.spec.lines):
                    flows_a = outlet.draw.current_a if conductor < outlet.draw.phases else 0.0
                    drawn_a[column] += flows_a
                    allowed_a[column] += max(flows_a, outlet.offered_a)
            self.utilisation_max = max(self.utilisation_max, max(drawn_a) / rating_a)
            worst_a = max(allowed_a)
            over = worst_a > rating_a + _ROUNDING_A * len(below)
            phase = allowed_a.index(worst_a)
            detail = (
                f"{worst_a:.3f} A on {list(Phase)[phase].value}, of which {drawn_a[phase]:.3f} A "
                f"flow, rated {rating_a:g} A"
                if over
                else None
            )
            self._violations.lasting(now_ms, "row over its rating", row, detail)


def _rows_above(site: SiteConfig, circuit: str, parents: Mapping[str, str | None]) -> list[str]:
    rows, node = [], circuit
    while node:
        rows.append(f"{site.id}/{node}")
        node = parents[node] or ""
    return rows + ([f"feeder {site.feeder}"] if site.feeder else [])


class AnswerChecker:
    """Every CALL that reached Loadstar on a connection that lives is answered, once, in time."""

    def __init__(self, violations: Violations) -> None:
        self._violations = violations
        self._waiting: dict[tuple[str, str], list[int]] = {}

    def called(self, connection: str, message_id: str, now_ms: int) -> None:
        self._waiting.setdefault((connection, message_id), []).append(now_ms)

    def answered(self, connection: str, message_id: str, now_ms: int) -> None:
        waiting = self._waiting.get((connection, message_id))
        if waiting:
            waiting.pop(0)
        else:
            self._violations.record(
                now_ms, "answered without being asked", f"{connection} {message_id}"
            )

    def closed(self, connection: str) -> None:
        """The connection is gone, and with it the right to an answer."""
        for key in [key for key in self._waiting if key[0] == connection]:
            del self._waiting[key]

    def check(self, now_ms: int) -> None:
        for key, waiting in list(self._waiting.items()):
            if not waiting:
                del self._waiting[key]
            elif now_ms - waiting[0] > _ANSWER_WITHIN_MS:
                self._violations.record(now_ms, "not answered", " ".join(key))
                del self._waiting[key]


class EnergyChecker:
    """Vehicles, meters and stored sessions agree to the watt-hour, once all has come to rest."""

    def __init__(self, violations: Violations) -> None:
        self._violations = violations

    def check(
        self,
        now_ms: int,
        stations: Iterable[VirtualStation],
        sessions: Iterable[SessionRecord],
    ) -> None:
        stored: dict[tuple[str, str], list[SessionRecord]] = {}
        for session in sessions:
            stored.setdefault((session.charger_id, session.transaction_id), []).append(session)
        for station in stations:
            for refusal in station.refused:
                self._violations.record(now_ms, "transaction message refused", refusal)
            if station.backlog:
                self._violations.record(
                    now_ms, "messages left", f"{station.spec.id} holds {station.backlog}"
                )
            for book in station.closed:
                found = stored.pop((book.charger_id, book.transaction.id or ""), [])
                if fault := _disagreement(book.transaction, book.drawn_wh, found):
                    self._violations.record(
                        now_ms,
                        "energy not conserved",
                        f"{book.charger_id} transaction {book.transaction.id}: {fault}",
                    )
        for charger_id, transaction_id in stored:
            self._violations.record(
                now_ms, "session without a transaction", f"{charger_id} {transaction_id}"
            )


def _disagreement(
    transaction: Transaction, drawn_wh: float, found: list[SessionRecord]
) -> str | None:
    if len(found) != 1:
        return f"{len(found)} sessions are stored"
    session, register_wh = found[0], (transaction.register_stop_wh or 0)
    metered_wh = register_wh - transaction.register_start_wh
    if session.state is not SessionState.ENDED:
        return f"stored as {session.state.value}"
    # Both readings of the meter are cut to whole watt-hours.
    if abs(metered_wh - drawn_wh) > 1.001:
        return f"the vehicle drew {drawn_wh:.3f} Wh, the meter counted {metered_wh} Wh"
    if session.energy_wh != metered_wh:
        return f"the meter counted {metered_wh} Wh, {session.energy_wh} Wh are stored"
    return None
