"""The published scenario: one month of sessions, the network they charge on, and what others got.

Everything that takes part is run on this and nothing else, so that figures can be laid side by
side: 954 sessions of March 2019, ideal batteries, continuous pilots from 0 to 32 A, periods of five
minutes, and the Caltech network with a transformer made too small for the demand."""

from __future__ import annotations

import gzip
import json
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from acnportal import acnsim

__all__ = [
    "CAPACITIES_KW",
    "DATA",
    "PERIOD_MIN",
    "PUBLISHED",
    "START",
    "VOLTAGE_V",
    "events",
    "network",
]

CAPACITIES_KW = (10, 20, 30, 50)
PERIOD_MIN = 5
VOLTAGE_V = 208
START = datetime(2019, 3, 1, tzinfo=ZoneInfo("America/Los_Angeles"))

DATA = Path(__file__).parent / "data"
_EVENTS = DATA / "acn_caltech_2019-03_5min.json.gz"

PUBLISHED: dict[int, dict[str, float]] = {
    10: {
        "fcfs": 34.653,
        "llf": 36.816,
        "edf": 36.937,
        "round_robin": 43.847,
        "lookahead": 51.690,
        "offline": 52.091,
    },
    20: {"llf": 70.73, "edf": 71.86},
    30: {"llf": 86.53, "edf": 86.21},
    50: {"llf": 99.70, "edf": 99.09},
}
"""Per cent of the requested energy delivered, by transformer capacity (kW), three-phase network:
experiment 2.1 of caltech-netlab/acnportal-experiments. `lookahead` is its best MPC variant."""


def events() -> acnsim.EventQueue:
    """A fresh queue of the month's plug-in events."""
    with gzip.open(_EVENTS, "rt", encoding="utf-8") as file:
        text: Any = json.load(file)
    with warnings.catch_warnings():
        # The file was written by an older acnportal; it says so once for every package.
        warnings.filterwarnings("ignore", message=".*does not match.*", category=UserWarning)
        return acnsim.EventQueue.from_json(text)


def network(capacity_kw: float) -> acnsim.ChargingNetwork:
    """The Caltech network behind a transformer of this capacity."""
    return acnsim.sites.caltech_acn(basic_evse=True, voltage=VOLTAGE_V, transformer_cap=capacity_kw)
