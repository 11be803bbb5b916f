"""Sampled values as meters in the field send them."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.ocpp.events import MeterReading
from controlplane.ocpp.readings import energy_wh, instant_ms, readings, small_integer

AT = "2024-01-01T00:00:00Z"
AT_MS = 1_704_067_200_000


def one(*samples: dict[str, Any]) -> MeterReading:
    (reading,) = readings([{"timestamp": AT, "sampledValue": list(samples)}])
    return reading


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (AT, AT_MS),
        ("2024-01-01T00:00:00", AT_MS),
        ("2024-01-01T02:00:00+02:00", AT_MS),
        ("2024-01-01T02:00:00+02", AT_MS),
        ("2024-01-01T00:00:00.123Z", AT_MS + 123),
        ("2024-01-01T00:00:00.123456789Z", AT_MS + 123),
        ("2024-01-01t00:00:00z", AT_MS),
        ("2024-01-01 00:00:00", AT_MS),
        ("1970-01-01T00:00:00Z", 0),
        ("", None),
        ("yesterday", None),
        (None, None),
        (5, None),
    ],
)
def test_times_are_read_tolerantly(text: Any, expected: int | None) -> None:
    assert instant_ms(text) == expected


def test_a_full_sample_of_1_6() -> None:
    reading = one(
        {"value": "15.9", "measurand": "Current.Import", "unit": "A", "phase": "L1"},
        {"value": "16", "measurand": "Current.Import", "unit": "A", "phase": "L2-N"},
        {"value": "16.04", "measurand": "Current.Import", "unit": "A", "phase": "L3"},
        {"value": "0.1", "measurand": "Current.Import", "unit": "A", "phase": "N"},
        {"value": "11.02", "measurand": "Power.Active.Import", "unit": "kW"},
        {"value": "12345", "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
        {"value": "41.5", "measurand": "SoC", "unit": "Percent", "location": "EV"},
        {"value": "230", "measurand": "Voltage", "unit": "V", "phase": "L1"},
    )
    assert reading == MeterReading(AT_MS, 12_345, 11_020, (15_900, 16_000, 16_040), 41.5)


def test_units_of_measure_of_2_x() -> None:
    reading = one(
        {
            "value": 1.2345,
            "measurand": "Energy.Active.Import.Register",
            "unitOfMeasure": {"unit": "Wh", "multiplier": 3},
            "context": "Transaction.Begin",
        },
        {
            "value": 11020,
            "measurand": "Power.Active.Import",
            "unitOfMeasure": {"unit": "kW", "multiplier": -3},
        },
    )
    assert (reading.energy_wh, reading.power_w) == (1_234, 11_020)
    assert reading.context == "Transaction.Begin"


def test_energy_is_rounded_down_and_binary_fractions_lose_nothing() -> None:
    assert one({"value": "0.29", "unit": "kWh"}).energy_wh == 290
    assert one({"value": "99.999"}).energy_wh == 99
    assert energy_wh(1234.99) == 1_234
    assert energy_wh("12,5") == 12
    assert energy_wh(9_223_372_036_854_775_807) is None


def test_the_sum_of_the_phases_stands_in_for_a_missing_total() -> None:
    per_phase = [
        {"value": "1000", "measurand": measurand, "phase": phase}
        for phase in ("L1", "L2", "L3")
        for measurand in ("Power.Active.Import", "Energy.Active.Import.Register")
    ]
    reading = one(*per_phase)
    assert (reading.power_w, reading.energy_wh) == (3_000, 3_000)
    total = {"value": "2990", "measurand": "Power.Active.Import"}
    assert one(*per_phase, total).power_w == 2_990


def test_samples_of_one_moment_that_come_in_pieces_are_one_reading() -> None:
    pieces = [
        {"value": "500", "measurand": "Energy.Active.Import.Register"},
        {"value": "16", "measurand": "Current.Import", "phase": "L1"},
        {"value": "15", "measurand": "Current.Import", "phase": "L2"},
        {"value": "41", "measurand": "SoC"},
    ]
    taken = readings([{"timestamp": AT, "sampledValue": [piece]} for piece in pieces])
    assert taken == (MeterReading(AT_MS, 500, None, (16_000, 15_000, None), 41),)


def test_the_end_of_a_transaction_is_not_mixed_with_a_sample_of_its_moment() -> None:
    taken = readings(
        [
            {"timestamp": AT, "sampledValue": [{"value": "5", "context": "Sample.Periodic"}]},
            {"timestamp": AT, "sampledValue": [{"value": "6", "context": "Transaction.End"}]},
        ]
    )
    assert [(reading.energy_wh, reading.context) for reading in taken] == [
        (5, "Sample.Periodic"),
        (6, "Transaction.End"),
    ]


def test_export_is_negative_power() -> None:
    reading = one({"value": "5", "measurand": "Power.Active.Export", "unit": "kW"})
    assert reading.power_w == -5_000


def test_a_value_with_a_unit_only_means_that_quantity() -> None:
    assert one({"value": "16", "unit": "A"}).current_ma == (16_000, None, None)
    assert one({"value": "7", "unit": "kW"}).power_w == 7_000
    assert one({"value": "7000", "measurand": "W"}).power_w == 7_000
    assert readings([{"timestamp": AT, "sampledValue": [{"value": "230", "unit": "V"}]}]) == ()


def test_the_outlet_counts_and_other_places_only_where_there_is_none() -> None:
    outlet = {"value": "10", "measurand": "Current.Import", "location": "Outlet"}
    inlet = {"value": "12", "measurand": "Current.Import", "location": "Inlet"}
    assert one(outlet, inlet).current_ma[0] == 10_000
    assert one(inlet).current_ma[0] == 12_000


@pytest.mark.parametrize(
    "value", ["", "n/a", "NaN", "inf", "1e400", None, True, [], float("nan"), 10**40]
)
def test_what_is_no_number_is_not_said(value: Any) -> None:
    assert readings([{"timestamp": AT, "sampledValue": [{"value": value}]}]) == ()


@pytest.mark.parametrize(
    "measurand",
    ["Current.Import", "Current.Export", "Power.Active.Import", "Power.Active.Export"],
)
def test_what_no_charger_carries_is_not_said(measurand: str) -> None:
    """A multiplier makes a number that nothing can add up of one that is well within bounds."""
    unit = {"unit": "A" if measurand.startswith("Current") else "W", "multiplier": 9}
    sample = {"value": 10**6, "measurand": measurand, "unitOfMeasure": unit}
    assert readings([{"timestamp": AT, "sampledValue": [sample]}]) == ()


def test_an_impossible_state_of_charge_is_not_said() -> None:
    reading = one({"value": "1"}, {"value": "200", "measurand": "SoC"})
    assert reading.soc_percent is None


def test_nothing_gives_nothing() -> None:
    assert readings(None) == readings([]) == ()
    assert readings([{"timestamp": AT, "sampledValue": []}]) == ()


def test_numbers_of_connectors_are_bounded() -> None:
    assert small_integer(3, maximum=10) == 3
    assert [small_integer(value, maximum=10) for value in (-1, 11, 10**30, None)] == [0, 0, 0, 0]
