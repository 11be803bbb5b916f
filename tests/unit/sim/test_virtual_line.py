"""The gateway of the deterministic world: what was never answered is asked of the next host."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace
from typing import Any

from controlplane.actor import Reply
from controlplane.charger.messages import StationCalled
from controlplane.ids import ActorRef
from controlplane.sim.network_faults import NetworkFaults
from controlplane.sim.violations import Violations
from controlplane.sim.virtual_host import Scheduler
from controlplane.sim.virtual_line import VirtualLine


class Host:
    """Notes what it hears and answers nothing by itself."""

    def __init__(self) -> None:
        self.up = True
        self.heard: list[str] = []

    def from_station(self, ref: ActorRef, message: Any) -> None:
        if isinstance(message, StationCalled):
            self.heard.append(message.message_id)


def test_a_call_that_arrived_twice_is_asked_again_until_both_are_answered() -> None:
    scheduler, violations = Scheduler(0), Violations()
    line = VirtualLine(scheduler, NetworkFaults(frozenset(), Random(0)), violations)
    host: Any = Host()
    station: Any = SimpleNamespace(
        spec=SimpleNamespace(id="CP1"),
        dialect=SimpleNamespace(version="ocpp1.6"),
        connection="",
        running=True,
        opened=lambda: None,
        received=lambda frame: None,
    )
    line.host, line.stations = host, {"CP1": station}
    line.open(station)
    for _ in range(2):
        line.up("CP1", [2, "7", "Heartbeat", {}])
    scheduler.run_until(1_000)
    line.released(Reply(station.connection, "7", {"currentTime": "2026-01-01T00:00:00Z"}))
    line.host_returned()
    assert host.heard == ["7", "7", "7"]
    line.released(Reply(station.connection, "7", {"currentTime": "2026-01-01T00:00:00Z"}))
    line.host_returned()
    assert host.heard == ["7", "7", "7"]
    line.answers.check(60_000)
    assert violations.found == []
