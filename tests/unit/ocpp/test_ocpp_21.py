"""What 2.1 stations say, read to its meaning; and what is refused before it is sent to one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from controlplane.charging_tariff import (
    Conditions,
    EnergyPrice,
    Price,
    Tariff,
    TaxRate,
    tariff_fault,
)
from controlplane.ocpp import commands, der
from controlplane.ocpp.costs import CostDetails
from controlplane.ocpp.der import DerKind, DerReported
from controlplane.ocpp.events import (
    ChargingNeedsNotified,
    TransactionEnded,
    TransactionUpdated,
)
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.schemas import check_call
from controlplane.ocpp.v2x import (
    PhaseValues,
    PowerProfile,
    PowerPurpose,
    ProfileKind,
    ScheduleValues,
    SetpointPeriod,
)
from controlplane.ocpp.v21 import DIALECT_21

NOW_MS = 1_767_225_600_000


def read(action: str, payload: dict[str, Any]) -> Any:
    assert check_call("ocpp2.1", action, payload) is None
    return DIALECT_21.event(action, payload)


def transaction(kind: str = "Updated", **fields: Any) -> Any:
    payload = {
        "eventType": kind,
        "timestamp": "2026-01-01T00:00:00Z",
        "triggerReason": "RunningCost",
        "seqNo": 1,
        "transactionInfo": {"transactionId": "T"},
    }
    return read("TransactionEvent", payload | fields)


def refusal(command: commands.Command) -> str:
    fault = DIALECT_21.call(command, NOW_MS)
    assert isinstance(fault, Fault)
    return fault.description


# --- transactions ---------------------------------------------------------------------------------


def cost_of(**fields: Any) -> CostDetails:
    event = transaction(
        costDetails={
            "totalCost": {"currency": "EUR", "typeOfCost": "MinCost", "total": {"inclTax": 1.1}},
            "totalUsage": {"energy": 2.0, "chargingTime": 3, "idleTime": 1},
        }
        | fields
    )
    assert isinstance(event, TransactionUpdated)
    assert event.details is not None
    assert event.details.cost is not None
    return event.details.cost


def test_money_is_what_the_station_wrote() -> None:
    cost = cost_of()
    assert cost.cost.total == Price(including_tax=Decimal("1.1"))
    assert cost.cost.kind.value == "MinCost"
    assert (cost.usage.energy_wh, cost.usage.duration_s, cost.usage.idle_s) == (2, 3, 1)
    assert cost.failure is None


def test_a_failure_needs_no_reason_and_a_reason_no_failure() -> None:
    assert cost_of(failureToCalculate=True).failure
    assert cost_of(failureToCalculate=True, failureReason="no tariff").failure == "no tariff"
    assert cost_of(failureReason="no tariff").failure is None


def test_what_only_21_says_of_a_transaction() -> None:
    event = transaction(
        "Ended",
        preconditioningStatus="Ready",
        evseSleep=True,
        transactionInfo={
            "transactionId": "T",
            "operationMode": "CentralSetpoint",
            "tariffId": "day",
            "transactionLimit": {"maxCost": 25.5, "maxSoC": 80},
        },
    )
    assert isinstance(event, TransactionEnded)
    details = event.details
    assert details is not None
    assert (details.operation_mode, details.tariff_id) == ("CentralSetpoint", "day")
    assert (details.preconditioning, details.sleeping) == ("Ready", True)
    assert details.limit is not None
    assert (details.limit.max_cost, details.limit.max_soc_percent) == (Decimal("25.5"), 80)


def test_token_types_of_21_are_any_text() -> None:
    payload = {"idToken": {"idToken": "psp-1", "type": "DirectPayment"}}
    assert read("Authorize", payload).id_token_type == "DirectPayment"


# --- vehicles -------------------------------------------------------------------------------------


def needs(**fields: Any) -> ChargingNeedsNotified:
    event = read(
        "NotifyEVChargingNeeds",
        {"evseId": 1, "chargingNeeds": {"requestedEnergyTransfer": "AC_BPT"} | fields},
    )
    assert isinstance(event, ChargingNeedsNotified)
    return event


def test_phases_of_discharge_are_added_up() -> None:
    event = needs(
        v2xChargingParameters={
            "maxChargePower": 3_700,
            "maxChargePower_L2": 3_700.9,
            "maxDischargePower": 2_000,
            "maxDischargePower_L3": 1_000,
            "maxDischargeCurrent": 12.5,
            "evTargetEnergyRequest": 18_000,
            "evMinV2XEnergyRequest": -4_000,
            "evMaxV2XEnergyRequest": 9_000,
        },
        controlMode="DynamicControl",
    )
    assert (event.power_max_w, event.energy_wh) == (7_400, 18_000)
    assert event.discharge is not None
    assert event.discharge.power_max_w == 3_000
    assert event.discharge.current_max_ma == 12_500
    assert (event.discharge.energy_min_wh, event.discharge.energy_max_wh) == (-4_000, 9_000)
    assert event.discharge.dynamic


def test_a_vehicle_that_only_takes_has_no_discharge() -> None:
    assert needs().discharge is None
    assert needs(v2xChargingParameters={"maxChargePower": 11_000}).discharge is None


def test_the_older_words_count_first() -> None:
    event = needs(
        dcChargingParameters={"evMaxCurrent": 100, "evMaxVoltage": 400, "evMaxPower": 50_000},
        v2xChargingParameters={"maxChargePower": 11_000, "evTargetEnergyRequest": 0},
    )
    assert (event.power_max_w, event.energy_wh) == (50_000, None)


# --- grid support ---------------------------------------------------------------------------------

CURVE = der.DerCurve(
    points=((92.0, 44.0), (108.0, -44.0)),
    y_unit=der.DerUnit.PCT_MAX_VAR,
    hysteresis=der.Hysteresis(high=1.0, delay_s=2.0),
    reactive_power=der.ReactivePower(autonomous=True),
    voltage=der.VoltageLimits(during_cessation=der.PowerDuringCessation.ACTIVE),
    start_ms=NOW_MS,
    duration_s=60.0,
)


def test_what_is_set_is_what_a_report_of_it_says() -> None:
    command = commands.SetDerControl("c", DerKind.VOLT_VAR, False, CURVE)
    written = DIALECT_21.call(command, NOW_MS)
    assert not isinstance(written, Fault)
    report = {
        "requestId": 4,
        "tbc": True,
        "curve": [
            {
                "id": "c",
                "curveType": "VoltVar",
                "isDefault": False,
                "isSuperseded": True,
                "curve": written[1]["curve"],
            }
        ],
    }
    event = read("ReportDERControl", report)
    assert isinstance(event, DerReported)
    assert event.more
    (control,) = event.controls
    assert control == der.DerControl("c", DerKind.VOLT_VAR, False, CURVE, superseded=True)


@pytest.mark.parametrize(
    ("kind", "is_default", "setting", "words"),
    [
        (DerKind.VOLT_VAR, True, der.Gradient(), "is set by DerCurve"),
        (DerKind.VOLT_VAR, True, CURVE, "no begin"),
        (
            DerKind.VOLT_VAR,
            False,
            msgspec.structs.replace(CURVE, duration_s=None),
            "a begin and a duration",
        ),
        (DerKind.WATT_VAR, True, der.DerCurve(), "1 to 10 points"),
        (
            DerKind.WATT_VAR,
            True,
            der.DerCurve(points=((2.0, 0.0), (1.0, 0.0))),
            "from left to right",
        ),
    ],
)
def test_controls_that_no_inverter_could_follow(
    kind: DerKind, is_default: bool, setting: Any, words: str
) -> None:
    assert words in refusal(commands.SetDerControl("c", kind, is_default, setting))


# --- tariffs --------------------------------------------------------------------------------------

RIGHT = Tariff("T", "EUR", energy=(EnergyPrice(Decimal("0.39")),))


def test_a_right_tariff_is_written_as_it_is() -> None:
    assert tariff_fault(RIGHT) is None
    written = DIALECT_21.call(commands.SetDefaultTariff(0, RIGHT), NOW_MS)
    assert written == (
        "SetDefaultTariff",
        {
            "evseId": 0,
            "tariff": {
                "tariffId": "T",
                "currency": "EUR",
                "energy": {"prices": [{"priceKwh": 0.39}]},
            },
        },
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tariff_id": ""}, "tariff_id"),
        ({"currency": "eur"}, "currency"),
        ({"energy": ()}, "prices"),
        ({"energy": (EnergyPrice(Decimal("1e9")),)}, "at most"),
        ({"energy": (EnergyPrice(Decimal("NaN")),)}, "at most"),
        ({"energy": (EnergyPrice(Decimal("0.12345678")),)}, "decimals"),
        ({"tax_rates": (TaxRate("VAT", Decimal(120)),)}, "tax_rates"),
        ({"max_cost": Price()}, "max_cost"),
        ({"min_cost": Price(Decimal(-1))}, "min_cost"),
    ],
)
def test_tariffs_that_no_bill_could_follow(change: dict[str, Any], words: str) -> None:
    wrong = msgspec.structs.replace(RIGHT, **change)
    assert words in refusal(commands.ChangeTransactionTariff("X", wrong))


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        (Conditions(start_time="24:00"), "HH:MM"),
        (Conditions(to_date="2026-1-1"), "YYYY-MM-DD"),
        (Conditions(from_date="2026-02-01", to_date="2026-01-01"), "to_date"),
        (Conditions(min_energy_wh=5, max_energy_wh=5), "max_energy_wh"),
    ],
)
def test_conditions_that_never_hold(conditions: Conditions, words: str) -> None:
    wrong = Tariff("T", "EUR", energy=(EnergyPrice(Decimal(1), conditions),))
    assert words in str(tariff_fault(wrong))


def test_that_there_is_no_tariff_is_an_answer() -> None:
    got = DIALECT_21.result(commands.GetTariffs(), {"status": "NoTariff"})
    assert (got.state.value, got.status) == ("accepted", "NoTariff")
    statuses = [{"status": "Accepted"}, {"tariffId": "T", "status": "Rejected"}]
    cleared = DIALECT_21.result(commands.ClearTariffs(), {"clearTariffsResult": statuses})
    assert (cleared.state.value, cleared.status) == ("rejected", "Rejected")


# --- profiles -------------------------------------------------------------------------------------

LIMIT = ScheduleValues(limit=PhaseValues(16.0))
PROFILE = PowerProfile(5, PowerPurpose.DEFAULT, ProfileKind.RELATIVE, "A", (SetpointPeriod(LIMIT),))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"profile_id": 13}, "Loadstar's own"),
        ({"periods": ()}, "1 to 1024"),
        ({"periods": (SetpointPeriod(LIMIT, start_s=1),)}, "begins at 0"),
        ({"periods": (SetpointPeriod(LIMIT), SetpointPeriod(LIMIT))}, "after the one before"),
        ({"periods": (SetpointPeriod(),)}, "give a limit"),
        ({"update_interval_s": 5}, "only a dynamic"),
        ({"purpose": PowerPurpose.TRANSACTION}, "names its transaction"),
        ({"transaction_id": "T"}, "names its transaction"),
        (
            {"periods": (SetpointPeriod(ScheduleValues(limit=PhaseValues(float("nan")))),)},
            "finite",
        ),
    ],
)
def test_profiles_that_a_station_would_refuse(change: dict[str, Any], words: str) -> None:
    assert not isinstance(DIALECT_21.call(commands.SetPowerProfile(1, PROFILE), NOW_MS), Fault)
    wrong = msgspec.structs.replace(PROFILE, **change)
    assert words in refusal(commands.SetPowerProfile(1, wrong))
