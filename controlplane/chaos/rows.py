"""No conductor over its rating: looked at from the stations' side, at every instant at which
anything changes there.

On each phase of each circuit and feeder, every outlet counts with the larger of what its station
offers at this moment, by the profiles that it holds, and of what its vehicle draws. That is what
may flow, whoever commanded it; nothing that Loadstar says of itself enters. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from controlplane.network import NetworkConfig
from controlplane.sim.station import Station

__all__ = ["RowWatch"]

_ROUNDING_A: Final = 0.001
"""What a limit may gain per outlet when it is turned from watts into amperes."""
_TOLD_MAX: Final = 50


class RowWatch:
    """The rows of a network. `look` after every step of the stations, all of them at one instant.

    Args:
        stations: by charger id.
    """

    def __init__(self, network: NetworkConfig, stations: Mapping[str, Station]) -> None:
        self.instants = 0
        self.over = 0
        """Instants and rows at which a rating was exceeded."""
        self.told: list[str] = []
        """The first of them."""
        self.utilisation_max = 0.0
        """The highest share of a rating that might have flowed."""
        self._stations = stations
        self._rating_a: dict[str, float] = {
            f"feeder {feeder.id}": feeder.current_max_ma / 1_000 for feeder in network.feeders
        }
        self._above: dict[str, list[str]] = {}
        """The rows above each charger."""
        for site in network.sites:
            parent = {circuit.id: circuit.parent for circuit in site.circuits}
            for circuit in site.circuits:
                self._rating_a[f"{site.id}/{circuit.id}"] = circuit.rating_a
            for charger in site.chargers:
                rows = [f"feeder {site.feeder}"] if site.feeder else []
                node: str | None = charger.circuit
                while node is not None:
                    rows.append(f"{site.id}/{node}")
                    node = parent[node]
                self._above[charger.id] = rows

    def look(self, now_ms: int) -> None:
        """Judge this instant."""
        self.instants += 1
        rows = {name: [0.0, 0.0, 0.0, 0.0] for name in self._rating_a}
        for charger_id, above in self._above.items():
            for load_a in self._loads(charger_id):
                for name in above:
                    row = rows[name]
                    for line in range(3):
                        row[line] += load_a[line]
                    row[3] += _ROUNDING_A
        for name, (*lines_a, tolerance_a) in rows.items():
            self._judge(name, max(lines_a), tolerance_a, now_ms)

    def _loads(self, charger_id: str) -> Iterable[list[float]]:
        for outlet in self._stations[charger_id].outlets.values():
            most_a = max(outlet.offered_a, outlet.draw.current_a)
            if most_a:
                load_a = [0.0, 0.0, 0.0]
                for line in outlet.spec.lines:
                    load_a[line] = most_a
                yield load_a

    def _judge(self, name: str, load_a: float, tolerance_a: float, now_ms: int) -> None:
        rating_a = self._rating_a[name]
        self.utilisation_max = max(self.utilisation_max, load_a / rating_a)
        if load_a > rating_a + tolerance_a:
            self.over += 1
            if len(self.told) < _TOLD_MAX:
                loads = ", ".join(self._described(name))
                self.told.append(
                    f"{now_ms}: {name}: {load_a:.2f} A over {rating_a:.2f} A ({loads})"
                )

    def _described(self, name: str) -> Iterable[str]:
        """What every outlet on a row offers, and what flows where that is more."""
        for charger_id, above in self._above.items():
            for outlet in self._stations[charger_id].outlets.values() if name in above else ():
                flows_a = outlet.draw.current_a
                drawn = f" drawn {flows_a:.1f}" if flows_a > outlet.offered_a else ""
                yield f"{charger_id} {outlet.offered_a:.1f}{drawn}"
