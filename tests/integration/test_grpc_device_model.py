"""A simulated 2.0.1 station and what it says of itself, over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from grpc_node import serving

from controlplane.api.v1 import (
    chargers_pb2,
    chargers_pb2_grpc,
    device_model_pb2,
    device_model_pb2_grpc,
)
from controlplane.config import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.sim.outlet import OutletSpec, StationSpec
from controlplane.sim.station import Station
from controlplane.sim.station_v16 import DialectV16
from controlplane.sim.station_v201 import DialectV201

NETWORK = """
sites:
  - id: yard
    circuits:
      - {id: supply, rating_a: 100}
    chargers:
      - {id: CP-2, circuit: supply}
      - {id: CP-1, circuit: supply, quirks: [safe-mode]}
"""


class Loadstar(NamedTuple):
    ocpp_port: int
    chargers: chargers_pb2_grpc.ChargersServiceAsyncStub
    device_model: device_model_pb2_grpc.DeviceModelServiceAsyncStub


@pytest.fixture
async def loadstar(tmp_path: Path) -> AsyncIterator[Loadstar]:
    settings = Settings(
        data_dir=tmp_path, ocpp_port=0, grpc_port=0, clock_speed=20.0, round_interval_s=0.1
    )
    async with serving(settings, NETWORK) as (node, _, channel):
        yield Loadstar(
            node.ocpp_port,
            chargers_pb2_grpc.ChargersServiceStub(channel),
            device_model_pb2_grpc.DeviceModelServiceStub(channel),
        )


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(20):
        while not (found := await check()):  # noqa: ASYNC110 - a poll over gRPC has no event
            await asyncio.sleep(0.02)
    return found


def station(kind: type[Any], id: str, version: Any, port: int) -> Station:
    outlet = OutletSpec(connector_id=1, lines=(0, 1, 2), current_max_a=32.0)
    return Station(
        StationSpec(id=id, version=version, unit="A", outlets=(outlet,)),
        url=f"ws://127.0.0.1:{port}/ocpp",
        clock=SystemClock(),
        dialect=kind,
    )


async def variables(
    loadstar: Loadstar, charger_id: str, filter: str = ""
) -> dict[str, device_model_pb2.Variable]:
    found = {}
    token = ""
    while True:
        page = await loadstar.device_model.GetDeviceModel(
            device_model_pb2.GetDeviceModelRequest(
                charger_id=charger_id, filter=filter, page_size=5, page_token=token
            )
        )
        found.update({variable.key: variable for variable in page.variables})
        token = page.next_page_token
        if not token:
            return found


async def charger(loadstar: Loadstar, charger_id: str) -> chargers_pb2.Charger:
    request = chargers_pb2.GetChargerRequest(charger_id=charger_id)
    return (await loadstar.chargers.GetCharger(request)).charger


async def reported(loadstar: Loadstar, charger_id: str) -> None:
    async def told() -> bool:
        return (await charger(loadstar, charger_id)).HasField("settings_complete_time")

    await until(told)


async def test_a_station_reports_itself_and_is_watched(loadstar: Loadstar) -> None:
    simulated = station(DialectV201, "CP-2", "2.0.1", loadstar.ocpp_port)
    running = asyncio.create_task(simulated.run())
    try:
        await reported(loadstar, "CP-2")
        found = await variables(loadstar, "CP-2")
        power = found["EVSE{1}.Power"]
        assert (power.evse_id, power.unit, power.limit_max) == (1, "W", 22_080)
        assert power.mutability == "ReadOnly"
        assert power.supports_monitoring
        rate = found["SmartChargingCtrlr.RateUnit"]
        assert (rate.value, rate.attribute) == ("A", "Actual")
        assert list(await variables(loadstar, "CP-2", "smartcharging")) == [
            "SmartChargingCtrlr.PeriodsPerSchedule",
            "SmartChargingCtrlr.ProfileStackLevel",
            "SmartChargingCtrlr.RateUnit",
        ]

        written = await loadstar.chargers.SetSettings(
            chargers_pb2.SetSettingsRequest(
                charger_id="CP-2", settings={"TxCtrlr.EVConnectionTimeOut": "45"}
            )
        )
        assert written.outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED
        timeout = (await variables(loadstar, "CP-2", "EVConnectionTimeOut")).popitem()[1]
        assert (timeout.value, timeout.data_type) == ("45", "integer"), "the rest is still known"

        refreshed = await loadstar.device_model.RefreshDeviceModel(
            device_model_pb2.RefreshDeviceModelRequest(charger_id="CP-2")
        )
        assert refreshed.outcome.status == "Accepted"

        monitor = device_model_pb2.Monitor(
            key="EVSE{1}.Power",
            kind=device_model_pb2.MONITOR_KIND_UPPER_THRESHOLD,
            value=20_000,
            severity=2,
        )
        unknown = device_model_pb2.Monitor(
            key="EVSE{1}.Colour", kind=device_model_pb2.MONITOR_KIND_DELTA, value=1, severity=9
        )
        watched = await loadstar.device_model.SetVariableMonitoring(
            device_model_pb2.SetVariableMonitoringRequest(
                charger_id="CP-2", monitors=[monitor, unknown]
            )
        )
        assert watched.outcome.state == chargers_pb2.COMMAND_STATE_REJECTED
        assert [result.status for result in watched.results] == ["Accepted", "UnknownVariable"]
        listed = await loadstar.device_model.ListMonitors(
            device_model_pb2.ListMonitorsRequest(charger_id="CP-2")
        )
        assert [(each.key, each.severity) for each in listed.monitors] == [("EVSE{1}.Power", 2)]

        device = simulated.dialect.device  # type: ignore[attr-defined]
        device.alert(1, "21000")
        alarmed = await until(lambda: _alarms(loadstar))
        assert [(alarm.variable, alarm.severity, alarm.value) for alarm in alarmed] == [
            ("EVSE{1}.Power", 2, "21000")
        ]
        device.alert(1, "100", cleared=True)

        async def quiet() -> bool:
            return not await _alarms(loadstar)

        await until(quiet)
        cleared = await loadstar.device_model.ClearVariableMonitoring(
            device_model_pb2.ClearVariableMonitoringRequest(charger_id="CP-2", monitor_ids=[1, 7])
        )
        assert cleared.outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED
        assert [result.status for result in cleared.results] == ["Accepted", "NotFound"]
        listed = await loadstar.device_model.ListMonitors(
            device_model_pb2.ListMonitorsRequest(charger_id="CP-2")
        )
        assert not listed.monitors
    finally:
        await simulated.stop()
        await running


async def _alarms(loadstar: Loadstar) -> list[chargers_pb2.ChargerAlarm]:
    return list((await charger(loadstar, "CP-2")).alarms)


async def test_keys_of_a_1_6_station_are_rows_like_any_other(loadstar: Loadstar) -> None:
    simulated = station(DialectV16, "CP-1", "1.6", loadstar.ocpp_port)
    running = asyncio.create_task(simulated.run())
    try:
        await reported(loadstar, "CP-1")
        found = await variables(loadstar, "CP-1", "rateunit")
        (unit,) = found.values()
        assert (unit.component, unit.mutability, unit.value) == ("", "ReadOnly", "Current")
        assert list((await charger(loadstar, "CP-1")).quirks) == ["safe-mode"]
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await loadstar.device_model.SetMonitoringLevel(
                device_model_pb2.SetMonitoringLevelRequest(charger_id="CP-1", severity=3)
            )
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    finally:
        await simulated.stop()
        await running
