"""A site that has a tariff plans, follows its plan, and says so."""

from __future__ import annotations

from typing import Any

from site_bench import START_MS, Bench, charger, site

from controlplane.ids import ChargerId
from controlplane.planning import Desk
from controlplane.site.messages import ConnectorExplanation, ExplainConnector

HOUR_MS = 3_600_000
TARIFF = {
    "currency": "EUR",
    "import_price_per_kwh": "0.40",
    "periods": [
        {"hours": [{"from": "00:00", "to": "06:00"}], "import_price_per_kwh": "0.10"},
    ],
}
"""The bench begins at 22:13:20 UTC."""
STEP_MS = 30_000


class Planned(Bench):
    """Vehicles draw what they are allowed, on three phases, and are metered every half minute."""

    def __init__(self, chargers: list[dict[str, Any]], **values: Any) -> None:
        super().__init__(site(chargers, tariff=values.pop("tariff", TARIFF), **values))
        self.desk = Desk()
        self.energy_wh: dict[str, float] = {}
        self.needs_wh: dict[str, float] = {}
        self.allowed_a: dict[str, float] = {}
        self.most_a = 32.0
        self.told: dict[str, list[tuple[int, float]]] = {}

    def arrive(self, id: str, **values: Any) -> None:
        self.energy_wh[id] = 0.0
        self.needs_wh[id] = values.get("need_wh") or 1e9
        self.allowed_a[id] = 0.0
        self.plug(id, **values)

    def drive(self, duration_ms: int) -> None:
        until_ms = self.now_ms + duration_ms
        while self.now_ms < until_ms:
            for name, limit_a in self.answer():
                self.allowed_a[name] = limit_a
                self.told.setdefault(name, []).append((self.now_ms, limit_a))
            for name in self.energy_wh:
                full = self.energy_wh[name] >= self.needs_wh[name]
                drawn_a = 0.0 if full else min(self.allowed_a[name], self.most_a)
                self.energy_wh[name] += drawn_a * 690 * STEP_MS / HOUR_MS
                self.meter(name, drawn_a, drawn_a, drawn_a, energy_wh=round(self.energy_wh[name]))
            self.advance(STEP_MS)

    def why(self, id: str) -> str:
        found = self.ask(ExplainConnector(ChargerId(id), 1), ConnectorExplanation)
        return next(each.words for each in found.factors if each.kind == "plan")


def test_a_vehicle_waits_for_cheaper_power_and_is_ready_in_time() -> None:
    bench = Planned([charger("A", current_max_a=16)])
    bench.arrive("A", need_wh=20_000, departure_ms=START_MS + 9 * HOUR_MS)
    bench.drive(HOUR_MS)
    assert bench.connector("A").reason == "waits for cheaper power until 00:00"
    assert bench.energy_wh["A"] < 1_000  # what it drew before it was paused
    bench.drive(2 * HOUR_MS)
    assert bench.connector("A").limit_ma == 16_000
    assert bench.why("A") == "charges now while power is cheap"
    bench.drive(2 * HOUR_MS)
    assert bench.energy_wh["A"] >= 20_000
    assert len(bench.told["A"]) <= 6
