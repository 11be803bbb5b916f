"""An owner's YAML: what is right is read and written back, what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from controlplane.errors import InvalidInput
from controlplane.network_yaml import (
    dump_network,
    dump_site,
    load_network,
    parse_network,
    parse_site,
)

EXAMPLE = Path(__file__).parents[3] / "deploy/examples/network.yaml"

SITE = """
id: depot
circuits:
  - {id: supply, rating_a: 63}
  - {id: panel, parent: supply, rating_a: 32}
chargers:
  - {id: CP-1, circuit: panel}
"""


def site_with(**changes: object) -> str:
    return yaml.safe_dump(yaml.safe_load(SITE) | changes)


def faults(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_site(text, source="depot.yaml")
    return caught.value.message


def test_the_example_is_read_and_written_back() -> None:
    network = load_network(EXAMPLE)
    assert [site.id for site in network.sites] == ["depot", "kiosk"]
    assert parse_network(dump_network(network)) == network


def test_json_is_yaml() -> None:
    network = load_network(EXAMPLE)
    document = json.dumps(yaml.safe_load(dump_network(network)))
    assert parse_network(document) == network


def test_a_site_is_written_back() -> None:
    site = parse_site(SITE)
    assert parse_site(dump_site(site)) == site


def test_an_exported_network_says_only_what_is_not_a_default() -> None:
    assert yaml.safe_load(dump_site(parse_site(SITE))) == {
        "id": "depot",
        "circuits": [
            {"id": "supply", "rating_a": 63.0},
            {"id": "panel", "parent": "supply", "rating_a": 32.0},
        ],
        "chargers": [{"id": "CP-1", "circuit": "panel"}],
    }


def test_all_faults_are_told_at_once_each_with_its_place() -> None:
    text = """
sites:
  - id: depot
    voltage_v: 12
    circuits:
      - {id: supply, rating_a: -1, colour: red}
"""
    with pytest.raises(InvalidInput) as caught:
        parse_network(text, source="network.yaml")
    lines = caught.value.message.splitlines()
    assert lines[0] == "network.yaml:"
    assert [line.strip().split(": ")[0] for line in lines[1:]] == [
        "sites[0] (depot).voltage_v",
        "sites[0] (depot).circuits[0] (supply).rating_a",
        "sites[0] (depot).circuits[0] (supply).colour",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"circuits": []}, "exactly one circuit has no parent"),
        (
            {"circuits": [{"id": "a", "rating_a": 1}, {"id": "b", "rating_a": 1}]},
            "exactly one circuit has no parent (the supply), found ['a', 'b']",
        ),
        (
            {
                "circuits": [
                    {"id": "supply", "rating_a": 63},
                    {"id": "a", "parent": "b", "rating_a": 1},
                    {"id": "b", "parent": "a", "rating_a": 1},
                ]
            },
            "circuit a is its own ancestor",
        ),
        (
            {
                "circuits": [
                    {"id": "supply", "rating_a": 63},
                    {"id": "a", "parent": "nowhere", "rating_a": 1},
                ]
            },
            "circuit a names an unknown parent 'nowhere'",
        ),
        (
            {"chargers": [{"id": "CP-1", "circuit": "cellar"}]},
            "charger CP-1 names an unknown circuit 'cellar'",
        ),
        (
            {"chargers": [{"id": "CP-1", "circuit": "panel"}, {"id": "CP-1", "circuit": "supply"}]},
            "two chargers share the id 'CP-1'",
        ),
        (
            {"chargers": [{"id": "CP-1", "circuit": "panel", "current_type": "dc"}]},
            "charger CP-1: direct current is limited in watts; set limit_unit to W",
        ),
        (
            {"building_load": {"circuit": "cellar"}},
            "building_load names an unknown circuit 'cellar'",
        ),
        ({"time_zone": "Europe/Nowhere"}, "'Europe/Nowhere' is no IANA time zone"),
        ({"time_zone": "../../etc/passwd"}, "is no IANA time zone"),
        ({"id": 12}, "write it in quotes, '12'"),
        (
            {
                "chargers": [
                    {"id": f"CP-{n}", "circuit": "panel", "offline_current_a": 10} for n in range(4)
                ]
            },
            "circuit panel phase L1: the offline currents of its chargers add up to 40 A",
        ),
        (
            {"chargers": [{"id": "CP-1", "circuit": "panel", "connectors": [{"id": 1}] * 2}]},
            "one or more connectors with different ids",
        ),
        (
            {
                "chargers": [
                    {
                        "id": "CP-1",
                        "circuit": "panel",
                        "connectors": [{"id": 1, "current_min_a": 20, "current_max_a": 16}],
                    }
                ]
            },
            "current_min_a must not exceed current_max_a",
        ),
        (
            {
                "chargers": [
                    {
                        "id": "CP-1",
                        "circuit": "panel",
                        "connectors": [{"id": 1, "phases": ["L1", "L1"]}],
                    }
                ]
            },
            "one to three different phases",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, object], told: str) -> None:
    assert told in faults(site_with(**changes))


def test_a_charger_stands_in_one_site() -> None:
    sites = [yaml.safe_load(SITE), yaml.safe_load(SITE) | {"id": "annex"}]
    with pytest.raises(InvalidInput, match="CP-1 stands in site depot and in site annex"):
        parse_network(yaml.safe_dump({"sites": sites}))


def test_feeders_are_nested_in_any_order() -> None:
    network = parse_network(
        "feeders: [{id: street, parent: town, power_max_w: 5}, {id: town, power_max_w: 9}]"
    )
    assert [feeder.parent for feeder in network.feeders] == ["town", None]
    assert parse_network(dump_network(network)) == network


@pytest.mark.parametrize(
    ("feeders", "fault"),
    [
        ("{id: a, parent: b, power_max_w: 5}", "feeder a names an unknown parent 'b'"),
        ("{id: a, parent: a, power_max_w: 5}", "feeder a would in the end be supplied by itself"),
        (
            "{id: a, parent: b, power_max_w: 5}, {id: b, parent: c, power_max_w: 5}, "
            "{id: c, parent: a, power_max_w: 5}",
            "feeder a would in the end be supplied by itself",
        ),
        (
            "{id: a, parent: b, power_max_w: 5}, {id: b, power_max_w: 5, voltage_v: 120}",
            "differ in voltage_v",
        ),
    ],
)
def test_feeders_supply_each_other_from_the_grid_downwards(feeders: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        parse_network(f"feeders: [{feeders}]")


def test_a_site_names_a_feeder_of_the_network() -> None:
    site = yaml.safe_load(SITE) | {"feeder": "south"}
    with pytest.raises(InvalidInput, match="site depot names an unknown feeder 'south'"):
        parse_network(yaml.safe_dump({"sites": [site]}))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id: a\nid: b", "the key 'id' stands twice"),
        ("- a\n- b", "must be a mapping"),
        ("", "must be a mapping"),
        ("id: [", "expected the node content"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
    ],
)
def test_what_is_no_description_is_refused(text: str, told: str) -> None:
    assert told in faults(text)


def test_aliases_cannot_unfold_without_end() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "elements" in faults("\n".join(lines))


def test_what_chargers_share_may_be_written_once() -> None:
    text = SITE + "  - &wallbox {id: CP-2, circuit: supply, offline_current_a: 8}\n"
    text += "  - {<<: *wallbox, id: CP-3}\n"
    assert parse_site(text).chargers[-1].offline_current_a == 8


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"gone\.yaml"):
        load_network(tmp_path / "gone.yaml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match=r"binary\.yaml"):
        load_network(path)
