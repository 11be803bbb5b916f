"""What a `FeederActor` can be told: by the sites and feeders below it and by the API. The feeder
above it tells it `site.messages.CapChanged`, as it tells a site."""

from __future__ import annotations

import msgspec

from controlplane.actor import Message
from controlplane.demand_curve import Curve
from controlplane.grid_events import CancelGridEvent, CreateGridEvent, GetGridEvent, GridEvent
from controlplane.ids import ActorRef, FeederId, SiteId

__all__ = [
    "OVERTAKEN_MAX_MS",
    "ConfigureFeeder",
    "DeleteFeeder",
    "FeedIn",
    "FeederConfigured",
    "FeederDeleted",
    "FeederLeft",
    "FeederReport",
    "FeederRequest",
    "FeederView",
    "GetFeeder",
    "MemberShare",
    "Overload",
    "OverloadShare",
    "SetFeederLimit",
    "SiteLeft",
    "SiteReport",
    "Spare",
]


OVERTAKEN_MAX_MS = 60_000
"""News that are older than those before them by no more than this were overtaken by them; where the
difference is larger, the sender's clock was set back."""


class Spare(msgspec.Struct, frozen=True, array_like=True):
    """So much could be fed in at this moment, at a price that is a decimal number."""

    power_w: int
    price_per_kwh: str


class FeedIn(msgspec.Struct, frozen=True, array_like=True):
    """What somebody below a feeder says of feeding in, building included.

    `needed_w`, and per phase `needed_ma`, would be drawn with everybody paused who can wait and
    nobody feeding in; `spare` is what could be fed in then, the cheapest first, within needs,
    reserves and rows for export. `allowed_w` may be drawn at this moment, less what is surely fed
    in; `fed_w` is, by the meters.
    """

    needed_w: int
    needed_ma: int
    allowed_w: int
    fed_w: int = 0
    spare: tuple[Spare, ...] = ()

    @property
    def spare_w(self) -> int:
        """All that could be fed in."""
        return sum(each.power_w for each in self.spare)

    def beyond(self, limit_w: int | None) -> FeedIn:
        """What is left where its own events, which ask for `limit_w`, take a part of it already."""
        if limit_w is None or limit_w >= self.needed_w:
            return self
        taken_w = rest_w = min(self.needed_w - limit_w, self.spare_w)
        left: list[Spare] = []
        for each in self.spare:
            used_w = min(rest_w, each.power_w)
            rest_w -= used_w
            if each.power_w > used_w:
                left.append(Spare(each.power_w - used_w, each.price_per_kwh))
        return msgspec.structs.replace(self, needed_w=self.needed_w - taken_w, spare=tuple(left))


class SiteReport(Message, frozen=True, tag="site_report"):
    """A site's sums, per phase on its worst phase, building included: `floor_ma` cannot be shed,
    `wanted_ma` would be used, `liability_ma` may be drawn at this moment; `cap_id` is the last cap
    it took in (0: none). `curve` says how it gets from floor to wanted; where it is empty, all of
    it is wanted alike.

    `measured_w` is what its meters show in all, and what may be drawn where they are silent; None
    where the sender does not say. `at_ms` is the sender's clock, by which a report that was
    overtaken is known; 0 where it does not say. `feed_in` is None where nobody may feed in.
    """

    site_id: SiteId
    cap_id: int
    floor_ma: int
    wanted_ma: int
    liability_ma: int
    measured_ma: int
    measured_w: int | None = None
    curve: Curve = ()
    at_ms: int = 0
    feed_in: FeedIn | None = None


class FeederReport(Message, frozen=True, tag="feeder_report"):
    """The same of a feeder, for all below it. Its liability is what it has let its sites draw."""

    feeder_id: FeederId
    cap_id: int
    floor_ma: int
    wanted_ma: int
    liability_ma: int
    measured_ma: int
    measured_w: int | None = None
    curve: Curve = ()
    at_ms: int = 0
    feed_in: FeedIn | None = None


class SiteLeft(Message, frozen=True, tag="site_left"):
    """The site was deleted or moved to another feeder. `at_ms` as in `SiteReport`."""

    site_id: SiteId
    at_ms: int = 0


class FeederLeft(Message, frozen=True, tag="feeder_left"):
    """The feeder was deleted or is supplied by another one."""

    feeder_id: FeederId
    at_ms: int = 0


class ConfigureFeeder(msgspec.Struct, frozen=True, tag="configure_feeder"):
    """Create or replace the description (`network.FeederConfig` as JSON). Answered with
    `FeederConfigured`."""

    config: bytes
    create_only: bool = False
    update_only: bool = False


class FeederConfigured(msgspec.Struct, frozen=True, tag="feeder_configured"):
    feeder_id: FeederId


class DeleteFeeder(msgspec.Struct, frozen=True, tag="delete_feeder"):
    """Refused while sites or feeders report to it. Answered with `FeederDeleted`."""


class FeederDeleted(msgspec.Struct, frozen=True, tag="feeder_deleted"):
    feeder_id: FeederId


class SetFeederLimit(msgspec.Struct, frozen=True, tag="set_feeder_limit"):
    """Cap the feeder from `from_ms` (None: now) to `until_ms` (None: until changed); `power_w` None
    lifts it. Answered with `FeederView`."""

    power_w: int | None
    from_ms: int | None = None
    until_ms: int | None = None


class GetFeeder(msgspec.Struct, frozen=True, tag="get_feeder"):
    """Answered with `FeederView`."""


FeederRequest = (
    ConfigureFeeder
    | DeleteFeeder
    | SetFeederLimit
    | GetFeeder
    | CreateGridEvent
    | CancelGridEvent
    | GetGridEvent
)


class MemberShare(msgspec.Struct, frozen=True):
    """The part of a site or feeder."""

    id: str
    cap_ma: int | None
    acknowledged: bool
    wanted_ma: int
    liability_ma: int
    measured_ma: int
    measured_w: int
    wish_w: int | None = None
    """What it is to come down to by feeding in; None where nothing like that is wished of it."""
    spare_w: int = 0
    """What it could feed in."""


class OverloadShare(msgspec.Struct, frozen=True):
    """Who keeps a feeder above its capacity, why (`overload.Cause`), and by how much it exceeds
    what it is to draw."""

    member: ActorRef
    cause: str
    excess_ma: int


class Overload(msgspec.Struct, frozen=True):
    """`excess_ma` is by how much, per phase, what may be drawn exceeds the capacity."""

    since_ms: int
    excess_ma: int
    shares: tuple[OverloadShare, ...]


class FeederView(msgspec.Struct, frozen=True, tag="feeder_view"):
    """`config` is `network.FeederConfig` as JSON; `limit_ma` the capacity in force per phase;
    `cap_ma` what the feeder above allows, None where there is none or it has not spoken."""

    feeder_id: FeederId
    config: bytes
    at_ms: int
    limit_ma: int
    cap_ma: int | None
    measured_w: int
    liability_w: int
    sites: tuple[MemberShare, ...]
    """By id, as are the feeders."""
    feeders: tuple[MemberShare, ...]
    overload: Overload | None
    events: tuple[GridEvent, ...]
