"""What a `CampaignActor` can be told: by the chargers it updates and by the API."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from controlplane.actor import Message
from controlplane.ids import ChargerId

__all__ = [
    "CampaignChange",
    "CampaignPlan",
    "CampaignRequest",
    "CampaignStage",
    "CampaignView",
    "ChangeCampaign",
    "CreateCampaign",
    "Firmware",
    "GetCampaign",
    "MemberView",
    "UpdateDeferred",
    "UpdateProgress",
]


class UpdateProgress(Message, frozen=True, tag="update_progress"):
    """A charger's update has a new status, the station's own word. `ended`: nothing more comes of
    it; `installed`: it succeeded."""

    charger_id: ChargerId
    request_id: int
    status: str
    ended: bool
    installed: bool


class UpdateDeferred(Message, frozen=True, tag="update_deferred"):
    """The charger was not, or perhaps not, told of its update: `reason` is `Offline`, `Busy` (it
    charges somebody) or `NoAnswer`."""

    charger_id: ChargerId
    request_id: int
    reason: str


class Firmware(msgspec.Struct, frozen=True):
    """What is to be installed. `version` is what a station calls itself then; with
    `signing_certificate` (PEM) and `signature` (base64) stations check it before they install."""

    version: str
    location: str
    signing_certificate: str | None = None
    signature: str | None = None


class CampaignPlan(msgspec.Struct, frozen=True):
    """What a campaign is to do.

    Args:
        waves: which chargers, in the order of the waves.
        failures_max: with more failed updates than this the campaign stops.
        only_idle: a charger with a session is left alone until that has ended.
        patience_ms: how long after it was first to be updated a charger counts as failed.
        pause_ms: between the end of a wave and the beginning of the next.
        at_once_max: how many chargers fetch firmware at one time.
        start_ms: not before.
    """

    campaign_id: str
    firmware: Firmware
    waves: tuple[tuple[ChargerId, ...], ...]
    failures_max: int
    start_ms: int
    only_idle: bool = True
    patience_ms: int = 7_200_000
    pause_ms: int = 600_000
    at_once_max: int = 50


class CampaignStage(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    """By an operator; what stations are doing goes on."""
    STOPPED = "stopped"
    """Too many updates failed; an operator may resume it."""
    CANCELLED = "cancelled"
    DONE = "done"


class CreateCampaign(msgspec.Struct, frozen=True, tag="create_campaign"):
    """Answered with `CampaignView`; refused where another plan has this id."""

    plan: CampaignPlan


class CampaignChange(StrEnum):
    PAUSE = "pause"
    RESUME = "resume"
    """After a stop: what failed is tried once more."""
    CANCEL = "cancel"


class ChangeCampaign(msgspec.Struct, frozen=True, tag="change_campaign"):
    """Answered with `CampaignView`."""

    change: CampaignChange


class GetCampaign(msgspec.Struct, frozen=True, tag="get_campaign"):
    """Answered with `CampaignView`."""


CampaignRequest = CreateCampaign | ChangeCampaign | GetCampaign


class MemberView(msgspec.Struct, frozen=True, array_like=True):
    """One charger of a campaign: the last word on its update, and when that came."""

    charger_id: ChargerId
    wave: int
    status: str
    ended: bool
    installed: bool
    changed_ms: int


class CampaignView(msgspec.Struct, frozen=True, tag="campaign_view"):
    plan: CampaignPlan
    stage: CampaignStage
    wave: int
    """The one under way, from 0."""
    members: tuple[MemberView, ...]
