"""The OCPP bench, small: what it prints must be true whatever the figures are."""

from __future__ import annotations

import pytest

from controlplane.bench.ocpp import run


@pytest.mark.timeout(240)
def test_a_small_run_loses_nothing_and_prints_every_figure() -> None:
    result = run(chargers=100, seconds=0.5, hosts=2)
    assert result["chargers"] == 100
    assert result["lost"] == 0
    assert result["refused"] == 0
    assert result["messages"] > 10
    for key in ("messages_per_cpu_second", "baseline_messages_per_cpu_second", "ratio", "p99_ms"):
        assert result[key] > 0, key
    assert isinstance(result["bytes_per_charger"], int)
    assert {"gateway", "host-1", "host-2", "ray"} <= result["cpu_us_per_message"].keys()
    assert result["hosts"] == 2
    assert 0.5 <= result["busiest_host_share"] <= 1.0
    for key in ("messages_per_host_cpu_second", "one_host_messages_per_host_cpu_second"):
        assert result[key] > result["messages_per_cpu_second"], key
    assert 0 < result["projected_speed_up"] < 4
