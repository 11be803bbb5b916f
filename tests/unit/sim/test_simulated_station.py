"""Simulated stations against a small central system: real sockets, both versions of OCPP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
from ocpp.v16 import call as call_v16
from ocpp.v201 import call as call_v201
from small_csms import SmallCsms

from controlplane.demo.grounds import make_station
from controlplane.runtime.clock import AcceleratedClock
from controlplane.sim.outlet import OutletSpec, OutletState, StationSpec
from controlplane.sim.station import Station
from controlplane.sim.vehicle import Vehicle, VehicleSpec

START_MS = 1_560_348_000_000
SPEED = 60.0
VEHICLE = VehicleSpec(
    battery_wh=60_000, phases=3, current_max_a=32, pilot_delay_s=0, ramp_up_a_per_s=100
)
Version = Literal["1.6", "2.0.1"]


@pytest.fixture
async def csms() -> AsyncIterator[SmallCsms]:
    async with SmallCsms().serving() as serving:
        yield serving


@contextlib.asynccontextmanager
async def station_at(
    csms: SmallCsms, version: Version, *, unit: Literal["A", "W"] = "A"
) -> AsyncIterator[Station]:
    spec = StationSpec("CP-1", version, unit, (OutletSpec(1, (1, 2, 0), 32.0),))
    clock = AcceleratedClock(start_ms=START_MS, speed=SPEED)
    station = make_station(spec, url=csms.url, clock=clock, seed=1)
    running = asyncio.create_task(station.run())
    try:
        yield station
    finally:
        await station.stop()
        await asyncio.wait_for(running, 10)


def live(station: Station, seconds: int, *, step_s: float = 1.0) -> None:
    """Let the outlets live for a while of station time, without waiting for it."""
    for _ in range(int(seconds / step_s)):
        station.step(station.clock.now_ms(), step_s)


async def charging(csms: SmallCsms, station: Station, version: Version) -> str:
    """Plug in, and wait until the transaction has its id."""
    await asyncio.wait_for(station.settled.wait(), 10)
    station.plug(1, Vehicle(VEHICLE, 0.3), "EV1")
    await csms.until("CP-1", "StartTransaction" if version == "1.6" else "TransactionEvent")
    assert await station.drained(5)
    transaction = station.outlets[1].transaction
    assert transaction is not None
    assert transaction.id is not None
    return transaction.id


def limit(version: Version, amount: float, transaction_id: str, *, unit: str = "A") -> Any:
    period = {"start_period": 0, "limit": amount}
    schedule = {"charging_rate_unit": unit, "charging_schedule_period": [period]}
    profile: dict[str, Any] = {
        "stack_level": 0,
        "charging_profile_purpose": "TxProfile",
        "charging_profile_kind": "Absolute",
    }
    if version == "1.6":
        profile |= {
            "charging_profile_id": 1,
            "transaction_id": int(transaction_id),
            "charging_schedule": schedule,
        }
        return call_v16.SetChargingProfile(connector_id=1, cs_charging_profiles=profile)
    profile |= {
        "id": 1,
        "transaction_id": transaction_id,
        "charging_schedule": [schedule | {"id": 1}],
    }
    return call_v201.SetChargingProfile(evse_id=1, charging_profile=profile)


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_session_from_plug_to_departure(csms: SmallCsms, version: Version) -> None:
    async with station_at(csms, version) as station:
        transaction_id = await charging(csms, station, version)
        live(station, 1_800)
        station.unplug(1)
        assert await station.drained(5)
        assert station.outlets[1].state is OutletState.AVAILABLE
    delivered_wh = int(station.outlets[1].register_wh)
    assert delivered_wh == pytest.approx(32 * 230 * 3 / 2, rel=0.01)
    if version == "1.6":
        (stop,) = csms.payloads("CP-1", "StopTransaction")
        assert stop["transaction_id"] == int(transaction_id)
        assert (stop["meter_stop"], stop["reason"]) == (delivered_wh, "EVDisconnected")
        statuses = [each["status"] for each in csms.payloads("CP-1", "StatusNotification")]
        assert statuses[0] == "Available"
        assert statuses[-1] == "Available"
        assert "Preparing" in statuses
    else:
        events = csms.payloads("CP-1", "TransactionEvent")
        assert [event["seq_no"] for event in events] == list(range(len(events)))
        assert events[0]["event_type"] == "Started"
        assert events[-1]["event_type"] == "Ended"
        assert events[-1]["trigger_reason"] == "EVDeparted"
        register = events[-1]["meter_value"][0]["sampled_value"][0]
        assert register["value"] == delivered_wh


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_limits_are_obeyed_and_told_back(csms: SmallCsms, version: Version) -> None:
    async with station_at(csms, version) as station:
        transaction_id = await charging(csms, station, version)
        point = csms.points["CP-1"]
        live(station, 10)
        assert station.outlets[1].line_currents_a() == (32, 32, 32)
        answer = await point.call(limit(version, 10.5, transaction_id))
        assert answer.status == "Accepted"
        live(station, 10)
        assert station.outlets[1].line_currents_a() == (10.5, 10.5, 10.5)
        if version == "1.6":
            asked = call_v16.GetCompositeSchedule(connector_id=1, duration=60)
            schedule = (await point.call(asked)).charging_schedule
        else:
            asked = call_v201.GetCompositeSchedule(evse_id=1, duration=60)
            schedule = (await point.call(asked)).schedule
        assert schedule["charging_schedule_period"] == [{"start_period": 0, "limit": 10.5}]
        for wrong in (
            limit(version, 3_000, transaction_id, unit="W"),
            limit(version, 10, "99999"),
        ):
            assert (await point.call(wrong)).status == "Rejected"
        live(station, 10)
        assert station.outlets[1].line_currents_a() == (10.5, 10.5, 10.5)


async def test_a_station_of_watts_takes_watts(csms: SmallCsms) -> None:
    async with station_at(csms, "2.0.1", unit="W") as station:
        transaction_id = await charging(csms, station, "2.0.1")
        point = csms.points["CP-1"]
        accepted = await point.call(limit("2.0.1", 6_900, transaction_id, unit="W"))
        assert accepted.status == "Accepted"
        live(station, 10)
        assert station.outlets[1].line_currents_a() == pytest.approx((10, 10, 10))


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_nothing_of_a_transaction_is_lost_with_the_line(
    csms: SmallCsms, version: Version
) -> None:
    async with station_at(csms, version) as station:
        await charging(csms, station, version)
        await csms.points["CP-1"]._connection.close(1001)
        for _ in range(100):
            if not station.settled.is_set():
                break
            await asyncio.sleep(0.01)
        live(station, 600)
        station.sample(context="Sample.Periodic")
        station.unplug(1)
        await csms.until("CP-1", "BootNotification", 2)
        assert await station.drained(10)
        assert station.traffic.connections == 2
    if version == "1.6":
        assert csms.payloads("CP-1", "MeterValues")
        (stop,) = csms.payloads("CP-1", "StopTransaction")
        assert stop["meter_stop"] == int(station.outlets[1].register_wh)
    else:
        events = csms.payloads("CP-1", "TransactionEvent")
        assert [event["seq_no"] for event in events] == list(range(len(events)))
        assert events[-1]["event_type"] == "Ended"
        assert events[-1]["offline"] is True


async def test_refused_messages_are_tried_again_and_then_counted(csms: SmallCsms) -> None:
    async with station_at(csms, "1.6") as station:
        await charging(csms, station, "1.6")
        csms.fail_next["MeterValues"] = 2
        station.sample(context="Sample.Periodic")
        assert await station.drained(10)
        assert len(csms.payloads("CP-1", "MeterValues")) >= 1
        assert station.traffic.refused == 0
        csms.fail_next["StopTransaction"] = 3
        station.unplug(1)
        assert await station.drained(10)
        assert station.traffic.refused == 1


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_who_is_not_welcome_gets_nothing(csms: SmallCsms, version: Version) -> None:
    csms.refuse_tokens.add("EV1")
    async with station_at(csms, version) as station:
        await asyncio.wait_for(station.settled.wait(), 10)
        station.plug(1, Vehicle(VEHICLE, 0.3), "EV1")
        await csms.until("CP-1", "Authorize")
        assert await station.drained(5)
        live(station, 60)
        assert station.outlets[1].register_wh == 0
        assert not station.transactions


async def test_settings_and_triggers_v16(csms: SmallCsms) -> None:
    async with station_at(csms, "1.6") as station:
        await charging(csms, station, "1.6")
        point = csms.points["CP-1"]
        set_interval = call_v16.ChangeConfiguration(key="MeterValueSampleInterval", value="12")
        assert (await point.call(set_interval)).status == "Accepted"
        unknown = call_v16.ChangeConfiguration(key="Colour", value="red")
        assert (await point.call(unknown)).status == "NotSupported"
        got = await point.call(call_v16.GetConfiguration(key=["MeterValueSampleInterval", "X"]))
        assert got.configuration_key[0]["value"] == "12"
        assert got.unknown_key == ["X"]
        before = len(csms.payloads("CP-1", "MeterValues"))
        await csms.until("CP-1", "MeterValues", before + 2)
        trigger = call_v16.TriggerMessage(requested_message="Heartbeat")
        assert (await point.call(trigger)).status == "Accepted"
        await csms.until("CP-1", "Heartbeat")


async def test_remote_stop_and_start_v201(csms: SmallCsms) -> None:
    async with station_at(csms, "2.0.1") as station:
        transaction_id = await charging(csms, station, "2.0.1")
        point = csms.points["CP-1"]
        stop = call_v201.RequestStopTransaction(transaction_id=transaction_id)
        assert (await point.call(stop)).status == "Accepted"
        assert (await point.call(stop)).status == "Rejected"
        start = call_v201.RequestStartTransaction(
            id_token={"id_token": "DESK", "type": "Central"}, remote_start_id=7, evse_id=1
        )
        assert (await point.call(start)).status == "Accepted"
        assert await station.drained(5)
        started = csms.payloads("CP-1", "TransactionEvent")[-1]
        assert started["event_type"] == "Started"
        assert started["trigger_reason"] == "RemoteStart"
        assert started["transaction_info"]["remote_start_id"] == 7


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_a_reset_ends_the_session_and_boots_again(csms: SmallCsms, version: Version) -> None:
    async with station_at(csms, version) as station:
        await charging(csms, station, version)
        reset = (
            call_v16.Reset(type="Hard") if version == "1.6" else call_v201.Reset(type="Immediate")
        )
        assert (await csms.points["CP-1"].call(reset)).status == "Accepted"
        await csms.until("CP-1", "BootNotification", 2)
        assert await station.drained(10)
        if version == "1.6":
            assert csms.payloads("CP-1", "StopTransaction")[0]["reason"] == "HardReset"
        else:
            assert csms.payloads("CP-1", "BootNotification")[1]["reason"] == "RemoteReset"


async def test_a_reset_on_idle_waits_for_the_session_v201(csms: SmallCsms) -> None:
    async with station_at(csms, "2.0.1") as station:
        await charging(csms, station, "2.0.1")
        reset = call_v201.Reset(type="OnIdle")
        assert (await csms.points["CP-1"].call(reset)).status == "Scheduled"
        live(station, 60)
        assert station.outlets[1].transaction is not None
        station.unplug(1)
        await csms.until("CP-1", "BootNotification", 2)
        assert await station.drained(10)
        ended = csms.payloads("CP-1", "TransactionEvent")[-1]
        assert ended["transaction_info"]["stopped_reason"] == "EVDisconnected"


@pytest.mark.parametrize("version", ["1.6", "2.0.1"])
async def test_out_of_service_comes_after_the_session(csms: SmallCsms, version: Version) -> None:
    async with station_at(csms, version) as station:
        await charging(csms, station, version)
        if version == "1.6":
            closing = call_v16.ChangeAvailability(connector_id=1, type="Inoperative")
        else:
            closing = call_v201.ChangeAvailability(operational_status="Inoperative", evse={"id": 1})
        assert (await csms.points["CP-1"].call(closing)).status == "Scheduled"
        live(station, 10)
        assert station.outlets[1].state_now() is OutletState.CHARGING
        station.unplug(1)
        assert station.outlets[1].state is OutletState.UNAVAILABLE
        station.plug(1, Vehicle(VEHICLE, 0.3), "EV2")
        assert await station.drained(5)
        live(station, 10)
        assert station.outlets[1].line_currents_a() == (0, 0, 0)
