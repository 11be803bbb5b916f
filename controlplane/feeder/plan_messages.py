"""What sites and feeders tell each other of the next day: what a site plans with on the way up,
what each may plan with on the way down.

All of it may be lost, late or repeated: a plan limits nobody, and what is missing is told again
with the next plan."""

from __future__ import annotations

import msgspec

from controlplane.actor import Message
from controlplane.ids import FeederId, SiteId
from controlplane.planning.joint import FeederAhead
from controlplane.site.messages import PlanRowView, PlanState

__all__ = [
    "Allotted",
    "FeederPlanSite",
    "FeederPlanView",
    "FeederSlots",
    "FeedersAhead",
    "GetFeederPlan",
    "PlannedBelow",
    "SiteAhead",
    "SiteSlots",
]


class SiteAhead(Message, frozen=True, tag="site_ahead"):
    """What a site plans with, for the feeder that plans for all its sites; each feeder on the way
    adds what it carries itself."""

    site_id: SiteId
    at_ms: int
    """The clock of the site."""
    currency: str
    vehicles: int
    part: bytes
    """`planning.joint.SitePart` as msgpack: only who plans reads it."""
    feeders: tuple[FeederAhead, ...] = ()
    """Those that passed it on."""


class FeedersAhead(Message, frozen=True, tag="feeders_ahead"):
    """What a feeder will carry has changed; each feeder on the way adds itself."""

    feeders: tuple[FeederAhead, ...]


class Allotted(Message, frozen=True, tag="allotted"):
    """What a site may plan with, building included, per phase on its fullest line, by slot."""

    feeder_id: FeederId
    """The site's own feeder."""
    at_ms: int
    """When it was planned, by the clock of who planned."""
    start_ms: int
    current_ma: tuple[int, ...]
    """By quarter of an hour."""
    full: str = ""
    """The feeder above it that has least to give; empty where none is ever full."""


class FeederSlots(msgspec.Struct, frozen=True):
    """A feeder in a plan, by slot, per phase."""

    feeder_id: FeederId
    parent: FeederId | None
    voltage_v: int
    limit_ma: tuple[int, ...]
    planned_ma: tuple[int, ...]
    """What flows through it, buildings and those who do not plan included."""
    load_ma: tuple[int, ...]
    """Of that, what is no vehicle that is planned."""
    worth: tuple[float, ...] = ()
    """What one more kilowatt would be worth; empty where it is never full."""


class SiteSlots(msgspec.Struct, frozen=True):
    """A site in a plan, by slot, per phase on its fullest line, building included."""

    site_id: SiteId
    feeder_id: FeederId
    told_ms: int
    """When it said what it plans with, by its clock."""
    vehicles: int
    planned_ma: tuple[int, ...]
    allotted_ma: tuple[int, ...]
    short: int
    """How many of its vehicles will leave with less than they need."""
    missing_wh: int
    full: str


class PlannedBelow(Message, frozen=True, tag="planned_below"):
    """A plan, or what of it concerns a feeder and all below it."""

    planner_id: FeederId
    """The highest feeder, which planned."""
    at_ms: int
    start_ms: int
    slot_s: int
    currency: str
    joint: bool
    """Whether all had to be planned together, because a feeder could be full."""
    cost: float
    bound: float
    feeders: tuple[FeederSlots, ...]
    sites: tuple[SiteSlots, ...]


class GetFeederPlan(msgspec.Struct, frozen=True, tag="get_feeder_plan"):
    """Answered with `FeederPlanView`."""


class FeederPlanSite(msgspec.Struct, frozen=True):
    """A site below a feeder, in W by slot."""

    site_id: SiteId
    feeder_id: FeederId
    told_ms: int
    vehicles: int
    short: int
    missing_wh: int
    planned_w: tuple[int, ...]
    allotted_w: tuple[int, ...]


class FeederPlanView(msgspec.Struct, frozen=True, tag="feeder_plan_view"):
    """What a feeder and all below it plan; see `Plan` in `planning.proto`. All but the first four
    fields are those of the last plan, and empty where there was none."""

    feeder_id: FeederId
    at_ms: int
    state: PlanState
    words: str
    planner_id: str = ""
    plan_ms: int | None = None
    start_ms: int | None = None
    slot_s: int = 0
    currency: str = ""
    cost: float = 0.0
    bound: float = 0.0
    limit_w: tuple[int, ...] = ()
    planned_w: tuple[int, ...] = ()
    load_w: tuple[int, ...] = ()
    full_rows: tuple[PlanRowView, ...] = ()
    """Feeders that are full in some slot."""
    sites: tuple[FeederPlanSite, ...] = ()
