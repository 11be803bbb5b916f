"""A description says the same as a message, as YAML and as a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.descriptions import (
    feeder_from_message,
    feeder_to_message,
    network_from_message,
    network_to_message,
    site_from_message,
    site_to_message,
)
from controlplane.api.v1 import electrical_pb2, network_pb2
from controlplane.errors import InvalidInput
from controlplane.network import (
    BuildingLoadConfig,
    ChargerConfig,
    CircuitConfig,
    ConnectorConfig,
    CurrentType,
    FeederConfig,
    LimitUnit,
    NetworkConfig,
    Phase,
    SiteConfig,
)
from controlplane.network_tariff import (
    DayAheadConfig,
    DemandChargeConfig,
    PeriodConfig,
    TariffConfig,
)
from controlplane.network_yaml import load_network
from controlplane.rules import HoursConfig, RuleConfig, Weekday

EXAMPLE = Path(__file__).parents[3] / "deploy/examples/network.yaml"

KINDS: list[dict[str, Any]] = [
    {"current_type": CurrentType.AC, "limit_unit": LimitUnit.A},
    {"current_type": CurrentType.AC, "limit_unit": LimitUnit.W},
    {"current_type": CurrentType.DC, "limit_unit": LimitUnit.W},
]

REGISTERS = {"l1": 0, "l2": 2, "l3": 4}
METERS: list[dict[str, Any] | None] = [
    None,
    {"kind": "ocpp", "charger": "CP-0"},
    {"kind": "ocpp", "charger": "CP-0", "connector": 9, "balanced": True},
    {"kind": "modbus", "host": "meter.local", "registers": REGISTERS, "interval_s": 0.5},
    {
        "kind": "modbus",
        "host": "192.0.2.7",
        "port": 1502,
        "unit": 0,
        "registers": REGISTERS,
        "register_type": "holding",
        "format": "int32",
        "word_order": "little",
        "scale_a": 0.001,
        "interval_s": 0.2,
    },
    {
        "kind": "modbus",
        "host": "gateway",
        "registers": {"l1": [0, 6], "l2": [2, 8], "l3": [4, 10]},
        "scale_a": -0.1,
        "interval_s": 0.5,
    },
]
POWERS: list[dict[str, Any]] = [
    {},
    {"contract": {"power_w": 50_000}},
    {"contract": {"power_w": 50_000, "window_s": 1_800}, "solar": {"grid_power_w": 1}},
    {
        "solar": {"mode": "surplus", "phases": ["L2"], "power_max_w": 5_000, "stale_after_s": 9},
        "battery": {"capacity_wh": 9_000, "discharge_max_w": 0, "reserve_percent": 0},
    },
]
HOURS = {"seasons": ["cold"], "days": ["mon", "sun"], "from": "22:00", "to": "06:00"}
TARIFFS: list[dict[str, Any] | None] = [
    None,
    {"currency": "USD", "import_price_per_kwh": "0.06087"},
    {"currency": "EUR", "day_ahead": {}},
    {
        "currency": "EUR",
        "name": "all of it",
        "import_price_per_kwh": "0.3",
        "export_price_per_kwh": "-0.01",
        "seasons": [{"id": "cold", "from": "10-01", "to": "03-31"}],
        "holidays": ["2026-12-25"],
        "periods": [
            {"name": "night", "import_price_per_kwh": "0.1", "hours": [HOURS, {}]},
            {"adder_per_kwh": "0", "hours": [{"from": "12:00"}]},
        ],
        "demand_charges": [{"name": "peak", "price_per_kw": "15.51", "hours": [HOURS]}],
        "window_s": 1_800,
        "day_ahead": {"multiplier": "1.19", "adder_per_kwh": "0.1", "export_multiplier": "0.9"},
    },
]


def _ocpp(meter: dict[str, Any] | None) -> bool:
    return meter is not None and meter["kind"] == "ocpp"


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
amperes = st.floats(0, 1_000, allow_nan=False)
phases = st.permutations(list(Phase)).flatmap(
    lambda order: st.integers(1, 3).map(lambda count: tuple(order[:count]))
)


@st.composite
def connectors(draw: st.DrawFn, id: int) -> ConnectorConfig:
    most_a = draw(st.floats(1, 500))
    return ConnectorConfig(
        id=id,
        phases=draw(phases),
        current_min_a=draw(st.floats(0, most_a)),
        current_max_a=most_a,
        current_step_a=draw(amperes),
        priority=draw(st.integers(0, 9)),
        weight=draw(st.integers(1, 1_000)),
    )


times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
hours = st.builds(
    lambda days, edges: HoursConfig.model_validate(
        {"days": days, "from": edges[0], "to": edges[1]}
    ),
    st.lists(st.sampled_from(Weekday), min_size=1, unique=True),
    st.lists(times, min_size=2, max_size=2, unique=True),
)
rules = st.builds(
    RuleConfig,
    id=names,
    id_tokens=st.lists(st.from_regex(r"[A-Z0-9]{1,20}\*?", fullmatch=True), min_size=1, max_size=3),
    priority=st.none() | st.integers(0, 9),
    weight=st.none() | st.integers(1, 1_000),
    guaranteed_a=st.none() | st.floats(0.1, 100),
    hours=st.lists(hours, max_size=2),
    outside_hours=st.booleans(),
)


@st.composite
def sites(draw: st.DrawFn) -> SiteConfig:
    circuits = [CircuitConfig(id="supply", rating_a=100_000)]
    circuits += [
        CircuitConfig(id=f"c{n}", parent=draw(st.sampled_from(circuits)).id, rating_a=50_000)
        for n in range(draw(st.integers(0, 3)))
    ]
    circuit_ids = st.sampled_from([circuit.id for circuit in circuits])
    chargers = tuple(
        ChargerConfig(
            id=f"CP-{n}",
            circuit=draw(circuit_ids),
            connectors=tuple(draw(connectors(k + 1)) for k in range(draw(st.integers(1, 3)))),
            **draw(st.sampled_from(KINDS)),
            offline_current_a=draw(amperes),
            password_hash=draw(st.none() | st.text(min_size=1, max_size=20).map(str.strip)) or None,
        )
        for n in range(draw(st.integers(0, 4)))
    )
    return SiteConfig(
        id=draw(names),
        name=draw(st.text(max_size=10)),
        feeder=draw(st.none() | names),
        voltage_v=draw(st.integers(50, 1_000)),
        time_zone=draw(st.sampled_from(["UTC", "Europe/Berlin", "America/Los_Angeles"])),
        margin_percent=draw(st.floats(0, 90)),
        circuits=tuple(circuits),
        building_load=draw(
            st.none()
            | st.builds(
                BuildingLoadConfig,
                circuit=circuit_ids,
                assumed_a=amperes,
                stale_after_s=st.floats(1, 86_400),
                meter=st.sampled_from([each for each in METERS if chargers or not _ocpp(each)]),
                measures=st.sampled_from(["building", "supply"]),
            )
        ),
        chargers=chargers,
        opening_hours=tuple(draw(st.lists(hours, max_size=2))),
        rules=tuple(draw(st.lists(rules, max_size=2, unique_by=lambda rule: rule.id))),
        **draw(st.sampled_from(POWERS)),
        tariff=draw(st.sampled_from(TARIFFS)),
    )


@given(sites())
def test_a_site_survives_the_way_through_a_message(site: SiteConfig) -> None:
    message = site_to_message(site)
    assert site_from_message(message) == site
    assert network_pb2.SiteDescription.FromString(message.SerializeToString()) == message


@given(st.builds(FeederConfig, id=names, name=names, power_max_w=st.integers(1, 10**12)))
def test_a_feeder_survives_the_way_through_a_message(feeder: FeederConfig) -> None:
    assert feeder_from_message(feeder_to_message(feeder)) == feeder


def test_the_example_survives_the_way_through_a_message() -> None:
    network = load_network(EXAMPLE)
    assert network_from_message(network_to_message(network)) == network


def test_every_field_of_the_model_has_its_place_in_the_contract() -> None:
    for model, message in (
        (NetworkConfig, network_pb2.NetworkDescription),
        (FeederConfig, network_pb2.FeederDescription),
        (SiteConfig, network_pb2.SiteDescription),
        (CircuitConfig, network_pb2.CircuitDescription),
        (BuildingLoadConfig, network_pb2.BuildingLoadDescription),
        (ChargerConfig, network_pb2.ChargerDescription),
        (ConnectorConfig, network_pb2.ConnectorDescription),
        (TariffConfig, network_pb2.TariffDescription),
        (PeriodConfig, network_pb2.TariffPeriodDescription),
        (DemandChargeConfig, network_pb2.DemandChargeDescription),
        (DayAheadConfig, network_pb2.DayAheadDescription),
    ):
        fields = {field.name for field in message.DESCRIPTOR.fields}
        assert fields == set(model.model_fields) - {"version"}, model.__name__


def test_what_is_not_given_has_the_default_of_the_model() -> None:
    site = site_from_message(
        network_pb2.SiteDescription(
            id="depot",
            circuits=[network_pb2.CircuitDescription(id="supply", rating_a=63)],
            chargers=[network_pb2.ChargerDescription(id="CP-1", circuit="supply")],
        )
    )
    assert site.voltage_v == 230
    assert site.building_load is None
    assert site.chargers[0] == ChargerConfig(id="CP-1", circuit="supply")


def test_what_is_given_as_zero_is_zero() -> None:
    connector = network_pb2.ConnectorDescription(
        id=1, current_min_a=0, priority=0, phases=[electrical_pb2.PHASE_L3]
    )
    charger = network_pb2.ChargerDescription(
        id="CP-1", circuit="supply", connectors=[connector], offline_current_a=0
    )
    site = site_from_message(
        network_pb2.SiteDescription(
            id="depot",
            margin_percent=0,
            circuits=[network_pb2.CircuitDescription(id="supply", rating_a=63)],
            chargers=[charger],
        )
    )
    assert site.margin_percent == 0
    assert site.chargers[0].offline_current_a == 0
    assert site.chargers[0].connectors[0] == ConnectorConfig(
        id=1, current_min_a=0, priority=0, phases=(Phase.L3,)
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": "bad id"}, "site.id"),
        ({"voltage_v": 5}, "site.voltage_v"),
        ({"circuits": []}, "site.circuits"),
        ({"chargers": [{"id": "a b", "circuit": "supply"}]}, "site.chargers[0].id"),
        (
            {"chargers": [{"id": "CP", "circuit": "supply", "connectors": [{"id": 0}]}]},
            "site.chargers[0].connectors[0].id",
        ),
        (
            {"chargers": [{"id": "CP", "circuit": "supply", "limit_unit": 77}]},
            "site.chargers[0].limit_unit",
        ),
        (
            {
                "chargers": [
                    {"id": "CP", "circuit": "supply", "connectors": [{"id": 1, "phases": [0]}]}
                ]
            },
            "site.chargers[0].connectors[0].phases[0]",
        ),
    ],
)
def test_a_fault_is_named_by_its_place_in_the_request(
    change: dict[str, object], field: str
) -> None:
    given = {"id": "depot", "circuits": [{"id": "supply", "rating_a": 63}]} | change
    with pytest.raises(InvalidInput) as caught:
        site_from_message(network_pb2.SiteDescription(**given))  # type: ignore[arg-type]
    assert field in [place for place, _ in caught.value.violations]


def test_a_meter_without_vehicles_has_no_connectors() -> None:
    message = network_pb2.SiteDescription(
        id="depot",
        circuits=[network_pb2.CircuitDescription(id="supply", rating_a=63)],
        chargers=[network_pb2.ChargerDescription(id="M", circuit="supply", meter_only=True)],
        building_load=network_pb2.BuildingLoadDescription(
            circuit="supply",
            meter=network_pb2.BuildingMeterDescription(
                kind=network_pb2.METER_KIND_OCPP, charger="M"
            ),
        ),
    )
    site = site_from_message(message)
    assert list(site.connectors()) == []
    assert site_from_message(site_to_message(site)) == site


def test_a_fault_in_a_meter_is_named_by_its_place() -> None:
    message = network_pb2.SiteDescription(
        id="depot",
        circuits=[network_pb2.CircuitDescription(id="supply", rating_a=63)],
        building_load=network_pb2.BuildingLoadDescription(
            circuit="supply",
            meter=network_pb2.BuildingMeterDescription(
                kind=network_pb2.METER_KIND_MODBUS, host="m", port=99_999
            ),
        ),
    )
    with pytest.raises(InvalidInput) as refused:
        site_from_message(message)
    assert [place for place, _ in refused.value.violations] == [
        "site.building_load.meter.port",
        "site.building_load.meter.registers",
    ]
