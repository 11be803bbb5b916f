"""Structs and the contract's messages say the same, field by field."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from google.protobuf.message import Message

from controlplane.api.structs import message_of, struct_of
from controlplane.api.v1 import bidirectional_pb2, der_pb2, event_streams_pb2, tariffs_pb2
from controlplane.charging_tariff import (
    Conditions,
    EnergyPrice,
    EvseKind,
    FixedPrice,
    Price,
    Tariff,
    TaxRate,
    Text,
    TimePrice,
)
from controlplane.errors import InvalidInput
from controlplane.ocpp import der
from controlplane.ocpp.answers import TariffAssignment
from controlplane.ocpp.event_streams import Stream, StreamRate
from controlplane.ocpp.v2x import (
    OperationMode,
    PhaseValues,
    PowerProfile,
    PowerPurpose,
    ProfileKind,
    ScheduleValues,
    SetpointPeriod,
)

NOW_MS = 1_767_225_600_000
CURVE = der.DerCurve(
    points=((1.0, 2.0), (3.0, 4.0)),
    y_unit=der.DerUnit.PCT_MAX_W,
    hysteresis=der.Hysteresis(low=0.0),
    voltage=der.VoltageLimits(during_cessation=der.PowerDuringCessation.REACTIVE),
    start_ms=NOW_MS,
    duration_s=0.5,
)

SAID: list[tuple[msgspec.Struct, type[Message]]] = [
    (der.DerControl("c", der.DerKind.WATT_VAR, True, CURVE), der_pb2.DerControl),
    (
        der.DerControl(
            "c",
            der.DerKind.LIMIT_MAX_DISCHARGE,
            False,
            der.DischargeLimit(max_percent=0.0, monitoring_curve=CURVE),
            superseded=True,
            started=False,
        ),
        der_pb2.DerControl,
    ),
    (der.DerAlarm(der.DerKind.HV_MOM_CESS, "OverVoltage", NOW_MS, "why"), der_pb2.DerAlarm),
    (
        Tariff(
            "T",
            "EUR",
            description=(Text("words", "ASCII", "en"), Text("words")),
            valid_from_ms=NOW_MS,
            energy=(
                EnergyPrice(
                    Decimal("0.10"),
                    Conditions(days=("Monday",), evse_kind=EvseKind.DC, max_time_s=0),
                ),
            ),
            idle_time=(TimePrice(Decimal("1e-3")),),
            fixed_fee=(FixedPrice(Decimal(-1)),),
            tax_rates=(TaxRate("VAT", Decimal("7.7"), 1),),
            min_cost=Price(including_tax=Decimal(0)),
        ),
        tariffs_pb2.Tariff,
    ),
    (TariffAssignment("T", True, None, (1, 2), ("TAG",)), tariffs_pb2.TariffAssignment),
    (
        PowerProfile(
            1,
            PowerPurpose.PRIORITY,
            ProfileKind.ABSOLUTE,
            "W",
            (
                SetpointPeriod(
                    ScheduleValues(setpoint=PhaseValues(-1.5, l3=0.0)),
                    start_s=5,
                    operation_mode=OperationMode.LOCAL_FREQUENCY,
                    frequency_curve=((49.8, -500.0),),
                    signal_curve=((-3, 100.0),),
                ),
            ),
            start_ms=0,
        ),
        bidirectional_pb2.PowerProfile,
    ),
    (Stream(1, 2, StreamRate(values=0)), event_streams_pb2.EventStream),
]


@pytest.mark.parametrize(("struct", "message"), SAID, ids=lambda each: type(each).__name__)
def test_what_is_written_is_read_again(struct: msgspec.Struct, message: type[Message]) -> None:
    written = message_of(struct, message)
    crossed = message.FromString(written.SerializeToString())
    assert struct_of(type(struct), crossed) == struct


@pytest.mark.parametrize(
    ("type", "message", "field"),
    [
        (der.DerControl, der_pb2.DerControl(control_id="c"), "kind"),
        (der.DerControl, der_pb2.DerControl(kind=der_pb2.DER_KIND_FREQ_WATT), "setting"),
        (der.DerControl, der_pb2.DerControl(kind=99), "kind"),  # type: ignore[arg-type]
        (
            Tariff,
            tariffs_pb2.Tariff(energy=[tariffs_pb2.EnergyPrice(per_kwh="0,39")]),
            "energy[0].per_kwh",
        ),
        (
            Tariff,
            tariffs_pb2.Tariff(energy=[tariffs_pb2.EnergyPrice(per_kwh="NaN")]),
            "energy[0].per_kwh",
        ),
        (
            PowerProfile,
            bidirectional_pb2.PowerProfile(
                purpose=bidirectional_pb2.POWER_PURPOSE_DEFAULT,
                kind=bidirectional_pb2.PROFILE_KIND_RELATIVE,
                unit="kW",
            ),
            "unit",
        ),
    ],
)
def test_what_cannot_be_read_names_its_field(type: Any, message: Message, field: str) -> None:
    with pytest.raises(InvalidInput) as fault:
        struct_of(type, message)
    assert fault.value.violations[0][0] == field
