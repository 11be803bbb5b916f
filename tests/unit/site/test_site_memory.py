"""What a site knows outlives a new description and a lost host."""

from __future__ import annotations

from typing import Any

from site_bench import START_MS, Bench, charger, site

from controlplane.ids import SessionId
from controlplane.ocpp.commands import CommandState
from controlplane.site.ledger import Entry

BUILDING = {"circuit": "supply", "stale_after_s": 600}


def metered(**building: Any) -> dict[str, Any]:
    return site([charger("A"), charger("B")], supply_a=100, building_load=BUILDING | building)


def test_another_meter_of_the_same_circuit_gives_nothing_away_before_it_speaks() -> None:
    bench = Bench(metered())
    bench.building(80, 80, 80)
    bench.plug("A")
    bench.settle(5_000)
    assert bench.connector("A").limit_ma == 20_000
    bench.configure(metered(measures="supply", stale_after_s=60))
    bench.settle(30_000)
    assert bench.connector("A").limit_ma == 20_000
    bench.settle(60_000)
    assert bench.view().building_load_stale


def test_the_load_is_written_again_after_a_new_description() -> None:
    bench = Bench(metered())
    bench.building(80, 80, 80)
    described_elsewhere = site([charger("A"), charger("B")], supply_a=100)
    bench.configure(described_elsewhere)
    bench.configure(metered())
    bench.building(80, 80, 80)
    bench.crash()
    assert bench.view().circuits[0].building_ma == (80_000,) * 3


def test_a_limit_in_flight_to_the_session_before_counts_after_a_crash() -> None:
    """A station that does not compare transactions may hold the next one to it."""
    entry = Entry(hardware_ma=32_000, offline_ma=0, default_ma=0, online=True, settled=True)
    entry.session(SessionId("first"))
    entry.sent(1, 20_000, now_ms=START_MS)
    entry.session(SessionId("second"))
    assert entry.liability_ma == 20_000
    entry.recovered()
    assert entry.liability_ma == 20_000
    entry.online = entry.settled = True
    entry.sent(2, 10_000, now_ms=START_MS)
    entry.outcome(
        2,
        CommandState.ACCEPTED,
        superseded=False,
        now_ms=START_MS,
        backoff_ms=1_000,
        backoff_max_ms=30_000,
    )
    entry.expired(
        now_ms=START_MS + 30_000,
        ramp_ms=30_000,
        answer_ms=120_000,
        backoff_ms=1_000,
        backoff_max_ms=30_000,
    )
    assert entry.liability_ma == 10_000
