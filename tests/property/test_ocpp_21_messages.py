"""OCPP 2.1, message by message: whatever the schemas allow a station to say is taken, and whatever
we can be asked to tell it passes the schema."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from importlib import resources
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.actor import Persist, Reply, ReplyError, SetTimer, TimerFired
from controlplane.charger.actor import ChargerActor
from controlplane.charger.messages import (
    ChargerAssigned,
    StationCalled,
    StationConnected,
    StationSent,
)
from controlplane.charging_tariff import (
    Conditions,
    EnergyPrice,
    FixedPrice,
    Price,
    Tariff,
    TaxRate,
    Text,
    TimePrice,
)
from controlplane.config import ActorSettings
from controlplane.ids import ActorKind, ActorRef, SiteId
from controlplane.network import ChargerConfig
from controlplane.ocpp import commands, der, schemas
from controlplane.ocpp.commands import AnyCommand, Command
from controlplane.ocpp.event_streams import StreamRate
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.v2x import (
    EnergyTransfer,
    OperationMode,
    PhaseValues,
    PowerProfile,
    PowerPurpose,
    ProfileKind,
    ScheduleValues,
    SetpointPeriod,
)
from controlplane.ocpp.v21 import BLOCKS, DIALECT_21
from controlplane.ocpp.v201 import BLOCKS as BLOCKS_201
from controlplane.store.records import ActorSnapshot

NOW_MS = 1_767_225_600_000
VERSION = "ocpp2.1"
OWN_BLOCKS = [block for block in BLOCKS if block not in BLOCKS_201]

# --- what a station says --------------------------------------------------------------------------

TEXTS = [
    "",
    "0",
    "x" * 20,
    "\u00e9\u4e2d",
    "DE136695976",
    "2026-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14",
]
INTEGERS = [0, 1, 2, 5, 100, 2**31, 2**53, 2**63, 2**64 - 1]
FRACTIONS = [0.5, 1e-9, 16.1, 99.9, 1e9, 1e300]


@cache
def schema_of(action: str) -> dict[str, Any]:
    folder = resources.files("ocpp") / "v21" / "schemas"
    file = folder / f"{action}Request.json"
    if not file.is_file():
        file = folder / f"{action}.json"
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8-sig"))
    return schema


def payload_of(schema: dict[str, Any], root: dict[str, Any], luck: Random) -> Any:
    """Something that a schema of OCPP allows."""
    if "$ref" in schema:
        return payload_of(root["definitions"][schema["$ref"].rsplit("/", 1)[1]], root, luck)
    if "enum" in schema:
        return luck.choice(schema["enum"])
    match schema.get("type"):
        case "object":
            required = set(schema.get("required", ()))
            return {
                name: payload_of(part, root, luck)
                for name, part in schema["properties"].items()
                if name in required or (name != "customData" and luck.random() < 0.5)
            }
        case "array":
            length = luck.randint(schema.get("minItems", 0), 2)
            return [payload_of(schema["items"], root, luck) for _ in range(length)]
        case "integer":
            return number_of(schema, INTEGERS, luck)
        case "number":
            return number_of(schema, [*INTEGERS, *FRACTIONS], luck)
        case "boolean":
            return luck.random() < 0.5
        case _:
            return luck.choice(TEXTS)[: schema.get("maxLength", 1_000)]


def number_of(schema: dict[str, Any], numbers: list[Any], luck: Random) -> Any:
    least, most = schema.get("minimum", -(10**400)), schema.get("maximum", 10**400)
    signed = [*numbers, *(-number for number in numbers if number < 2**63)]
    return luck.choice([number for number in signed if least <= number <= most])


def charger() -> ChargerActor:
    actor = ChargerActor(ActorRef(ActorKind.CHARGER, "CP1"), ActorSettings(), None)
    config = ChargerConfig(id="CP1", circuit="main").model_dump_json().encode()
    actor.step(ChargerAssigned(SiteId("site"), 230, config), NOW_MS)
    actor.step(StationConnected("c", VERSION, "192.0.2.1:5000"), NOW_MS)
    return actor


INBOUND = sorted({action for block in OWN_BLOCKS for action in block.readers})


@pytest.mark.parametrize("action", INBOUND)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_whatever_a_station_may_say_is_taken_twice(action: str, seed: int) -> None:
    actor = charger()
    schema = schema_of(action)
    payload = payload_of(schema, schema, Random(seed))
    assert schemas.check_call(VERSION, action, payload) is None
    for number in range(2):
        now_ms = NOW_MS + number * 1_000
        effects = actor.step(StationCalled("c", str(number), action, payload), now_ms)
        for timer in [each for each in effects if isinstance(each, SetTimer)]:
            if not any(isinstance(each, Reply | ReplyError) for each in effects):
                # What others are asked for is answered without them in the end.
                effects = [*effects, *actor.step(TimerFired(timer.key), timer.at_ms)]
        (answer,) = [each for each in effects if isinstance(each, Reply | ReplyError)]
        assert isinstance(answer, Reply)
        assert schemas.check_result(VERSION, action, answer.payload) is None
        for effect in effects:
            if isinstance(effect, Persist) and isinstance(effect.record, ActorSnapshot):
                ChargerActor(actor.ref, ActorSettings(), effect.record.state).activate(now_ms)
            msgspec.json.encode(effect)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_what_wants_no_answer_gets_none(seed: int) -> None:
    actor = charger()
    schema = schema_of("NotifyPeriodicEventStream")
    payload = payload_of(schema, schema, Random(seed))
    assert schemas.check_send(VERSION, "NotifyPeriodicEventStream", payload) is None
    effects = actor.step(StationSent("c", "NotifyPeriodicEventStream", payload), NOW_MS)
    assert not [each for each in effects if isinstance(each, Reply | ReplyError)]


# --- what we tell ---------------------------------------------------------------------------------

IDS = st.text("abcXYZ0189-", min_size=1, max_size=36)
INSTANTS = st.integers(0, 4_102_444_800_000)
VALUES = st.floats(-1e6, 1e6)
AMOUNTS = st.decimals(0, 1_000, places=4, allow_nan=False, allow_infinity=False)
CONNECTORS = st.integers(0, 1_000)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


phase_values = st.builds(PhaseValues, VALUES, optional(VALUES), optional(VALUES))
below_zero = st.builds(
    PhaseValues,
    st.floats(-1e6, 0),
    optional(st.floats(-1e6, 0)),
    optional(st.floats(-1e6, 0)),
)
schedule_values = st.builds(
    ScheduleValues,
    limit=phase_values,
    discharge_limit=optional(below_zero),
    setpoint=optional(phase_values),
    setpoint_reactive=optional(phase_values),
)
power_profiles = st.builds(
    PowerProfile,
    profile_id=st.integers(20_000, 2**31 - 1),
    purpose=st.sampled_from([each for each in PowerPurpose if each != "TxProfile"]),
    kind=st.sampled_from([ProfileKind.ABSOLUTE, ProfileKind.RELATIVE]),
    unit=st.sampled_from(["A", "W"]),
    periods=st.builds(
        SetpointPeriod,
        values=schedule_values,
        operation_mode=optional(st.sampled_from(OperationMode)),
        phases=optional(st.integers(1, 3)),
        baseline_w=optional(VALUES),
        frequency_curve=st.lists(st.tuples(VALUES, VALUES), max_size=20).map(tuple),
        signal_curve=st.lists(st.tuples(st.integers(-100, 100), VALUES), max_size=20).map(tuple),
        precondition=st.booleans(),
        sleep=st.booleans(),
    ).map(lambda period: (period,)),
    stack_level=st.integers(0, 10),
    start_ms=optional(INSTANTS),
    duration_s=optional(st.integers(1, 86_400)),
    offline_max_s=optional(st.integers(1, 86_400)),
)
dynamic_profiles = st.builds(
    PowerProfile,
    profile_id=st.integers(0, 100).map(lambda number: number * 10 + 5),
    purpose=st.just(PowerPurpose.TRANSACTION),
    kind=st.just(ProfileKind.DYNAMIC),
    unit=st.just("W"),
    periods=st.builds(SetpointPeriod, values=schedule_values).map(lambda period: (period,)),
    transaction_id=IDS,
    update_interval_s=optional(st.integers(1, 3_600)),
)
curves = st.builds(
    der.DerCurve,
    points=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=10).map(
        lambda points: tuple(sorted(points))
    ),
    y_unit=st.sampled_from(der.DerUnit),
    priority=st.integers(0, 100),
    response_time_s=optional(st.floats(0, 100)),
    hysteresis=optional(st.builds(der.Hysteresis, optional(VALUES), optional(VALUES))),
    reactive_power=optional(st.builds(der.ReactivePower, optional(VALUES), st.booleans())),
    voltage=optional(
        st.builds(
            der.VoltageLimits,
            optional(VALUES),
            optional(VALUES),
            optional(st.sampled_from(der.PowerDuringCessation)),
        )
    ),
)
SETTINGS: dict[type[msgspec.Struct], st.SearchStrategy[Any]] = {
    der.DerCurve: curves,
    der.EnterService: st.builds(der.EnterService, VALUES, VALUES, VALUES, VALUES),
    der.FixedPowerFactor: st.builds(der.FixedPowerFactor, st.floats(0, 1), st.booleans()),
    der.FixedVar: st.builds(der.FixedVar, st.floats(-100, 100), st.sampled_from(der.DerUnit)),
    der.FrequencyDroop: st.builds(der.FrequencyDroop, VALUES, VALUES, VALUES, VALUES, VALUES),
    der.Gradient: st.builds(der.Gradient, VALUES, VALUES),
    der.DischargeLimit: st.builds(der.DischargeLimit, st.floats(0, 100), optional(curves)),
}


@st.composite
def der_controls(draw: st.DrawFn) -> commands.SetDerControl:
    kind = draw(st.sampled_from(der.DerKind))
    setting = draw(SETTINGS[der.setting_of(kind)])
    is_default = not hasattr(setting, "start_ms") or draw(st.booleans())
    if not is_default:
        setting = msgspec.structs.replace(
            setting, start_ms=draw(INSTANTS), duration_s=draw(st.floats(1, 1e6))
        )
    return commands.SetDerControl(draw(IDS), kind, is_default, setting)


conditions = st.builds(
    Conditions,
    start_time=optional(st.sampled_from(["00:00", "23:59"])),
    days=st.lists(st.sampled_from(["Monday", "Sunday"]), unique=True).map(tuple),
    from_date=optional(st.just("2026-01-01")),
    min_energy_wh=optional(st.floats(0, 1e6)),
    max_time_s=optional(st.integers(0, 86_400)),
)
prices = st.builds(Price, excluding_tax=AMOUNTS, including_tax=optional(AMOUNTS))
tariffs = st.builds(
    Tariff,
    tariff_id=IDS,
    currency=st.sampled_from(["EUR", "GBP"]),
    description=st.lists(st.builds(Text, IDS), max_size=2).map(tuple),
    valid_from_ms=optional(INSTANTS),
    energy=st.lists(
        st.builds(EnergyPrice, AMOUNTS, optional(conditions)), min_size=1, max_size=3
    ).map(tuple),
    idle_time=st.lists(st.builds(TimePrice, AMOUNTS), max_size=2).map(tuple),
    fixed_fee=st.lists(st.builds(FixedPrice, AMOUNTS), max_size=2).map(tuple),
    tax_rates=st.lists(st.builds(TaxRate, st.just("VAT"), st.just(Decimal(19))), max_size=2).map(
        tuple
    ),
    max_cost=optional(prices),
)


@st.composite
def limits(draw: st.DrawFn) -> commands.SetLimit:
    limit_ma = draw(st.integers(-500_000, 500_000))
    return commands.SetLimit(
        draw(CONNECTORS),
        draw(st.sampled_from(commands.LimitPurpose)),
        limit_ma,
        limit_ma * 230 // 1_000,
        draw(st.sampled_from(["A", "W"])),
        draw(st.integers(1, 3)),
        draw(IDS),
        stack_level=draw(st.integers(0, 9)),
        relative=draw(st.booleans()),
        decimals=draw(st.integers(0, 1)),
        phases_stated=draw(st.booleans()),
        hold_s=draw(st.none() | st.integers(1, 86_400)),
    )


COMMANDS: dict[type[Command], st.SearchStrategy[Any]] = {
    commands.AdjustStream: st.builds(
        commands.AdjustStream,
        st.integers(0, 1_000),
        st.builds(StreamRate, optional(st.integers(0, 3_600)), optional(st.integers(0, 500))),
    ),
    commands.AllowEnergyTransfer: st.builds(
        commands.AllowEnergyTransfer,
        IDS,
        st.lists(st.sampled_from(EnergyTransfer), min_size=1).map(tuple),
    ),
    commands.ChangeTransactionTariff: st.builds(commands.ChangeTransactionTariff, IDS, tariffs),
    commands.ClearDerControl: st.builds(
        commands.ClearDerControl,
        st.booleans(),
        optional(st.sampled_from(der.DerKind)),
        optional(IDS),
    ),
    commands.ClearTariffs: st.builds(
        commands.ClearTariffs, st.lists(IDS).map(tuple), optional(CONNECTORS)
    ),
    commands.GetDerControls: st.builds(
        commands.GetDerControls,
        st.integers(0, 2**31 - 1),
        optional(st.booleans()),
        optional(st.sampled_from(der.DerKind)),
        optional(IDS),
    ),
    commands.GetStreams: st.just(commands.GetStreams()),
    commands.GetTariffs: st.builds(commands.GetTariffs, CONNECTORS),
    commands.NotifyWebPayment: st.builds(
        commands.NotifyWebPayment, CONNECTORS, st.integers(1, 3_600)
    ),
    commands.RequestBatterySwap: st.builds(
        commands.RequestBatterySwap, IDS, st.just("ISO14443"), st.integers(1, 2**31 - 1)
    ),
    commands.SendFrequencySignal: st.builds(
        commands.SendFrequencySignal, INSTANTS, st.integers(-1_000, 1_000)
    ),
    commands.SetDefaultTariff: st.builds(commands.SetDefaultTariff, CONNECTORS, tariffs),
    commands.SetDerControl: der_controls(),
    commands.SetLimit: limits(),
    commands.SetPowerProfile: st.builds(
        commands.SetPowerProfile, CONNECTORS, power_profiles | dynamic_profiles
    ),
    commands.UpdateSchedule: st.builds(
        commands.UpdateSchedule, st.integers(1, 2**31 - 1), schedule_values
    ),
    commands.UsePriority: st.builds(commands.UsePriority, IDS, st.booleans()),
}
_decoder = msgspec.msgpack.Decoder(AnyCommand)


def test_every_command_of_its_own_is_tried() -> None:
    assert set(COMMANDS) == {command for block in OWN_BLOCKS for command in block.writers}


@pytest.mark.parametrize("kind", COMMANDS)
@settings(max_examples=20)
@given(data=st.data())
def test_every_command_passes_its_schema(kind: type[Command], data: st.DataObject) -> None:
    command = data.draw(COMMANDS[kind])
    # As it arrives from another process.
    command = _decoder.decode(msgspec.msgpack.encode(command))
    written = DIALECT_21.call(command, NOW_MS)
    assert not isinstance(written, Fault), written
    action, payload = written
    assert schemas.check_command(VERSION, action, payload) is None
