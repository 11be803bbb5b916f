"""A charger's own main meter, and a charger that is nothing but a meter."""

from __future__ import annotations

from typing import Any

from charger_driver import REF, Charger

from controlplane.charger.messages import ChargerAssigned
from controlplane.ids import SiteId
from controlplane.network import ChargerConfig
from controlplane.site.messages import ChargerPresence, ConnectorMetered
from controlplane.store.records import MeterSample


def main_meter_16(charger: Charger, connector: int = 0) -> None:
    samples: list[dict[str, Any]] = [
        {"value": value, "measurand": "Current.Import", "phase": phase, "unit": "A"}
        for value, phase in (("41.5", "L1"), ("30", "L2"), ("22.25", "L3"))
    ]
    samples.append({"value": "21.6", "measurand": "Power.Active.Import", "unit": "kW"})
    for sample in samples:
        sample["location"] = "Inlet"
    charger.call(
        "MeterValues",
        connectorId=connector,
        meterValue=[{"timestamp": charger.at(), "sampledValue": samples}],
    )


def test_the_main_meter_is_told_to_the_site() -> None:
    charger = Charger()
    charger.settle()
    main_meter_16(charger)
    (sample,) = charger.told(ConnectorMetered)
    assert sample.connector_id == 0
    assert sample.current_ma == (41_500, 30_000, 22_250)
    assert sample.power_w == 21_600
    assert charger.records(MeterSample)[-1].connector_id == 0


def test_the_main_meter_of_a_2x_station_is_evse_0() -> None:
    charger = Charger()
    charger.settle("ocpp2.0.1")
    charger.call(
        "MeterValues",
        evseId=0,
        meterValue=[
            {
                "timestamp": charger.at(),
                "sampledValue": [
                    {"value": 18.5, "measurand": "Current.Import", "phase": phase}
                    for phase in ("L1", "L2", "L3")
                ],
            }
        ],
    )
    assert [each.connector_id for each in charger.told(ConnectorMetered)] == [0]
    assert charger.told(ConnectorMetered)[0].current_ma == (18_500,) * 3


def test_a_sample_that_is_repeated_is_told_once() -> None:
    charger = Charger()
    charger.settle()
    main_meter_16(charger)
    main_meter_16(charger)
    assert len(charger.told(ConnectorMetered)) == 1


def test_a_transaction_of_which_nobody_knows_where_is_no_main_meter() -> None:
    charger = Charger()
    charger.settle("ocpp2.0.1", connectors=2)
    charger.call(
        "TransactionEvent",
        eventType="Started",
        timestamp=charger.at(),
        triggerReason="CablePluggedIn",
        seqNo=0,
        transactionInfo={"transactionId": "t1"},
        meterValue=[
            {
                "timestamp": charger.at(),
                "sampledValue": [{"value": 16.0, "measurand": "Current.Import"}],
            }
        ],
    )
    assert charger.told(ConnectorMetered) == []


def test_a_dedicated_meter_settles_and_is_told_nothing_about_limits() -> None:
    charger = Charger()
    config = ChargerConfig(id=REF.id, circuit="main", meter_only=True)
    charger.tell(ChargerAssigned(SiteId("site"), 230, config.model_dump_json().encode(), 15))
    charger.connect()
    charger.wait(10_000)
    settings = {}
    while charger.outstanding is not None:
        assert charger.outstanding.action != "SetChargingProfile"
        if charger.outstanding.action == "ChangeConfiguration":
            settings[charger.outstanding.payload["key"]] = charger.outstanding.payload["value"]
        charger.answer()
    assert settings["ClockAlignedDataInterval"] == "15"
    assert settings["MeterValuesAlignedData"] == "Current.Import,Power.Active.Import"
    main_meter_16(charger, connector=1)
    assert [each.connector_id for each in charger.told(ConnectorMetered)] == [1]
    assert charger.told(ChargerPresence)[-1].settled


def test_a_2x_station_is_told_to_send_its_main_meter() -> None:
    charger = Charger()
    config = ChargerConfig(id=REF.id, circuit="main")
    charger.tell(ChargerAssigned(SiteId("site"), 230, config.model_dump_json().encode(), 15))
    charger.connect("ocpp2.0.1")
    charger.wait(10_000)
    told = []
    while charger.outstanding is not None:
        told.append(charger.outstanding.payload)
        charger.answer()
    assert {
        "attributeValue": "15",
        "component": {"name": "AlignedDataCtrlr"},
        "variable": {"name": "Interval"},
    } in [each for payload in told for each in payload.get("setVariableData", [])]
