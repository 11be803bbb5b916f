"""The ten behaviours that operators of real networks ask for first, each against a whole node.

Where time matters the node's clock is moved by hand; sockets, commits and hosts are real."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from stepped_node import START_MS, SteppedClock, Talker, stepped_node

from controlplane.charger.messages import ChargerView, Execute, GetCharger
from controlplane.ids import ActorKind, ActorRef, ChargerId, SessionId
from controlplane.ocpp.commands import CommandResult, CommandState, RawCall
from controlplane.ocpp.events import ConnectorStatus
from controlplane.runtime.node import Node
from controlplane.sim.world import run
from controlplane.store.records import QuarantineState, SessionRecord, SessionState
from controlplane.units import iso_from_ms

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
CHARGERS = [f"CP{number}" for number in range(1, 31)]

Rig = tuple[Node, SteppedClock]


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    chargers = [{"id": name} for name in CHARGERS]
    async with stepped_node(tmp_path, monkeypatch, chargers) as running:
        yield running


async def sessions(node: Node, charger_id: str = "CP1") -> list[SessionRecord]:
    """A charger's sessions, oldest first."""
    found, _ = await node.reader.sessions(charger_id=ChargerId(charger_id))
    return found[::-1]


async def journal(node: Node, kind: str, charger_id: str = "CP1") -> list[dict[str, Any]]:
    events = await node.reader.journal(0, 10_000)
    return [each.data for each in events if each.kind == kind and each.actor.id == charger_id]


def charger(charger_id: str = "CP1") -> ActorRef:
    return ActorRef(ActorKind.CHARGER, charger_id)


async def command(node: Node, charger_id: str = "CP1") -> CommandResult:
    return await node.client.ask(
        charger(charger_id), Execute(RawCall("ClearCache", {})), CommandResult
    )


async def settle(clock: SteppedClock, talker: Talker) -> None:
    """Let the station have its peace, and take its first commands."""
    clock.advance(2_500)
    await talker.call("Heartbeat")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


# --- 1 --------------------------------------------------------------------------------------------


async def test_1_the_newest_socket_wins_and_the_late_end_of_the_old_one_disturbs_nothing(
    rig: Rig,
) -> None:
    """A dead gateway's chargers are back elsewhere: `test_runtime_ray.py`."""
    node, clock = rig
    async with AsyncExitStack() as sockets:
        old = await sockets.enter_async_context(Talker.connected(node, "CP1"))
        await old.call("Heartbeat")
        # Half open: it reads no more, not even the close that it is sent.
        old.socket.transport.pause_reading()
        new = await sockets.enter_async_context(Talker.connected(node, "CP1"))
        await new.call("Heartbeat")
        await settle(clock, new)
        cursor = await node.client.last_cursor()
        # Long after, the old connection falls.
        old.socket.transport.abort()
        await asyncio.sleep(0.05)
        assert (await command(node)).state is CommandState.ACCEPTED
        assert "ClearCache" in [action for action, _ in new.told]
        view = await node.client.ask(charger(), GetCharger(), ChargerView)
        assert view.online
        kinds = [event.kind for event in await node.reader.journal(cursor, 1_000)]
        assert "charger.disconnected" not in kinds


# --- 2 --------------------------------------------------------------------------------------------


async def test_2_a_reconnect_storm_loses_nothing_and_commands_wait_until_chargers_have_settled(
    rig: Rig,
) -> None:
    node, clock = rig
    away_ms = clock.now_ms() - 2 * HOUR_MS
    commanded: dict[str, int] = {}

    async def replay(name: str) -> None:
        """A session of an hour, minute by minute, as it was queued while the charger was away."""
        async with Talker.connected(node, name) as talker:
            number = await talker.start_16(away_ms, 1_000)
            for minute in range(1, 49):
                await talker.meter_16(away_ms + minute * MINUTE_MS, 1_000 + minute * 100, number)
            commanded[name] = len(talker.told)
            await talker.stop_16(away_ms + HOUR_MS, 7_000, number)

    await asyncio.gather(*map(replay, CHARGERS))
    assert set(commanded.values()) == {0}
    for name in CHARGERS:
        (session,) = await sessions(node, name)
        assert (session.state, session.energy_wh) == (SessionState.ENDED, 6_000)
        assert len(await node.reader.meter_samples(session.session_id)) == 48
        assert await node.reader.quarantined(ChargerId(name)) == []


# --- 3 --------------------------------------------------------------------------------------------


async def test_3_crossing_calls_are_all_answered_one_at_a_time_in_each_direction(rig: Rig) -> None:
    node, clock = rig
    names = CHARGERS[:20]

    async def cross(name: str) -> None:
        async with Talker.connected(node, name) as talker:
            await settle(clock, talker)
            for _ in range(50):
                answer, result = await asyncio.gather(talker.call("Heartbeat"), command(node, name))
                assert answer["currentTime"]
                assert result.state is CommandState.ACCEPTED
            assert [action for action, _ in talker.told].count("ClearCache") == 50

    await asyncio.gather(*map(cross, names))


# --- 4 --------------------------------------------------------------------------------------------


async def test_4_everything_three_times_across_a_restart_is_one_transaction_and_one_record(
    rig: Rig,
) -> None:
    node, clock = rig
    numbers = []
    for step in range(3):
        async with Talker.connected(node, "CP1") as talker:
            numbers.append(await talker.start_16(START_MS, 1_000))
            await talker.meter_16(START_MS + MINUTE_MS, 1_100, numbers[0])
        if step == 1:
            await node.kill_host()
    clock.advance(2 * MINUTE_MS)
    for step in range(3):
        async with Talker.connected(node, "CP1") as talker:
            await talker.stop_16(START_MS + 2 * MINUTE_MS, 1_200, numbers[0])
            # What nobody knows is answered just so.
            for unknown in (0, -1, 4_711):
                await talker.stop_16(START_MS, 5, unknown)
        if step == 1:
            await node.kill_host()
    assert len(set(numbers)) == 1
    (session,) = await sessions(node)
    assert (session.state, session.energy_wh) == (SessionState.ENDED, 200)
    assert len(await node.reader.meter_samples(session.session_id)) == 1
    assert len(await journal(node, "session.ended")) == 1
    quarantined = await node.reader.quarantined(ChargerId("CP1"))
    assert [each.reason for each in quarantined] == ["transaction_unknown"] * 3


async def test_4_every_event_of_2x_three_times_across_a_restart_is_one_transaction(
    rig: Rig,
) -> None:
    node, _ = rig
    for step in range(3):
        async with Talker.connected(node, "CP1", "ocpp2.0.1") as talker:
            for event in DAY:
                await talker.call("TransactionEvent", **event)
        if step == 0:
            await node.kill_host()
    (session,) = await sessions(node)
    assert (session.state, session.energy_wh) == (SessionState.ENDED, 8_000)
    assert len(await node.reader.meter_samples(session.session_id)) == 5
    assert len(await journal(node, "session.ended")) == 1


# --- 5 --------------------------------------------------------------------------------------------


def event(kind: str, seq_no: int, at_ms: int, meter_wh: int, **more: Any) -> dict[str, Any]:
    return {
        "eventType": kind,
        "timestamp": iso_from_ms(at_ms),
        "triggerReason": "MeterValuePeriodic",
        "seqNo": seq_no,
        "offline": True,
        "transactionInfo": {"transactionId": "tx"},
        "evse": {"id": 1},
        "meterValue": [{"timestamp": iso_from_ms(at_ms), "sampledValue": [{"value": meter_wh}]}],
        **more,
    }


TOKEN = {"idToken": "TAG", "type": "ISO14443"}
DAY = [
    event("Started", 0, START_MS - 5 * HOUR_MS, 1_000, idToken=TOKEN),
    event("Updated", 1, START_MS - 4 * HOUR_MS, 3_000),
    event("Updated", 2, START_MS - 3 * HOUR_MS, 6_000),
    event("Updated", 3, START_MS - 2 * HOUR_MS, 7_000),
    event("Ended", 4, START_MS - 1 * HOUR_MS, 9_000),
]


async def test_5_every_order_of_a_replay_gives_the_same_session(rig: Rig) -> None:
    """Here every tenth order through sockets; all 120 in `test_charger_transactions.py`."""
    node, _ = rig
    orders = list(itertools.permutations(range(5)))[::10]

    async def replay(name: str, order: tuple[int, ...]) -> None:
        async with Talker.connected(node, name, "ocpp2.0.1") as talker:
            for index in order:
                await talker.call("TransactionEvent", **DAY[index])

    await asyncio.gather(*map(replay, CHARGERS, orders))
    for name, _ in zip(CHARGERS, orders, strict=False):
        (session,) = await sessions(node, name)
        assert (session.state, session.energy_wh, session.events_missing) == (
            SessionState.ENDED,
            8_000,
            0,
        )
        assert (session.started_ms, session.ended_ms) == (
            START_MS - 5 * HOUR_MS,
            START_MS - HOUR_MS,
        )
        assert len(await node.reader.meter_samples(session.session_id)) == 5
        # An end that came first was held only until the rest was there.
        held, _ = await node.reader.quarantine(
            charger_id=ChargerId(name), state=QuarantineState.OPEN
        )
        assert held == []


async def test_5_a_gap_is_flagged_and_a_reused_message_id_after_a_reboot_is_a_new_message(
    rig: Rig,
) -> None:
    node, _ = rig
    for reboot in range(2):
        async with Talker.connected(node, "CP1", "ocpp2.0.1") as talker:
            # Message ids begin again at t1.
            for index in (0, 1) if reboot == 0 else (3, 4):
                await talker.call("TransactionEvent", **DAY[index])
    (session,) = await sessions(node)
    assert (session.state, session.energy_wh, session.events_missing) == (
        SessionState.ENDED,
        8_000,
        1,
    )
    (flag,) = await journal(node, "session.events_missing")
    assert flag["gaps"] == [[2, 2]]


# --- 6 --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("registers", "billed_wh", "held"),
    [
        (("0", "909948", "910031"), 83, ["register_jumped"]),
        (("900000", "100", "400"), 300, ["register_decreased"]),
        (("909948", "909.99", "910031"), 83, []),
        (("1000.9", "1041.9", "1083.9"), 83, []),
        (("5000", "4000", "3000"), 0, ["register_decreased"] * 2),
    ],
    ids=["first reading 0", "reset", "kWh called Wh", "fractions", "backwards"],
)
async def test_6_energy_is_never_negative_nor_impossible(
    rig: Rig, registers: tuple[str, str, str], billed_wh: int, held: list[str]
) -> None:
    node, clock = rig
    first, between, last = registers
    async with Talker.connected(node, "CP1") as talker:
        number = (
            await talker.call(
                "StartTransaction",
                connectorId=1,
                idTag="TAG",
                meterStart=float(first),
                timestamp=iso_from_ms(clock.now_ms()),
            )
        )["transactionId"]
        clock.advance(MINUTE_MS)
        sample = {"timestamp": iso_from_ms(clock.now_ms()), "sampledValue": [{"value": between}]}
        await talker.call("MeterValues", connectorId=1, transactionId=number, meterValue=[sample])
        clock.advance(MINUTE_MS)
        await talker.call(
            "StopTransaction",
            transactionId=number,
            meterStop=float(last),
            timestamp=iso_from_ms(clock.now_ms()),
        )
    (session,) = await sessions(node)
    assert (session.state, session.energy_wh) == (SessionState.ENDED, billed_wh)
    quarantined = await node.reader.quarantined(ChargerId("CP1"))
    assert [each.reason for each in quarantined] == held


# --- 7 --------------------------------------------------------------------------------------------


async def test_7_a_session_under_a_wrong_clock_closes_at_the_right_time(rig: Rig) -> None:
    node, clock = rig
    offsets_ms = dict(zip(CHARGERS, (2 * HOUR_MS, -24 * HOUR_MS, -START_MS), strict=False))
    began_ms = clock.now_ms()
    async with AsyncExitStack() as sockets:
        talkers = {
            name: await sockets.enter_async_context(Talker.connected(node, name))
            for name in offsets_ms
        }
        for name, talker in talkers.items():
            assert await talker.start_16(began_ms + offsets_ms[name], 1_000) == 1
        for minute in range(1, 11):
            clock.advance(MINUTE_MS)
            for name, talker in talkers.items():
                shown_ms = clock.now_ms() + offsets_ms[name]
                await talker.meter_16(shown_ms, 1_000 + minute * 100, 1)
        for name, talker in talkers.items():
            await talker.stop_16(clock.now_ms() + offsets_ms[name], 2_000, 1)
    for name, offset_ms in offsets_ms.items():
        (session,) = await sessions(node, name)
        assert (session.state, session.energy_wh) == (SessionState.ENDED, 1_000)
        assert (session.started_ms, session.ended_ms) == (began_ms, clock.now_ms())
        assert session.ended_received_ms == clock.now_ms()
        assert session.ended_station_ms == clock.now_ms() + offset_ms
        (estimate,) = await journal(node, "charger.clock", name)
        assert estimate["offset_ms"] == offset_ms


async def test_7_recurring_hours_keep_to_the_local_clock_across_daylight_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open from 22:00 in Berlin: 21:00 UTC on the evening before the clocks change, 20:00 after."""
    evening_ms = round(datetime(2026, 3, 28, 20, 0, tzinfo=UTC).timestamp() * 1_000)
    async with (
        stepped_node(
            tmp_path,
            monkeypatch,
            [{"id": "CP1"}],
            now_ms=evening_ms,
            time_zone="Europe/Berlin",
            opening_hours=[{"from": "22:00", "to": "06:00"}],
        ) as (node, clock),
        Talker.connected(node, "CP1") as talker,
    ):
        await settle(clock, talker)
        await talker.start_16(clock.now_ms(), 1_000)

        async def limit_a_at(hour: int, minute: int, *, day: int) -> float:
            """The limit that the station holds then."""
            then = datetime(2026, 3, day, hour, minute, tzinfo=UTC)
            clock.advance(round(then.timestamp() * 1_000) - clock.now_ms())
            for _ in range(20):
                clock.advance(1_000)
                await talker.call("Heartbeat")
            profiles = [
                payload["csChargingProfiles"]
                for action, payload in talker.told
                if action == "SetChargingProfile"
            ]
            (period,) = profiles[-1]["chargingSchedule"]["chargingSchedulePeriod"]
            return float(period["limit"])

        assert await limit_a_at(20, 50, day=28) == 0
        assert await limit_a_at(21, 5, day=28) > 0
        assert await limit_a_at(19, 50, day=29) == 0
        assert await limit_a_at(20, 5, day=29) > 0


# --- 8 --------------------------------------------------------------------------------------------


def test_8_no_breaker_is_overloaded_whatever_fails() -> None:
    """The ledger's theorems stand in `tests/property/test_ledger*.py`, many more worlds in
    `tests/simulation`."""
    result = run(seed=8, hours=0.5, chargers=4, faults="all")
    assert result["violations"] == 0, f"{result['details']}\nreplay: {result['replay']}"
    assert result["messages"] > 100


# --- 9 --------------------------------------------------------------------------------------------


async def test_9_a_station_that_does_nothing_by_the_book_charges_all_the_same(rig: Rig) -> None:
    """Each deviation by itself: `test_deviations.py`."""
    node, clock = rig
    async with Talker.connected(node, "CP1", "-") as talker:
        await talker.say('[2,"1","bootNotification",{"chargePointVendor":"","chargePointModel":7}]')
        await talker.say(
            '[2,"2","StartTransaction",{"connectorId":"1","idTag":4711,"meterStart":"1000.5",'
            f'"timestamp":"{iso_from_ms(clock.now_ms())[:19]}","extra":null,}}]'
        )
        clock.advance(10 * MINUTE_MS)
        await talker.say(
            '[2,"3","MeterValues",{"connectorId":1,"transactionId":,"meterValue":[{"timestamp":"",'
            '"sampledValue":[{"value":1500,"context":"Whatever","measurand":"Wh"}]}]}]'
        )
        await talker.say('[2,"4","StopTransaction",{"transactionId":1,"meterSt')
        clock.advance(10 * MINUTE_MS)
        answer = await talker.say(
            '[2,"5","StopTransaction",{"transactionId":-1,"meterStop":2000.9}]'
        )
        assert answer == [3, "5", {}]
        await talker.call("Heartbeat")
    (session,) = await sessions(node)
    assert (session.state, session.energy_wh, session.id_token) == (
        SessionState.ENDED,
        1_000,
        "4711",
    )
    told = {each["deviation"] for each in await journal(node, "charger.deviation")}
    assert {"json", "spelling", "wrong_type", "unknown_field"} <= told
    quarantined = await node.reader.quarantined(ChargerId("CP1"))
    assert sorted(each.reason for each in quarantined) == ["transaction_unnamed", "unreadable"]


# --- 10 -------------------------------------------------------------------------------------------


async def test_10_after_a_loss_of_power_a_session_closes_once_and_the_connector_is_usable(
    rig: Rig,
) -> None:
    node, clock = rig
    async with Talker.connected(node, "CP1") as talker:
        number = await talker.start_16(clock.now_ms(), 1_000)
        clock.advance(10 * MINUTE_MS)
        await talker.meter_16(clock.now_ms(), 2_000, number)
    clock.advance(HOUR_MS)
    async with Talker.connected(node, "CP1") as talker:
        await talker.call(
            "BootNotification", chargePointVendor="V", chargePointModel="M", firmwareVersion="1"
        )
        for connector_id, status in ((1, "Available"), (0, "Unavailable"), (0, "Available")):
            await talker.call(
                "StatusNotification", connectorId=connector_id, errorCode="NoError", status=status
            )
        view = await node.client.ask(charger(), GetCharger(), ChargerView)
        assert [(each.connector_id, each.status) for each in view.connectors] == [
            (1, ConnectorStatus.AVAILABLE)
        ]
        clock.advance(10 * MINUTE_MS)
        await talker.call("Heartbeat")
        (lost,) = await sessions(node)
        assert (lost.state, lost.energy_wh, lost.stop_reason) == (
            SessionState.ENDED,
            1_000,
            "StopLost",
        )
        assert await talker.start_16(clock.now_ms(), 2_000) == 2
        assert len(await journal(node, "session.ended")) == 1


async def test_10_after_a_loss_of_power_a_session_resumes_and_closes_with_its_last_reading(
    rig: Rig,
) -> None:
    node, clock = rig
    async with Talker.connected(node, "CP1") as talker:
        number = await talker.start_16(clock.now_ms(), 1_000)
    clock.advance(10 * MINUTE_MS)
    async with Talker.connected(node, "CP1") as talker:
        await talker.call("BootNotification", chargePointVendor="V", chargePointModel="M")
        await talker.meter_16(clock.now_ms(), 2_000, number)
        clock.advance(10 * MINUTE_MS)
        await talker.stop_16(clock.now_ms(), 3_000, number, reason="PowerLoss")
    (session,) = await sessions(node)
    assert (session.session_id, session.energy_wh, session.stop_reason) == (
        SessionId("CP1-1"),
        2_000,
        "PowerLoss",
    )
