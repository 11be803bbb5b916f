"""A campaign, stepped by hand: waves, failures, patience, and what survives its host."""

from __future__ import annotations

from typing import Any

from controlplane.actor import Answer, Ask, Effect, Emit, Persist, Send, SetTimer, TimerFired
from controlplane.campaign.actor import CampaignActor
from controlplane.campaign.messages import (
    CampaignChange,
    CampaignPlan,
    CampaignStage,
    CampaignView,
    ChangeCampaign,
    CreateCampaign,
    Firmware,
    GetCampaign,
    UpdateDeferred,
    UpdateProgress,
)
from controlplane.charger.messages import UpdateWanted
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.ids import ActorKind, ActorRef, ChargerId
from controlplane.store.records import ActorSnapshot

REF = ActorRef(ActorKind.CAMPAIGN, "spring")
MINUTE_MS = 60_000


class Campaign:
    """The actor with what a runtime would do around it."""

    def __init__(self, *waves: str, **plan: Any) -> None:
        fields: dict[str, Any] = {
            "campaign_id": "spring",
            "firmware": Firmware("2.0", "http://files/2.0.bin"),
            "waves": tuple(tuple(map(ChargerId, wave.split())) for wave in waves),
            "failures_max": 0,
            "start_ms": 0,
            "pause_ms": 10 * MINUTE_MS,
            "patience_ms": 60 * MINUTE_MS,
        }
        self.plan = CampaignPlan(**fields | plan)
        self.actor = CampaignActor(REF, ActorSettings(), None)
        self.now_ms = 1_000_000
        self.snapshot: bytes | None = None
        self.timer_ms: int | None = None
        self.asked: dict[str, UpdateWanted] = {}
        self.events: list[str] = []
        self.answer: Any = None
        self.ask(CreateCampaign(self.plan))

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to=ActorRef(id=charger_id), message=UpdateWanted() as wanted):
                    self.asked[charger_id] = wanted
                case SetTimer(at_ms=at_ms):
                    self.timer_ms = at_ms
                case Persist(record=ActorSnapshot(state=state)):
                    self.snapshot = state
                case Emit(kind=kind):
                    self.events.append(kind)
                case Answer(response=response):
                    self.answer = response

    def ask(self, request: Any) -> Any:
        self.take(self.actor.step(Ask("a", request), self.now_ms))
        return self.answer

    def hears(self, charger_id: str, status: str) -> None:
        number = self.asked[charger_id].command.request_id
        ended = status in {"Installed", "DownloadFailed"}
        news = UpdateProgress(ChargerId(charger_id), number, status, ended, status == "Installed")
        self.take(self.actor.step(news, self.now_ms))

    def defers(self, charger_id: str, reason: str) -> None:
        number = self.asked.pop(charger_id).command.request_id
        self.take(
            self.actor.step(UpdateDeferred(ChargerId(charger_id), number, reason), self.now_ms)
        )

    def waits(self) -> None:
        """Until its timer is due."""
        assert self.timer_ms is not None
        self.now_ms, self.timer_ms = max(self.now_ms, self.timer_ms), None
        self.take(self.actor.step(TimerFired("advance"), self.now_ms))

    def dies(self) -> None:
        """Its host is lost; another one brings it back."""
        self.actor = CampaignActor(REF, ActorSettings(), self.snapshot)
        self.timer_ms = None
        self.take(self.actor.activate(self.now_ms))

    @property
    def view(self) -> CampaignView:
        view = self.ask(GetCampaign())
        assert isinstance(view, CampaignView)
        return view


def test_the_next_wave_waits_for_the_last_charger_and_the_pause() -> None:
    campaign = Campaign("CP1 CP2", "CP3")
    assert set(campaign.asked) == {"CP1", "CP2"}
    campaign.hears("CP1", "Installed")
    campaign.hears("CP2", "Installing")
    assert campaign.view.wave == 0
    campaign.hears("CP2", "Installed")
    began_ms = campaign.now_ms
    assert "CP3" not in campaign.asked
    campaign.waits()
    assert campaign.now_ms == began_ms + 10 * MINUTE_MS
    campaign.hears("CP3", "Installed")
    assert campaign.view.stage is CampaignStage.DONE


def test_more_failures_than_allowed_stop_it_at_once_and_resuming_tries_them_again() -> None:
    campaign = Campaign("CP1 CP2 CP3", "CP4", failures_max=1)
    campaign.hears("CP1", "DownloadFailed")
    assert "campaign.stopped" not in campaign.events
    campaign.hears("CP2", "DownloadFailed")
    assert campaign.view.stage is CampaignStage.STOPPED
    assert "campaign.stopped" in campaign.events
    campaign.asked.clear()
    campaign.ask(ChangeCampaign(CampaignChange.RESUME))
    assert set(campaign.asked) == {"CP1", "CP2"}


def test_an_offline_charger_is_asked_again_until_its_time_is_up() -> None:
    campaign = Campaign("CP1", failures_max=1)
    began_ms = campaign.now_ms
    asked = 0
    while campaign.view.stage is CampaignStage.RUNNING:
        if "CP1" in campaign.asked:
            asked += 1
            campaign.defers("CP1", "Offline")
        campaign.waits()
    assert asked == 12
    assert campaign.now_ms == began_ms + 60 * MINUTE_MS
    (member,) = campaign.view.members
    assert (member.status, member.ended, member.installed) == ("TimedOut (Offline)", True, False)


def test_one_that_comes_back_after_it_was_given_up_counts_as_updated() -> None:
    campaign = Campaign("CP1", "CP2", failures_max=1)
    campaign.waits()
    assert campaign.view.members[0].status == "TimedOut"
    campaign.hears("CP1", "Installed")
    assert campaign.view.members[0].installed


def test_no_more_fetch_at_one_time_than_allowed() -> None:
    campaign = Campaign("CP1 CP2 CP3", at_once_max=2)
    assert set(campaign.asked) == {"CP1", "CP2"}
    campaign.hears("CP2", "Installed")
    assert set(campaign.asked) == {"CP1", "CP2", "CP3"}


def test_a_paused_campaign_tells_nobody_and_a_cancelled_one_never_again() -> None:
    campaign = Campaign("CP1 CP2", at_once_max=1)
    campaign.ask(ChangeCampaign(CampaignChange.PAUSE))
    campaign.hears("CP1", "Installed")
    assert "CP2" not in campaign.asked
    campaign.ask(ChangeCampaign(CampaignChange.RESUME))
    assert "CP2" in campaign.asked
    campaign.ask(ChangeCampaign(CampaignChange.CANCEL))
    refusal = campaign.ask(ChangeCampaign(CampaignChange.RESUME))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "CAMPAIGN_ENDED"


def test_it_goes_on_after_its_host_was_lost_and_asks_again_with_the_same_number() -> None:
    campaign = Campaign("CP1 CP2", "CP3")
    campaign.hears("CP1", "Installed")
    number = campaign.asked["CP2"].command.request_id
    campaign.asked.clear()
    campaign.dies()
    campaign.waits()
    assert set(campaign.asked) == {"CP2"}
    assert campaign.asked["CP2"].command.request_id == number
    campaign.hears("CP2", "Installed")
    campaign.waits()
    campaign.hears("CP3", "Installed")
    assert campaign.view.stage is CampaignStage.DONE


def test_the_same_plan_again_is_the_same_campaign_and_another_one_is_refused() -> None:
    campaign = Campaign("CP1")
    assert isinstance(campaign.ask(CreateCampaign(campaign.plan)), CampaignView)
    other = Campaign("CP2").plan
    refusal = campaign.ask(CreateCampaign(other))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "CAMPAIGN_EXISTS"
    twice = CampaignActor(REF, ActorSettings(), None)
    plan = Campaign("CP1 CP1").plan
    (answer,) = twice.step(Ask("a", CreateCampaign(plan)), 0)
    assert isinstance(answer, Answer)
    assert isinstance(answer.response, Refusal)
    assert answer.response.reason == "WAVES_INVALID"


def test_whoever_may_be_asked_again_waits_for_a_place_without_haste() -> None:
    campaign = Campaign("CP1 CP2", at_once_max=1)
    campaign.defers("CP1", "Offline")
    assert set(campaign.asked) == {"CP2"}
    campaign.waits()
    assert set(campaign.asked) == {"CP2"}
    assert campaign.timer_ms is not None and campaign.timer_ms > campaign.now_ms
    campaign.hears("CP2", "Installed")
    assert set(campaign.asked) == {"CP1", "CP2"}


def test_a_stopped_campaign_whose_last_failure_came_good_after_all_can_be_resumed() -> None:
    campaign = Campaign("CP1")
    campaign.waits()
    assert campaign.view.stage is CampaignStage.STOPPED
    campaign.hears("CP1", "Installed")
    assert campaign.ask(ChangeCampaign(CampaignChange.RESUME)).stage is CampaignStage.DONE


def test_a_pause_takes_no_time_from_those_who_were_not_told_yet() -> None:
    campaign = Campaign("CP1")
    campaign.defers("CP1", "Busy")
    campaign.ask(ChangeCampaign(CampaignChange.PAUSE))
    campaign.now_ms += 600 * MINUTE_MS
    view = campaign.ask(ChangeCampaign(CampaignChange.RESUME))
    assert view.stage is CampaignStage.RUNNING
    assert set(campaign.asked) == {"CP1"}
