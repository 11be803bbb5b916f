"""What a `FeederActor` can be told: by its sites and by the API."""

from __future__ import annotations

import msgspec

from controlplane.actor import Message
from controlplane.ids import FeederId, SiteId

__all__ = [
    "ConfigureFeeder",
    "DeleteFeeder",
    "FeederConfigured",
    "FeederDeleted",
    "FeederRequest",
    "FeederView",
    "GetFeeder",
    "SetFeederLimit",
    "SiteLeft",
    "SiteReport",
    "SiteShare",
]


class SiteReport(Message, frozen=True, tag="site_report"):
    """A site's sums, per phase on its worst phase, building included: `floor_ma` cannot be shed,
    `wanted_ma` would be used, `liability_ma` may be drawn at this moment; `cap_id` is the last cap
    it took in (0: none)."""

    site_id: SiteId
    cap_id: int
    floor_ma: int
    wanted_ma: int
    liability_ma: int
    measured_ma: int


class SiteLeft(Message, frozen=True, tag="site_left"):
    """The site was deleted or moved to another feeder."""

    site_id: SiteId


class ConfigureFeeder(msgspec.Struct, frozen=True, tag="configure_feeder"):
    """Create or replace the description (`network.FeederConfig` as JSON). Answered with
    `FeederConfigured`."""

    config: bytes
    create_only: bool = False
    update_only: bool = False


class FeederConfigured(msgspec.Struct, frozen=True, tag="feeder_configured"):
    feeder_id: FeederId


class DeleteFeeder(msgspec.Struct, frozen=True, tag="delete_feeder"):
    """Refused while sites report to it. Answered with `FeederDeleted`."""


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


FeederRequest = ConfigureFeeder | DeleteFeeder | SetFeederLimit | GetFeeder


class SiteShare(msgspec.Struct, frozen=True):
    site_id: SiteId
    cap_ma: int | None
    acknowledged: bool
    wanted_ma: int
    liability_ma: int
    measured_ma: int


class FeederView(msgspec.Struct, frozen=True, tag="feeder_view"):
    """`config` is `network.FeederConfig` as JSON; `limit_ma` the capacity in force per phase."""

    feeder_id: FeederId
    config: bytes
    at_ms: int
    limit_ma: int
    sites: tuple[SiteShare, ...]
