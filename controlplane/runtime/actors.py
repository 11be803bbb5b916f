"""Which class stands behind each kind of actor."""

from __future__ import annotations

from controlplane.actor import Actor
from controlplane.campaign.actor import CampaignActor
from controlplane.charger.actor import ChargerActor
from controlplane.config import ActorSettings
from controlplane.feeder.actor import FeederActor
from controlplane.ids import ActorKind, ActorRef
from controlplane.site.actor import SiteActor

__all__ = ["create_actor"]


def create_actor(ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> Actor:
    """The actor that `ref` names, as it was stored, or new.

    Raises:
        Exception: `snapshot` is none that this kind of actor wrote.
    """
    match ref.kind:
        case ActorKind.CHARGER:
            return ChargerActor(ref, settings, snapshot)
        case ActorKind.SITE:
            return SiteActor(ref, settings, snapshot)
        case ActorKind.FEEDER:
            return FeederActor(ref, settings, snapshot)
        case ActorKind.CAMPAIGN:
            return CampaignActor(ref, settings, snapshot)
