"""What is said of several hosts that were measured on fewer cores than they would want."""

from __future__ import annotations

from controlplane.bench.ocpp import Measured, projected
from controlplane.bench.station_load import LoadReport


def measured(messages: int, **cpu_s: float) -> Measured:
    roles = {role.replace("_", "-"): used_s for role, used_s in cpu_s.items()}
    return Measured(load=LoadReport(acknowledged=messages), cpu_s=roles)


def test_two_hosts_that_share_evenly_at_the_same_cost_carry_twice_as_much() -> None:
    two = measured(10_000, gateway=9.0, host_1=0.5, host_2=0.5)
    assert projected(two, measured(10_000, gateway=1.0, host=1.0)) == {
        "one_host_messages_per_host_cpu_second": 10_000,
        "busiest_host_share": 0.5,
        "projected_speed_up": 2.0,
    }


def test_the_busiest_host_and_what_messages_cost_more_are_not_hidden() -> None:
    two = measured(10_000, host_1=0.9, host_2=0.6)
    found = projected(two, measured(20_000, host=2.0))
    assert found["busiest_host_share"] == 0.6
    # The busiest is full after 10,000 / 0.9 messages a second, where one alone carries 10,000.
    assert found["projected_speed_up"] == 1.11
