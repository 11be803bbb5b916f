"""The network of a chaos run, and who charges there: sites too small for all who come, below
feeders too small for all sites, with stations of every version of OCPP.

Pure; the same numbers give the same network."""

from __future__ import annotations

from typing import Final

from controlplane.network import NetworkConfig, SiteConfig
from controlplane.sim.outlet import OutletSpec, StationSpec, Version

__all__ = ["make_network", "station_spec"]

_STATIONS_PER_SITE: Final = 8
_SITES_PER_FEEDER: Final = 5
_CURRENT_MAX_A: Final = 16.0
_OFFLINE_A: Final = 6.0
_SHARE: Final = 0.6
"""Of what all could draw together, what a circuit carries; all on their offline current take less
than a half."""
_VERSIONS: Final[tuple[Version, ...]] = ("1.6", "2.0.1", "2.1")


def make_network(stations: int) -> NetworkConfig:
    """A description with so many stations, one or more."""
    numbers = range(stations)
    sites = [
        numbers[first : first + _STATIONS_PER_SITE]
        for first in range(0, stations, _STATIONS_PER_SITE)
    ]
    feeders = range(0, len(sites), _SITES_PER_FEEDER)
    return NetworkConfig.model_validate(
        {
            "feeders": [
                _feeder(first, sites[first : first + _SITES_PER_FEEDER]) for first in feeders
            ],
            "sites": [_site(number, part) for number, part in enumerate(sites)],
        }
    )


def _feeder(first_site: int, sites: list[range]) -> dict[str, object]:
    current_a = sum(map(len, sites)) * _CURRENT_MAX_A * _SHARE * 0.85
    return {
        "id": f"feeder-{first_site // _SITES_PER_FEEDER}",
        "power_max_w": round(current_a * 3 * 230),
    }


def _site(number: int, stations: range) -> dict[str, object]:
    halves = {"left": stations[::2], "right": stations[1::2]}
    current_a = len(stations) * _CURRENT_MAX_A * _SHARE
    circuits: list[dict[str, object]] = [{"id": "supply", "rating_a": round(current_a, 1)}]
    circuits += [
        {
            "id": name,
            "parent": "supply",
            "rating_a": round(max(1, len(part)) * _CURRENT_MAX_A * (_SHARE + 0.1), 1),
        }
        for name, part in halves.items()
    ]
    return {
        "id": f"chaos-{number}",
        "feeder": f"feeder-{number // _SITES_PER_FEEDER}",
        "circuits": circuits,
        "chargers": [
            {
                "id": f"CHAOS{station:04d}",
                "circuit": name,
                "offline_current_a": _OFFLINE_A,
                "connectors": [{"id": 1, "current_max_a": _CURRENT_MAX_A}],
            }
            for name, part in halves.items()
            for station in part
        ],
    }


def station_spec(site: SiteConfig, charger_id: str) -> StationSpec:
    """The station of a described charger."""
    version = _VERSIONS[int(charger_id.removeprefix("CHAOS")) % len(_VERSIONS)]
    outlet = OutletSpec(1, (0, 1, 2), _CURRENT_MAX_A, site.voltage_v)
    return StationSpec(charger_id, version, "A", (outlet,))
