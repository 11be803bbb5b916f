"""From the utility to the vehicle and back: an event at the VTN, a lower limit in a charger, and
what was drawn is told to the VTN."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
from grpc_node import serving
from grpc_stations import Station16, connected
from ocpp.routing import on
from ocpp.v16 import call_result
from openadr_vtn import CLIENT_ID, SECRET, Vtn, serving_vtn

from controlplane.config import Settings
from controlplane.integrations.openadr.grid import GridClient
from controlplane.integrations.openadr.settings import OpenAdrSettings
from controlplane.integrations.openadr.ven import Ven
from controlplane.integrations.openadr.vtn import VtnClient
from controlplane.runtime.clock import SystemClock

NETWORK = """
feeders:
  - {id: north, power_max_w: 69000}
sites:
  - id: depot
    feeder: north
    circuits: [{id: supply, rating_a: 100}]
    chargers: [{id: CP-1, circuit: supply}]
"""


class Charger(Station16):
    """Remembers the limits it was given."""

    def __init__(self, id: str, connection: Any) -> None:
        super().__init__(id, connection)
        self.limits_a: list[float] = []

    @on("SetChargingProfile")
    def on_profile(self, connector_id: int, cs_charging_profiles: Any) -> Any:
        if cs_charging_profiles["charging_profile_purpose"] == "TxProfile":
            periods = cs_charging_profiles["charging_schedule"]["charging_schedule_period"]
            self.limits_a.append(periods[0]["limit"])
        return call_result.SetChargingProfile(status="Accepted")


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    """The first truthy result of `check`."""
    async with asyncio.timeout(30):
        while not (found := await check()):  # noqa: ASYNC110 - a station has no event
            await asyncio.sleep(0.05)
    return found


async def test_an_event_reaches_the_vehicle_and_its_response_the_utility(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        ocpp_port=0,
        grpc_port=0,
        round_interval_s=0.05,
        site_report_interval_s=0.1,
        ramp_s=0.5,
    )
    async with AsyncExitStack() as closing:
        node, _, channel = await closing.enter_async_context(serving(settings, NETWORK))
        vtn = closing.enter_context(serving_vtn(Vtn()))
        charger = await closing.enter_async_context(connected(Charger, "CP-1", node.ocpp_port))
        await charger.begin("driver")
        await _steer(vtn, channel, charger)


async def _steer(vtn: Vtn, channel: grpc.aio.Channel, charger: Charger) -> None:
    ven_settings = OpenAdrSettings.model_validate(
        {
            "vtn": vtn.url,
            "program": vtn.program_id,
            "target": "feeder:north",
            "client_id": CLIENT_ID,
            "client_secret": SECRET,
        }
    )
    client = VtnClient(vtn.url, client_id=CLIENT_ID, client_secret=SECRET)
    ven = Ven(ven_settings, client, GridClient(channel, ven_settings.target), SystemClock())

    async def unrestrained() -> bool:
        await charger.meter(charger.register_wh)
        return bool(charger.limits_a) and charger.limits_a[-1] == 32

    await until(unrestrained)
    vtn.event("IMPORT_CAPACITY_LIMIT", 6.9, reportDescriptors=[{"payloadType": "USAGE"}])
    await ven.cycle()

    async def told() -> dict[str, Any]:
        await charger.meter(charger.register_wh)
        await ven.cycle()
        for report in vtn.reports("ACKNOWLEDGEMENT"):
            payloads = report["resources"][0]["intervals"][0]["payloads"]
            found = {payload["type"]: payload["values"][0] for payload in payloads}
            if found["LOADSTAR_STATE"] == "MET" and "LOADSTAR_ACKNOWLEDGED" in found:
                return found
        return {}

    acknowledged = await until(told)
    assert charger.limits_a[-1] <= 10, "6.9 kW are 10 A on each of three phases"
    assert acknowledged["LOADSTAR_ASKED"] == "LIMIT 6900 W"
    assert acknowledged["SETPOINT"] == 6.9
    assert 0 < acknowledged["DEMAND"] <= 6.9
    assert acknowledged["OPERATING_STATE"] == "RUNNING_CURTAILED"
    assert acknowledged["LOADSTAR_APPLIED"] <= acknowledged["LOADSTAR_ACKNOWLEDGED"]

    for event in list(vtn.objects["events"].values()):
        vtn.remove(event)
    await ven.cycle()
    await until(unrestrained)
    await client.close()
