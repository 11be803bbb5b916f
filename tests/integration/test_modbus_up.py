"""`loadstar up` reads the meters that its network describes, and lets go of them when it stops."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml
from modbus_server import ServedMeter, served_meter
from typer.testing import CliRunner

from controlplane.cli import app


def network(meter: ServedMeter) -> str:
    described = meter.config.model_dump(mode="json")
    site = {
        "id": "depot",
        "circuits": [{"id": "supply", "rating_a": 100}],
        "building_load": {"circuit": "supply", "meter": described},
    }
    return yaml.safe_dump({"version": 1, "sites": [site]})


async def building(address: str) -> dict[str, Any]:
    command = ["sites", "allocation", "depot", "--address", address, "--json"]
    result = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)["circuits"][0]["building"]
    return found


async def test_a_running_loadstar_reads_the_meters_of_its_sites(tmp_path: Path) -> None:
    async with served_meter() as meter:
        file, ready = tmp_path / "network.yaml", tmp_path / "ready.json"
        file.write_text(network(meter))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "controlplane.cli", "up", "--one-process"),
            *("--data-dir", str(tmp_path / "data"), "--ocpp-port", "0", "--grpc-port", "0"),
            *("--ready-file", str(ready), "--network", str(file)),
            stdout=asyncio.subprocess.DEVNULL,
            env={k: v for k, v in os.environ.items() if not k.startswith("LOADSTAR_")},
        )
        try:
            async with asyncio.timeout(60):
                while not ready.exists():
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
                address = f"127.0.0.1:{json.loads(ready.read_text())['grpc_port']}"
                expected = {"l1_ma": 10_000, "l2_ma": 20_000, "l3_ma": 30_000}
                while await building(address) != expected:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        finally:
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 30) == 0
        asked = meter.asked
        await asyncio.sleep(0.5)
        assert meter.asked == asked
