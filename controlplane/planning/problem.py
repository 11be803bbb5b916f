"""A horizon as people describe it: the electrical tree, meters with their tariffs, and the
sessions, present and forecast, by name.

Nothing is checked here; `arrays.arrays_of` checks a whole horizon. Currents are integer
milliamperes, powers integer watts, energies integer watt-hours, prices `Decimal` in one
currency."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias

import msgspec

__all__ = ["Cap", "DemandCharge", "Horizon", "Meter", "Node", "PhaseCurrents", "Vehicle"]

PhaseCurrents: TypeAlias = tuple[int, int, int]
"""Milliamperes on L1, L2, L3."""


class Cap(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Less than a node's rating for some slots: a grid event, a feeder's cap, building load. The
    lowest limit counts; None leaves a limit as it is."""

    from_slot: int
    until_slot: int
    """One beyond the last."""
    import_ma: PhaseCurrents | None = None
    export_ma: PhaseCurrents | None = None
    power_max_w: int | None = None
    export_power_max_w: int | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A feeder, site, panel or circuit, with what vehicles may use of it."""

    id: str
    parent: str | None = None
    kind: str = ""
    """What people call it in a sentence: `panel`, `circuit`, `site`."""
    import_ma: PhaseCurrents | None = None
    """None: as much as the other limits allow."""
    export_ma: PhaseCurrents | None = None
    """None: nothing may be fed back through it."""
    power_max_w: int | None = None
    export_power_max_w: int | None = None
    caps: tuple[Cap, ...] = ()


class DemandCharge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A charge for the highest slot of the billing period. Only what exceeds the highest so far
    still has a price."""

    price_per_kw: Decimal
    so_far_w: int = 0
    slots: tuple[bool, ...] = ()
    """In which slots it is measured; empty: in all."""


class Meter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where energy is paid for; every vehicle is below exactly one."""

    id: str
    node: str
    import_price_per_kwh: tuple[Decimal, ...]
    """For each slot; below 0 where drawing is paid."""
    export_price_per_kwh: tuple[Decimal, ...] = ()
    """What feeding in earns, at most the import price; empty: nothing, or the import price where
    that is below 0."""
    base_w: tuple[int, ...] = ()
    """What else flows through it, building less sun; empty: nothing."""
    demand: tuple[DemandCharge, ...] = ()


class Vehicle(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One session, present or forecast. Energies are those in the battery, counted from what is in
    it on arrival, or now where it is there already."""

    id: str
    node: str
    """The node that feeds its connector."""
    lines: tuple[int, ...] = (1, 2, 3)
    """The lines of the supply on which it draws the same current."""
    line_to_line: bool = False
    """Connected between its two lines, without neutral."""
    voltage_v: int = 230
    """Line to neutral; between the lines where it is connected so."""
    max_ma: int = 32_000
    arrival_s: int = 0
    """From the start of the horizon."""
    departure_s: int
    need_wh: int
    """What it must have gained on departure; below 0 where it may leave with less."""
    room_wh: int
    """What fits into the battery."""
    tier: int = 0
    """Which of the horizon's penalties missing energy costs."""
    charge_permille: int = 920
    """What of a thousand watt-hours drawn is stored."""
    discharge_ma: int = 0
    """What it may feed in: the driver has agreed and the station can. 0: nothing."""
    discharge_permille: int = 920
    spare_wh: int = 0
    """How far below what it came with it may be discharged: down to the driver's reserve. Below 0
    where it came with less than that; it is not discharged then."""
    wear_price_per_kwh: Decimal = Decimal(0)
    """The battery's wear for each kilowatt-hour fed in."""
    taper_from_wh: int | None = None
    """The gain from which on it charges less, linearly down to `taper_ma` when full."""
    taper_ma: int = 0


class Horizon(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is planned."""

    slots: int
    slot_s: int
    nodes: tuple[Node, ...]
    meters: tuple[Meter, ...]
    vehicles: tuple[Vehicle, ...]
    tier_penalties_per_kwh: tuple[Decimal, ...] = (Decimal(10), Decimal(3), Decimal(1))
    """What a missing kilowatt-hour costs, by tier; the last also for tiers beyond."""
    late_price_per_kwh: Decimal = Decimal("0.00001")
    """What a kilowatt-hour is the worse for each slot that it is later: charging early where all
    else is equal."""
