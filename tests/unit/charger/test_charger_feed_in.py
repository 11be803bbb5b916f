"""A vehicle that feeds in: how its station is told, what its meter says, what is owed for it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from charger_driver import Charger

from controlplane.actor import Ask
from controlplane.charger.messages import (
    ApplyLimit,
    ChargerAssigned,
    DischargeConsent,
    FeedInTerms,
    SetSessionNeed,
)
from controlplane.errors import Refusal
from controlplane.ids import SessionId, SiteId
from controlplane.network import ChargerConfig, ConnectorConfig
from controlplane.ocpp.commands import CommandState
from controlplane.site.messages import ConnectorMetered, ConnectorState, LimitOutcome
from controlplane.store.records import SessionRecord
from controlplane.units import MS_PER_HOUR

SESSION = "CP1-1"


def assigned(*, price: str = "0.30", **config: Any) -> ChargerAssigned:
    described = ChargerConfig(
        id="CP1", circuit="main", connectors=(ConnectorConfig(id=1),), **config
    )
    terms = FeedInTerms(Decimal(price), "EUR")
    return ChargerAssigned(SiteId("site"), 230, described.model_dump_json().encode(), feed_in=terms)


def charger_of(version: str = "ocpp2.1", **config: Any) -> Charger:
    charger = Charger()
    charger.tell(assigned(**config))
    charger.connect(version)
    charger.wait(2_000)
    charger.accept_all()
    return charger


def event(
    charger: Charger, kind: str, seq_no: int, *, wh: int, fed_wh: int, power_w: int = 0
) -> None:
    power = "Power.Active.Import" if power_w >= 0 else "Power.Active.Export"
    values: list[dict[str, Any]] = [
        {"value": wh},
        {"value": fed_wh, "measurand": "Energy.Active.Export.Register"},
        {"value": abs(power_w), "measurand": power, "unitOfMeasure": {"unit": "W"}},
        {"value": 62.5, "measurand": "SoC", "location": "EV"},
    ]
    charger.call(
        "TransactionEvent",
        eventType=kind,
        timestamp=charger.at(),
        triggerReason="MeterValuePeriodic",
        seqNo=seq_no,
        transactionInfo={"transactionId": "f3a1", "chargingState": "Charging"},
        evse={"id": 1},
        idToken={"idToken": "ANN", "type": "eMAID"},
        meterValue=[{"timestamp": charger.at(), "sampledValue": values}],
    )


def feed(charger: Charger, limit_ma: int, hold_s: int | None = 600) -> dict[str, Any]:
    """The site wants it to feed in; the profile that its station is sent."""
    charger.tell(ApplyLimit(1, 7, limit_ma, SessionId(SESSION), hold_s))
    call = charger.last_call()
    assert call.action == "SetChargingProfile"
    profile: dict[str, Any] = call.payload["chargingProfile"]
    return profile


def stored(charger: Charger) -> SessionRecord:
    return charger.records(SessionRecord)[-1]


def test_a_setpoint_of_its_own_that_ends_by_itself() -> None:
    charger = charger_of()
    event(charger, "Started", 0, wh=1_000, fed_wh=500)
    profile = feed(charger, -10_050)
    assert profile["chargingProfilePurpose"] == "TxProfile"
    assert profile["transactionId"] == "f3a1"
    assert profile["maxOfflineDuration"] == 1
    assert profile["invalidAfterOfflineDuration"] is True
    assert profile["chargingProfileKind"] == "Absolute"
    (schedule,) = profile["chargingSchedule"]
    assert schedule["duration"] == 3_600 + 600, "from an hour ago until it is to be told again"
    assert schedule["chargingSchedulePeriod"] == [
        {
            "startPeriod": 0,
            "operationMode": "CentralSetpoint",
            "limit": 0,
            "dischargeLimit": -10.0,
            "setpoint": -10.0,
        }
    ]
    charger.answer()
    assert charger.told(LimitOutcome)[-1].state is CommandState.ACCEPTED
    profile = feed(charger, 0)
    (period,) = profile["chargingSchedule"][0]["chargingSchedulePeriod"]
    assert period == {"startPeriod": 0, "limit": 0.0}
    assert "duration" not in profile["chargingSchedule"][0], "nothing drawn holds until it changes"


def test_in_watts_the_vehicle_gives_what_is_lost_on_the_way() -> None:
    charger = charger_of(current_type="dc", limit_unit="W", efficiency_percent=96)
    event(charger, "Started", 0, wh=1_000, fed_wh=500)
    (schedule,) = feed(charger, -10_000)["chargingSchedule"]
    assert schedule["chargingRateUnit"] == "W"
    assert schedule["chargingSchedulePeriod"][0]["setpoint"] == -(6_900 * 1_000 // 960)


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
def test_older_versions_have_no_word_for_it(version: str) -> None:
    charger = charger_of(version)
    if version == "ocpp1.6":
        charger.start_16()
    else:
        event(charger, "Started", 0, wh=1_000, fed_wh=500)
    charger.tell(ApplyLimit(1, 7, -10_000, SessionId(SESSION), 600))
    assert charger.told(LimitOutcome)[-1].state is CommandState.REJECTED


def test_what_is_fed_in_is_stored_apart_and_credited_by_the_meter() -> None:
    charger = charger_of()
    event(charger, "Started", 0, wh=1_000, fed_wh=500)
    charger.wait(MS_PER_HOUR)
    event(charger, "Updated", 1, wh=5_000, fed_wh=500)
    charger.wait(MS_PER_HOUR // 4)
    event(charger, "Updated", 2, wh=5_000, fed_wh=1_200, power_w=-7_000)
    metered = charger.told(ConnectorMetered)[-1]
    assert (metered.energy_wh, metered.exported_wh, metered.power_w) == (4_000, 700, -7_000)
    assert charger.journal("credit.accrued") == [], "not for every sample"
    charger.wait(MS_PER_HOUR // 4)
    event(charger, "Updated", 3, wh=5_000, fed_wh=2_917, power_w=-7_000)
    event(charger, "Updated", 4, wh=5_000, fed_wh=2_920)
    accrued = charger.journal("credit.accrued")
    assert [each["energy_wh"] for each in accrued] == [2_417, 3]
    assert accrued[0]["amount"] == "0.7251"
    event(charger, "Ended", 5, wh=5_100, fed_wh=2_920)
    record = stored(charger)
    assert (record.energy_wh, record.exported_wh, record.credited_wh) == (4_100, 2_420, 2_420)
    assert Decimal(record.credit_amount) == Decimal("0.30") * 2_420 / 1_000
    assert record.credit_currency == "EUR"


def test_no_watt_hour_is_credited_twice() -> None:
    charger = charger_of()
    event(charger, "Started", 0, wh=0, fed_wh=0)
    charger.wait(MS_PER_HOUR)
    for _ in range(3):
        event(charger, "Updated", 1, wh=0, fed_wh=4_000, power_w=-4_000)
    charger = charger.reborn()
    charger.connect("ocpp2.1")
    event(charger, "Updated", 1, wh=0, fed_wh=4_000, power_w=-4_000)
    event(charger, "Ended", 2, wh=0, fed_wh=4_000)
    event(charger, "Ended", 2, wh=0, fed_wh=4_000)
    assert stored(charger).credited_wh == 4_000
    assert charger.journal("credit.accrued") == []


def test_what_the_host_lost_is_in_the_register() -> None:
    charger = charger_of()
    event(charger, "Started", 0, wh=0, fed_wh=9_000)
    charger.wait(MS_PER_HOUR)
    event(charger, "Updated", 1, wh=0, fed_wh=9_300, power_w=-300)
    charger = charger.reborn()
    charger.connect("ocpp2.1")
    charger.wait(MS_PER_HOUR // 4)
    event(charger, "Ended", 2, wh=0, fed_wh=9_700)
    assert (stored(charger).exported_wh, stored(charger).credited_wh) == (700, 700)


def test_a_register_that_jumps_is_owed_to_nobody() -> None:
    charger = charger_of()
    event(charger, "Started", 0, wh=0, fed_wh=0)
    charger.wait(60_000)
    event(charger, "Ended", 1, wh=0, fed_wh=5_000_000)
    assert (stored(charger).exported_wh, stored(charger).credited_wh) == (0, 0)
    (noted,) = charger.journal("charger.deviation")
    assert noted["deviation"] == "export_register_jumped"


def test_each_watt_hour_has_the_price_that_held_when_it_was_counted() -> None:
    charger = charger_of()
    event(charger, "Started", 0, wh=0, fed_wh=0)
    charger.wait(MS_PER_HOUR)
    event(charger, "Updated", 1, wh=0, fed_wh=500, power_w=-500)
    charger.tell(assigned(price="0.50"))
    charger.wait(MS_PER_HOUR)
    event(charger, "Ended", 2, wh=0, fed_wh=1_000)
    assert Decimal(stored(charger).credit_amount) == Decimal("0.15") + Decimal("0.25")
    assert stored(charger).credit_price_per_kwh == "0.50"


def test_the_driver_agrees_and_takes_it_back() -> None:
    charger = charger_of()
    event(charger, "Started", 0, wh=0, fed_wh=0)

    def says(percent: int | None) -> Any:
        consent = DischargeConsent(percent)
        charger.tell(Ask("a", SetSessionNeed(SessionId(SESSION), discharge=consent)))
        return charger.answered("a")[-1]

    assert says(35).discharge_reserve_percent == 35
    session = charger.told(ConnectorState)[-1].session
    assert session is not None
    assert session.reserve_percent == 35
    assert says(None).discharge_reserve_percent is None
    assert isinstance(says(101), Refusal)


def test_a_station_that_denies_it_has_no_vehicle_that_can() -> None:
    charger = charger_of()
    event(charger, "Started", 0, wh=0, fed_wh=0)

    def discharges() -> bool:
        charger.call(
            "NotifyEVChargingNeeds",
            evseId=1,
            chargingNeeds={
                "requestedEnergyTransfer": "AC_BPT",
                "v2xChargingParameters": {"maxDischargePower": 11_000, "evMaxEnergyRequest": 9_000},
            },
        )
        session = charger.told(ConnectorState)[-1].session
        assert session is not None
        assert session.vehicle is not None
        return session.vehicle.discharge is not None

    assert discharges()
    for variable, value in (("Enabled", "false"), ("SupportedOperationModes", "ChargingOnly")):
        charger.call(
            "NotifyReport",
            requestId=1,
            generatedAt=charger.at(),
            seqNo=0,
            reportData=[
                {
                    "component": {"name": "V2XChargingCtrlr"},
                    "variable": {"name": name},
                    "variableAttribute": [{"value": said}],
                }
                for name, said in (("Enabled", "true"), (variable, value))
            ],
        )
        assert not discharges()
