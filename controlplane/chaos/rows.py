"""No conductor over its rating: what stations may draw is added up whenever it changes, by what
they were commanded and have acknowledged, and by what their vehicles do.

Each outlet is charged to the rows above it, on each of its phases, with the largest of

- what the station offers by the profiles that it holds, from the message on in which it
  acknowledges one,
- its default profile, once it has one: a transaction may end at any moment, or begin while the
  station is offline, and nobody is asked,
- what its vehicle draws,
- what the vehicle may still rise to before the latest offer has reached it.

That is what may flow, whoever commanded it; nothing that Loadstar says of itself enters. Invariant:
a sum is judged after every message that a station says, and after every step of the vehicles.
Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from controlplane.network import NetworkConfig
from controlplane.sim.outlet import Outlet
from controlplane.sim.profiles import ProfileBook, Purpose
from controlplane.sim.station import Station

__all__ = ["RowWatch"]

_ROUNDING_MA: Final = 1
"""What a limit may gain per outlet when it is turned from watts into amperes."""
_TOLD_MAX: Final = 50
_PHASES: Final = 3


class RowWatch:
    """The rows of a network.

    Args:
        stations: by charger id.
    """

    def __init__(self, network: NetworkConfig, stations: Mapping[str, Station]) -> None:
        self.judged = 0
        """How often a row was looked at because what may flow there had changed."""
        self.over = 0
        """How often it was over its rating then."""
        self.told: list[str] = []
        """The first of them."""
        self.utilisation_max = 0.0
        """The highest share of a rating that might have flowed."""
        self._stations = stations
        self._rating_ma: dict[str, int] = {
            f"feeder {feeder.id}": feeder.current_max_ma for feeder in network.feeders
        }
        self._above: dict[str, list[str]] = {}
        """The rows above each charger."""
        for site in network.sites:
            parent = {circuit.id: circuit.parent for circuit in site.circuits}
            for circuit in site.circuits:
                self._rating_ma[f"{site.id}/{circuit.id}"] = circuit.rating_ma
            for charger in site.chargers:
                rows = [f"feeder {site.feeder}"] if site.feeder else []
                node: str | None = charger.circuit
                while node is not None:
                    rows.append(f"{site.id}/{node}")
                    node = parent[node]
                self._above[charger.id] = rows
        self._load_ma = {name: [0] * _PHASES for name in self._rating_ma}
        self._tolerance_ma = dict.fromkeys(self._rating_ma, 0)
        self._counted_ma: dict[tuple[str, int], int] = {}
        """What each outlet, by its charger and connector, is charged with at the moment."""
        for charger_id, rows in self._above.items():
            for connector_id in stations[charger_id].outlets:
                self._counted_ma[charger_id, connector_id] = 0
                for name in rows:
                    self._tolerance_ma[name] += _ROUNDING_MA
        self._commissioned: set[str] = set()
        """Chargers that have had a default profile. Before, they are nobody's to answer for."""

    def look(self, now_ms: int) -> None:
        """All stations have been stepped: judge this instant."""
        self._judge({name for each in self._above for name in self._count(each, now_ms)}, now_ms)

    def changed(self, charger_id: str, now_ms: int) -> None:
        """A station says something: judge this instant, should it concern what may flow."""
        self._judge(self._count(charger_id, now_ms), now_ms)

    def _count(self, charger_id: str, now_ms: int) -> list[str]:
        """Charge the rows above a charger with what it may draw now; those where that changed."""
        station, rows = self._stations[charger_id], self._above[charger_id]
        if station.commissioned:
            self._commissioned.add(charger_id)
        moved = False
        for connector_id, outlet in station.outlets.items():
            key = charger_id, connector_id
            liability_ma = max(self._parts_ma(charger_id, outlet, now_ms))
            change_ma = liability_ma - self._counted_ma[key]
            if not change_ma:
                continue
            moved, self._counted_ma[key] = True, liability_ma
            for name in rows:
                for line in outlet.spec.lines:
                    self._load_ma[name][line] += change_ma
        return rows if moved else []

    def _parts_ma(self, charger_id: str, outlet: Outlet, now_ms: int) -> tuple[int, ...]:
        """What is offered, the default profile, what is drawn, and what the vehicle may rise to."""
        station, vehicle = self._stations[charger_id], outlet.vehicle
        default_a = 0.0
        if charger_id in self._commissioned:
            profiles = station.book.profiles
            default = ProfileBook([p for p in profiles if p.purpose is not Purpose.TRANSACTION])
            situation = msgspec.structs.replace(
                station.situation(outlet), transaction_id=None, transaction_start_ms=now_ms
            )
            default_a = default.limit_a(situation, now_ms)
        may_a = (
            station.offer_a(outlet, now_ms),
            default_a,
            outlet.draw.current_a,
            0.0 if vehicle is None else vehicle.heard_max_a(),
        )
        return tuple(max(0, round(each_a * 1_000)) for each_a in may_a)

    def _judge(self, names: Iterable[str], now_ms: int) -> None:
        for name in names:
            self.judged += 1
            load_ma, rating_ma = max(self._load_ma[name]), self._rating_ma[name]
            self.utilisation_max = max(self.utilisation_max, load_ma / rating_ma)
            if load_ma <= rating_ma + self._tolerance_ma[name]:
                continue
            self.over += 1
            if len(self.told) < _TOLD_MAX:
                loads = ", ".join(self._described(name, now_ms))
                self.told.append(
                    f"{now_ms}: {name}: {load_ma} mA over {rating_ma} mA"
                    f" (offered/default/drawn/heard: {loads})"
                )

    def _described(self, name: str, now_ms: int) -> Iterable[str]:
        """What every outlet on a row counts for."""
        for charger_id, above in self._above.items():
            for outlet in self._stations[charger_id].outlets.values() if name in above else ():
                parts = "/".join(map(str, self._parts_ma(charger_id, outlet, now_ms)))
                yield f"{charger_id} {parts}"
