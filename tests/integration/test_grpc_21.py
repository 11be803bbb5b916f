"""A simulated OCPP 2.1 station at a real node: it charges, and does what only 2.1 knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_node import serving

from controlplane.api.v1 import (
    battery_swap_pb2,
    battery_swap_pb2_grpc,
    bidirectional_pb2,
    bidirectional_pb2_grpc,
    chargers_pb2,
    der_pb2,
    der_pb2_grpc,
    event_streams_pb2,
    event_streams_pb2_grpc,
    payments_pb2,
    payments_pb2_grpc,
    tariffs_pb2,
    tariffs_pb2_grpc,
)
from controlplane.config import Settings
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.node import Node
from controlplane.sim.outlet import OutletSpec, StationSpec
from controlplane.sim.station import Station
from controlplane.sim.station_v21 import DialectV21
from controlplane.sim.vehicle import Vehicle, VehicleSpec

NETWORK = """
version: 1
sites:
  - id: S
    circuits: [{id: supply, rating_a: 63}]
    chargers: [{id: CP21, circuit: supply, connectors: [{id: 1, current_max_a: 32}]}]
"""
VEHICLE = VehicleSpec(
    battery_wh=60_000, phases=3, current_max_a=32, pilot_delay_s=0, ramp_up_a_per_s=100
)
TARIFF = tariffs_pb2.Tariff(
    tariff_id="T1",
    currency="EUR",
    energy=[
        tariffs_pb2.EnergyPrice(
            per_kwh="0.25",
            conditions=tariffs_pb2.TariffConditions(start_time="22:00", end_time="06:00"),
        ),
        tariffs_pb2.EnergyPrice(per_kwh="0.39"),
    ],
    tax_rates=[tariffs_pb2.TaxRate(name="VAT", percent="19")],
)


class World(NamedTuple):
    """A node, its API's channel, and a 2.1 station."""

    node: Node
    channel: grpc.aio.Channel
    station: Station
    dialect: DialectV21

    async def told(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """What the journal says of a kind, once it does."""
        found: list[dict[str, Any]] = []
        cursor = 0
        async with asyncio.timeout(20):
            while len(found) < count:
                batch = await self.node.client.events(cursor, limit=1_000, timeout_s=1.0)
                for event in batch:
                    cursor = event.cursor
                    if event.kind == kind:
                        found.append(event.data)
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    settings = Settings(data_dir=tmp_path, ocpp_port=0, grpc_port=0, round_interval_s=0.05)
    async with serving(settings, NETWORK) as (node, _, channel):
        spec = StationSpec("CP21", "2.1", "A", (OutletSpec(1, (0, 1, 2), 32.0),))
        url = f"ws://127.0.0.1:{node.ocpp_port}/ocpp"
        station = Station(spec, url=url, clock=SystemClock(), dialect=DialectV21, seed=1)
        running = asyncio.create_task(station.run())
        dialect = station.dialect
        assert isinstance(dialect, DialectV21)
        try:
            yield World(node, channel, station, dialect)
        finally:
            await station.stop()
            await asyncio.wait_for(running, 10)


def live(station: Station, seconds: int) -> None:
    for _ in range(seconds):
        station.step(station.clock.now_ms(), 1.0)


async def until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 - a simulated station has no event for it
            await asyncio.sleep(0.02)


async def accepted(call: Awaitable[Any]) -> Any:
    response = await call
    assert response.outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED, response.outcome
    return response


async def charging(world: World) -> str:
    """A vehicle charges at more than the default; the transaction's id."""
    station = world.station
    await until(lambda: station.commissioned)
    station.plug(1, Vehicle(VEHICLE, 0.3), "EV1")
    outlet = station.outlets[1]
    await until(lambda: outlet.transaction is not None)
    await until(lambda: station.offer_a(outlet, station.clock.now_ms()) > 6.0)
    assert outlet.transaction is not None
    assert outlet.transaction.id is not None
    return outlet.transaction.id


async def test_a_session_with_tariff_cost_and_settlement(world: World) -> None:
    station, dialect = world.station, world.dialect
    tariffs = tariffs_pb2_grpc.TariffsServiceStub(world.channel)
    await until(lambda: station.commissioned)
    await accepted(
        tariffs.SetDefaultTariff(
            tariffs_pb2.SetDefaultTariffRequest(charger_id="CP21", tariff=TARIFF)
        )
    )
    held = await accepted(
        tariffs.GetTariffs(tariffs_pb2.GetTariffsRequest(charger_id="CP21", connector_id=1))
    )
    assert [each.tariff_id for each in held.tariffs] == ["T1"]
    await tariffs.SetDriverTariff(
        tariffs_pb2.SetDriverTariffRequest(charger_id="CP21", id_token="EV1", tariff=TARIFF)
    )
    transaction_id = await charging(world)
    live(station, 600)
    station.sample(context="Trigger")
    cost = (await world.told("session.cost", 2))[-1]
    energy_wh = cost["energy_wh"]
    assert energy_wh > 1_000
    assert cost["currency"] == "EUR"
    net = round(energy_wh * 0.39 / 1_000, 2)
    assert abs(float(cost["total"]["excluding_tax"]) - net) <= 0.01
    dearer = tariffs_pb2.Tariff()
    dearer.CopyFrom(TARIFF)
    dearer.currency = "GBP"
    response = await tariffs.ChangeTransactionTariff(
        tariffs_pb2.ChangeTransactionTariffRequest(
            charger_id="CP21", transaction_id=transaction_id, tariff=dearer
        )
    )
    assert response.outcome.status == "NoCurrencyChange"
    station.unplug(1)
    dialect.settle("psp-1", 12.1, transaction_id)
    dialect.settle("psp-1", 12.1, transaction_id)
    assert await station.drained(10)
    (settlement,) = await world.told("payment.settlement")
    assert settlement["amount"] == "12.1"
    assert settlement["session_id"] == "CP21-1"
    cleared = await accepted(
        tariffs.ClearTariffs(tariffs_pb2.ClearTariffsRequest(charger_id="CP21"))
    )
    assert [(each.tariff_id, each.status) for each in cleared.tariffs] == [("T1", "Accepted")]
    assert station.traffic.refused == 0
    assert dialect.refused == []


async def test_setpoints_never_exceed_what_the_site_grants(world: World) -> None:
    dialect = world.dialect
    bidirectional = bidirectional_pb2_grpc.BidirectionalServiceStub(world.channel)
    transaction_id = await charging(world)
    dialect.needs(
        1,
        {
            "requested_energy_transfer": "AC_BPT",
            "v2x_charging_parameters": {"max_discharge_power": 7_000, "max_charge_power": 11_000},
        },
    )
    needs = (await world.told("session.vehicle_needs"))[-1]
    assert needs["discharge_power_max_w"] == 7_000
    await accepted(
        bidirectional.AllowEnergyTransfer(
            bidirectional_pb2.AllowEnergyTransferRequest(
                charger_id="CP21",
                transaction_id=transaction_id,
                modes=[bidirectional_pb2.ENERGY_TRANSFER_AC_BPT],
            )
        )
    )
    assert dialect.allowed == ["AC_BPT"]
    profile = bidirectional_pb2.PowerProfile(
        profile_id=500,
        purpose=bidirectional_pb2.POWER_PURPOSE_TRANSACTION,
        kind=bidirectional_pb2.PROFILE_KIND_DYNAMIC,
        unit="A",
        stack_level=1,
        transaction_id=transaction_id,
        periods=[
            bidirectional_pb2.SetpointPeriod(
                values=bidirectional_pb2.ScheduleValues(
                    limit=bidirectional_pb2.PhaseValues(first=10)
                ),
                operation_mode=bidirectional_pb2.OPERATION_MODE_CHARGING_ONLY,
            )
        ],
    )
    request = bidirectional_pb2.SetPowerProfileRequest(
        charger_id="CP21", connector_id=1, profile=profile
    )
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await bidirectional.SetPowerProfile(request)
    assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    request.outside_allocation = True
    await accepted(bidirectional.SetPowerProfile(request))
    await accepted(
        bidirectional.UpdateSchedule(
            bidirectional_pb2.UpdateScheduleRequest(
                charger_id="CP21",
                profile_id=500,
                outside_allocation=True,
                values=bidirectional_pb2.ScheduleValues(
                    limit=bidirectional_pb2.PhaseValues(first=5_000)
                ),
            )
        )
    )
    dialect.pull(500)
    (pulled,) = await world.told("charger.schedule_pulled")
    assert pulled["given"]["limit"]["first"] <= 32.0
    response = await bidirectional.UsePriority(
        bidirectional_pb2.UsePriorityRequest(
            charger_id="CP21", transaction_id=transaction_id, active=True
        )
    )
    assert response.outcome.status == "NoProfile"
    await accepted(
        bidirectional.SendFrequencySignal(
            bidirectional_pb2.SendFrequencySignalRequest(
                charger_id="CP21", at_time=Timestamp(seconds=1_800_000_000), signal=-3
            )
        )
    )
    assert dialect.signals == [-3]


async def test_grid_support_streams_and_swaps(world: World) -> None:
    station, dialect = world.station, world.dialect
    await until(lambda: station.commissioned)
    der = der_pb2_grpc.DerServiceStub(world.channel)
    curve = der_pb2.DerCurve(
        points=[der_pb2.DerPoint(x=92, y=44), der_pb2.DerPoint(x=108, y=-44)],
        y_unit=der_pb2.DER_UNIT_PCT_MAX_VAR,
        priority=1,
    )
    control = der_pb2.DerControl(
        control_id="vv", kind=der_pb2.DER_KIND_VOLT_VAR, is_default=True, curve=curve
    )
    await accepted(
        der.SetDerControl(der_pb2.SetDerControlRequest(charger_id="CP21", control=control))
    )
    await accepted(der.ReportDerControls(der_pb2.ReportDerControlsRequest(charger_id="CP21")))
    await world.told("der.reported")
    dialect.alarm("HVMustTrip", "OverVoltage")
    await world.told("der.alarm")
    state = await der.GetDerState(der_pb2.GetDerStateRequest(charger_id="CP21"))
    assert [(each.control_id, each.kind) for each in state.controls] == [
        ("vv", der_pb2.DER_KIND_VOLT_VAR)
    ]
    assert state.controls[0].curve.points[1] == der_pb2.DerPoint(x=108, y=-44)
    assert [each.fault for each in state.alarms] == ["OverVoltage"]
    await accepted(
        der.ClearDerControl(der_pb2.ClearDerControlRequest(charger_id="CP21", is_default=True))
    )
    assert dialect.controls == {}

    dialect.open_stream(7, monitor_id=3, interval_s=1)
    (values,) = await world.told("stream.values")
    assert values["stream_id"] == 7
    assert [value for _, value in values["values"]] == ["0"]
    streams = event_streams_pb2_grpc.EventStreamsServiceStub(world.channel)
    await accepted(
        streams.AdjustEventStream(
            event_streams_pb2.AdjustEventStreamRequest(
                charger_id="CP21", stream_id=7, rate=event_streams_pb2.StreamRate(interval_s=60)
            )
        )
    )
    told = await accepted(
        streams.GetEventStreams(event_streams_pb2.GetEventStreamsRequest(charger_id="CP21"))
    )
    assert [(each.stream_id, each.rate.interval_s) for each in told.streams] == [(7, 60)]
    dialect.close_stream(7)
    await world.told("stream.closed")

    swaps = battery_swap_pb2_grpc.BatterySwapServiceStub(world.channel)
    await accepted(
        swaps.RequestBatterySwap(
            battery_swap_pb2.RequestBatterySwapRequest(charger_id="CP21", id_token="EV1")
        )
    )
    dialect.swap(dialect.swaps[0], "BatteryIn", "EV1", "B-EMPTY")
    dialect.swap(dialect.swaps[0], "BatteryOut", "EV1", "B-FULL")
    steps = await world.told("battery.swap", 2)
    assert [step["step"] for step in steps] == ["BatteryIn", "BatteryOut"]
    assert {step["request_id"] for step in steps} == set(dialect.swaps)
    payments = payments_pb2_grpc.PaymentsServiceStub(world.channel)
    await accepted(
        payments.NotifyWebPayment(
            payments_pb2.NotifyWebPaymentRequest(
                charger_id="CP21", connector_id=1, payment_timeout_s=120
            )
        )
    )
    assert dialect.web_payments == [(1, 120)]
    assert await station.drained(10)
