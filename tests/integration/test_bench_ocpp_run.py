"""The OCPP bench, small: what it prints must be true whatever the figures are."""

from __future__ import annotations

import pytest

from controlplane.bench.ocpp import run


@pytest.mark.timeout(240)
def test_a_small_run_loses_nothing_and_prints_every_figure() -> None:
    result = run(chargers=10, seconds=0.5)
    assert result["chargers"] == 10
    assert result["lost"] == 0
    assert result["refused"] == 0
    assert result["messages"] > 10
    for key in ("messages_per_cpu_second", "baseline_messages_per_cpu_second", "ratio", "p99_ms"):
        assert result[key] > 0, key
    assert isinstance(result["bytes_per_charger"], int)
    assert {"gateway", "host", "ray", "supervisor"} <= result["cpu_us_per_message"].keys()
    assert result["hosts"] == 1
    assert result["messages_per_host_cpu_second"] > result["messages_per_cpu_second"]
