"""An ACN-Sim network as Loadstar's core sees it.

ACN-Sim bounds |sum over stations of a * x * exp(j * theta)|, one row of its constraint matrix at a
time. Stations that agree in angle and in the whole column are one *kind* here, and each constraint
becomes one combined row with a complex coefficient per kind. Nothing is written down by hand: the
network object is all that is read.

Invariant: what fits the core's rows fits ACN-Sim's. Coefficients are rounded to integers, so a
limit is lowered by the most that this rounding can hide: half a unit in either direction for every
milliampere that a kind can draw at all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from acnportal import acnsim
from numpy.typing import NDArray

from controlplane import _core

__all__ = ["Electrical", "read", "tangents"]

_KINDS = 16
_COEFFICIENT_MAX = 2**20
_MA_PER_A = 1000
_UNBOUNDED_MA = 10**12
_WORST_ROUNDING = math.sqrt(0.5)
"""How far an integer point can be from the complex number it stands for."""
_LARGE = 1_000.0
"""Rounding changes a coefficient of at least this by less than one part in it."""
_TANGENT_DEGREES = 5.0


@dataclass(frozen=True)
class Electrical:
    """A network of one node, whose combined rows are the constraints.

    Attributes:
        network: what the core solves on; leaves are in the order of the stations.
        station_ids: the stations, in that order.
        kind: shape (stations,), each station's kind.
        line_pair: shape (stations,), which lines a station hangs between: stations of one angle.
        coefficient: shape (constraints, kinds), complex, per ampere: the constraint matrix turned
            by the angles, as ACN-Sim has it.
        limit_a: shape (constraints,), the magnitudes, in amperes.
        combined: the same limits in the core's units.
        capacity: nothing but these.
        max_ma: shape (stations,), what each station can be set to.
    """

    network: _core.Network
    station_ids: list[str]
    kind: NDArray[np.int64]
    line_pair: NDArray[np.int64]
    coefficient: NDArray[np.complex128]
    limit_a: NDArray[np.float64]
    combined: NDArray[np.int64]
    capacity: _core.Capacity
    max_ma: NDArray[np.int64]


def read(charging_network: acnsim.ChargingNetwork) -> Electrical:
    """Translate the network.

    Raises:
        ValueError: more than 16 different columns.
    """
    matrix = np.asarray(charging_network.constraint_matrix, dtype=float)
    angle = np.round(np.asarray(charging_network._phase_angles, dtype=float), 9)
    columns = np.vstack([angle, matrix]).T
    distinct, kind = np.unique(columns, axis=0, return_inverse=True)
    kinds = len(distinct)
    if kinds > _KINDS:
        raise ValueError(f"{kinds} kinds of stations, more than {_KINDS}")
    _, line_pair = np.unique(angle, return_inverse=True)
    coefficient = distinct[:, 1:].T * np.exp(1j * np.deg2rad(distinct[:, 0]))
    limit_a = np.asarray(charging_network.magnitudes, dtype=float)
    max_ma = np.floor(charging_network.max_pilot_signals * _MA_PER_A).astype(np.int64)
    integers, combined = _integers(
        coefficient, limit_a, np.bincount(kind, max_ma).astype(np.float64)
    )
    stations = len(kind)
    return Electrical(
        network=_core.Network(
            node_parent=np.array([-1], dtype=np.int32),
            leaf_node=np.zeros(stations, dtype=np.int32),
            leaf_phases=np.ones(stations, dtype=np.uint8),
            leaf_kind=kind.astype(np.uint8),
            combined_node=np.zeros(len(limit_a), dtype=np.int32),
            combined_coefficient=integers,
        ),
        station_ids=charging_network.station_ids,
        kind=kind,
        line_pair=line_pair,
        coefficient=coefficient,
        limit_a=limit_a,
        combined=combined,
        # Plain rows count arithmetically; the vectors rule here, so those never bind.
        capacity=_core.Capacity(
            import_ma=np.full((1, 3), _UNBOUNDED_MA, dtype=np.int64), combined=combined
        ),
        max_ma=max_ma,
    )


def tangents(electrical: Electrical) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows over the sums of kinds, in amperes, that hold each vector row to a thousandth, and their
    limits: what breaks one of them breaks the vector row.

    Loads are never negative, so a vector row's current points somewhere between the first and the
    last of its coefficients: tangents elsewhere cannot bind.
    """
    lines, limits = [], []
    for row, limit_a in zip(electrical.coefficient, electrical.limit_a, strict=True):
        direction = row[np.abs(row) > 0] / np.abs(row[np.abs(row) > 0])
        middle = direction.sum()
        spread = np.angle(direction / middle)
        count = 1 + int(np.ceil(np.rad2deg(np.ptp(spread)) / _TANGENT_DEGREES))
        for angle in np.linspace(spread.min(), spread.max(), count) + np.angle(middle):
            lines.append((row * np.exp(-1j * angle)).real)
            limits.append(limit_a)
    return np.array(lines), np.array(limits)


def _integers(
    coefficient: NDArray[np.complex128],
    limit_a: NDArray[np.float64],
    kind_max_ma: NDArray[np.float64],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Coefficients as integers, shape (rows, 16, 2), and the limits that go with them."""
    rows, kinds = coefficient.shape
    largest = np.maximum(np.abs(coefficient.real), np.abs(coefficient.imag)).max(axis=1)
    scale = np.floor(_COEFFICIENT_MAX / largest)
    scaled = coefficient * scale[:, None]
    integers = np.zeros((rows, _KINDS, 2), dtype=np.int32)
    integers[:, :kinds, 0] = np.round(scaled.real)
    integers[:, :kinds, 1] = np.round(scaled.imag)
    limit = limit_a * _MA_PER_A * scale
    # A row also holds for each kind by itself.
    alone = np.full((rows, kinds), np.inf)
    np.divide(limit[:, None], np.abs(scaled), out=alone, where=np.abs(scaled) >= _LARGE)
    kind_ma = np.minimum(kind_max_ma, alone.min(axis=0) * (1 + 1 / _LARGE))
    hidden = _WORST_ROUNDING * (np.abs(scaled) > 0) @ kind_ma
    return integers, np.floor(limit - hidden).astype(np.int64)
