"""A machine's clock is set while stations talk: a new host goes by it, and no socket notices."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from runtime_actors import create_tiny
from test_runtime_local import METER_VALUES, SITE, call, settings_for, station, until

from controlplane.runtime.clock import SetClock
from controlplane.runtime.node import start_node
from controlplane.site.messages import ConfigureSite, SiteConfigured

HOUR_MS = 3_600_000


@pytest.mark.parametrize("step_ms", [-HOUR_MS, HOUR_MS])
async def test_a_host_begins_anew_where_the_clock_was_set(tmp_path: Path, step_ms: int) -> None:
    file = tmp_path / "clock"
    SetClock.set(file, 0)
    node = await start_node(
        settings_for(tmp_path, clock_offset_file=file), transport="local", create=create_tiny
    )
    try:
        await node.client.ask(SITE, ConfigureSite(b"CP1"), SiteConfigured)
        async with station(node, "CP1") as socket:
            assert await call(socket, "before", "MeterValues", METER_VALUES) == [3, "before", {}]
            SetClock.set(file, step_ms)
            await until(lambda: node.host_restarts == 1)
            assert await call(socket, "after", "MeterValues", METER_VALUES) == [3, "after", {}]
        events = await node.reader.journal(0)
        off_ms = [each.at_ms - time.time_ns() // 1_000_000 for each in events]
        assert abs(off_ms[0]) < HOUR_MS // 2
        assert abs(off_ms[-1] - step_ms) < HOUR_MS // 2
    finally:
        await node.stop()
