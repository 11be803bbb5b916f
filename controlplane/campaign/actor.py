"""The actor of one firmware campaign: tells chargers wave by wave what to install, and stops when
too much fails.

Invariant: a wave begins only when every charger of the one before it has come to an end and no more
than the allowed number failed; every charger is asked until it takes the update, fails, or its time
is up, and so a campaign always comes to an end."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import msgspec

from controlplane.actor import (
    Answer,
    Ask,
    Effect,
    Emit,
    Message,
    Persist,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.campaign.messages import (
    CampaignChange,
    CampaignPlan,
    CampaignStage,
    CampaignView,
    ChangeCampaign,
    CreateCampaign,
    GetCampaign,
    MemberView,
    UpdateDeferred,
    UpdateProgress,
)
from controlplane.charger.messages import UpdateWanted
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.ids import ActorKind, ActorRef, ChargerId
from controlplane.ocpp.commands import UpdateFirmware
from controlplane.store.records import ActorSnapshot, CampaignRecord

__all__ = ["CampaignActor"]

CHARGERS_MAX: Final = 5_000
_TIMER: Final = "advance"
_RETRY_MS: Final = 300_000
"""When a charger that was offline or busy is asked again."""
_RETRIES: Final = 3
_RETRY_INTERVAL_S: Final = 300


class Member(msgspec.Struct, array_like=True):
    """How far one charger has come."""

    wave: int
    status: str = ""
    first_ms: int | None = None
    """When it was its turn."""
    asked: bool = False
    """It was told, and has not put us off."""
    retry_ms: int = 0
    changed_ms: int = 0
    ended: bool = False
    installed: bool = False


class CampaignState(msgspec.Struct):
    """The durable state of a campaign."""

    plan: CampaignPlan
    members: dict[ChargerId, Member]
    stage: CampaignStage = CampaignStage.RUNNING
    wave: int = 0
    not_before_ms: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CampaignState)


class CampaignActor:
    """The actor of one campaign.

    Raises:
        msgspec.DecodeError: the snapshot is not one of a campaign.
    """

    __slots__ = ("_durable", "_effects", "_state", "ref")

    def __init__(self, ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> None:
        self.ref = ref
        self._state = None if snapshot is None else _decoder.decode(snapshot)
        self._effects: list[Effect] = []
        self._durable = False

    def activate(self, now_ms: int) -> list[Effect]:
        """Go on where the campaign was. Chargers that were told are told again: the word may have
        been lost, and who has it already says how far it is."""
        if self._state is None:
            return []
        for member in self._state.members.values():
            member.asked = False
        return [SetTimer(_TIMER, now_ms)]

    def step(self, message: Message, now_ms: int) -> list[Effect]:
        """Take one message; see `controlplane.actor.Actor`."""
        self._effects, self._durable = [], False
        match message:
            case Ask():
                self._effects.append(Answer(message.ask_id, self._answer(message.request, now_ms)))
            case UpdateProgress() | UpdateDeferred() if self._state is not None:
                self._heard(self._state, message, now_ms)
            case TimerFired() if self._state is not None:
                self._advance(self._state, now_ms)
        if self._durable and self._state is not None:
            self._persist(self._state, now_ms)
        return self._effects

    # --- the owner's wishes -----------------------------------------------------------------------

    def _answer(self, request: object, now_ms: int) -> CampaignView | Refusal:
        state = self._state
        if isinstance(request, CreateCampaign):
            return self._create(request.plan, now_ms)
        if state is None:
            return _refusal("not_found", "CAMPAIGN_UNKNOWN", "there is no such campaign", self.ref)
        match request:
            case GetCampaign():
                return _view(state)
            case ChangeCampaign():
                return self._change(state, request.change, now_ms)
        return _refusal("invalid_input", "UNKNOWN_REQUEST", "a campaign cannot do that", self.ref)

    def _create(self, plan: CampaignPlan, now_ms: int) -> CampaignView | Refusal:
        if self._state is not None:
            if self._state.plan == plan:
                return _view(self._state)
            return _refusal(
                "precondition", "CAMPAIGN_EXISTS", "another campaign has this id", self.ref
            )
        chargers = [charger_id for wave in plan.waves for charger_id in wave]
        if not all(plan.waves) or not 0 < len(set(chargers)) == len(chargers) <= CHARGERS_MAX:
            return _refusal(
                "invalid_input",
                "WAVES_INVALID",
                f"waves name 1 to {CHARGERS_MAX} chargers, each once",
                self.ref,
            )
        self._state = CampaignState(
            plan,
            {charger: Member(number) for number, wave in enumerate(plan.waves) for charger in wave},
            not_before_ms=plan.start_ms,
        )
        self._emit("created", chargers=len(chargers), waves=len(plan.waves))
        self._durable = True
        self._advance(self._state, now_ms)
        return _view(self._state)

    def _change(
        self, state: CampaignState, change: CampaignChange, now_ms: int
    ) -> CampaignView | Refusal:
        if state.stage in {CampaignStage.DONE, CampaignStage.CANCELLED}:
            return _refusal(
                "precondition", "CAMPAIGN_ENDED", f"the campaign is {state.stage.value}", self.ref
            )
        match change:
            case CampaignChange.PAUSE if state.stage is CampaignStage.RUNNING:
                state.stage = CampaignStage.PAUSED
            case CampaignChange.CANCEL:
                state.stage = CampaignStage.CANCELLED
            case CampaignChange.RESUME if state.stage is not CampaignStage.RUNNING:
                if state.stage is CampaignStage.STOPPED:
                    for charger_id, member in state.members.items():
                        if member.ended and not member.installed:
                            state.members[charger_id] = Member(member.wave)
                    behind = (m.wave for m in state.members.values() if not m.ended)
                    state.wave = min(behind, default=state.wave)
                for member in state.members.values():
                    if not (member.ended or member.asked):
                        # Nobody wanted anything of it meanwhile.
                        member.first_ms, member.retry_ms = None, 0
                state.stage = CampaignStage.RUNNING
            case _:
                return _view(state)
        self._emit(state.stage.value)
        self._durable = True
        self._advance(state, now_ms)
        return _view(state)

    # --- news from chargers -----------------------------------------------------------------------

    def _heard(
        self, state: CampaignState, news: UpdateProgress | UpdateDeferred, now_ms: int
    ) -> None:
        member = state.members.get(news.charger_id)
        if member is None or news.request_id != self._request_id(news.charger_id):
            return
        if isinstance(news, UpdateDeferred):
            if member.ended or not member.asked:
                return
            member.asked, member.retry_ms = False, now_ms + _RETRY_MS
            member.status = news.reason
        elif member.installed or (member.ended and not news.installed):
            return
        else:
            # A station that was given up may yet come back with what was wanted.
            member.status, member.ended, member.installed = news.status, news.ended, news.installed
            if news.ended:
                self._ended(news.charger_id, member)
        member.changed_ms = now_ms
        self._advance(state, now_ms)

    def _ended(self, charger_id: ChargerId, member: Member) -> None:
        self._durable = True
        self._emit(
            "updated" if member.installed else "failed",
            charger_id=charger_id,
            status=member.status,
            wave=member.wave,
        )

    # --- waves ------------------------------------------------------------------------------------

    def _advance(self, state: CampaignState, now_ms: int) -> None:
        """Bring the campaign as far as it can come at this instant."""
        if state.stage is not CampaignStage.RUNNING:
            return
        if now_ms < state.not_before_ms:
            self._effects.append(SetTimer(_TIMER, state.not_before_ms))
            return
        wave = dict(self._members_of(state, state.wave))
        self._give_up(state, wave, now_ms)
        failed = sum(m.ended and not m.installed for m in state.members.values())
        if failed > state.plan.failures_max:
            state.stage, self._durable = CampaignStage.STOPPED, True
            self._emit("stopped", failed=failed, failures_max=state.plan.failures_max)
        elif all(member.ended for member in wave.values()):
            self._next_wave(state, now_ms)
        else:
            self._ask(state, wave, now_ms)
            self._effects.append(SetTimer(_TIMER, self._due_ms(state, wave, now_ms)))

    def _next_wave(self, state: CampaignState, now_ms: int) -> None:
        self._durable = True
        if state.wave + 1 == len(state.plan.waves):
            state.stage = CampaignStage.DONE
            self._emit("done")
            return
        state.wave += 1
        state.not_before_ms = now_ms + state.plan.pause_ms
        self._emit("wave", wave=state.wave, begins_ms=state.not_before_ms)
        self._effects.append(SetTimer(_TIMER, state.not_before_ms))

    def _give_up(self, state: CampaignState, wave: dict[ChargerId, Member], now_ms: int) -> None:
        for charger_id, member in wave.items():
            if member.ended or member.first_ms is None:
                continue
            if now_ms >= member.first_ms + state.plan.patience_ms:
                member.ended, member.changed_ms = True, now_ms
                member.status = f"TimedOut ({member.status})" if member.status else "TimedOut"
                self._ended(charger_id, member)

    def _ask(self, state: CampaignState, wave: dict[ChargerId, Member], now_ms: int) -> None:
        busy = sum(member.asked and not member.ended for member in wave.values())
        plan = state.plan
        for charger_id, member in wave.items():
            if busy >= plan.at_once_max:
                break
            if member.asked or member.ended or member.retry_ms > now_ms:
                continue
            if member.first_ms is None:
                member.first_ms = now_ms
            member.asked = self._durable = True
            busy += 1
            command = UpdateFirmware(
                request_id=self._request_id(charger_id),
                location=plan.firmware.location,
                retrieve_ms=now_ms,
                retries=_RETRIES,
                retry_interval_s=_RETRY_INTERVAL_S,
                signing_certificate=plan.firmware.signing_certificate,
                signature=plan.firmware.signature,
                version=plan.firmware.version,
                campaign_id=plan.campaign_id,
            )
            self._effects.append(
                Send(
                    ActorRef(ActorKind.CHARGER, charger_id),
                    UpdateWanted(command, only_idle=plan.only_idle),
                )
            )

    def _due_ms(self, state: CampaignState, wave: dict[ChargerId, Member], now_ms: int) -> int:
        """When somebody's time is up, or somebody may be asked again; whoever may be already waits
        for another one's place."""
        due = [
            member.first_ms + state.plan.patience_ms
            for member in wave.values()
            if not member.ended and member.first_ms is not None
        ]
        due += [
            member.retry_ms
            for member in wave.values()
            if not member.ended and not member.asked and member.retry_ms > now_ms
        ]
        return min(due)

    @staticmethod
    def _members_of(state: CampaignState, wave: int) -> Iterator[tuple[ChargerId, Member]]:
        for charger_id in state.plan.waves[wave]:
            yield charger_id, state.members[charger_id]

    def _request_id(self, charger_id: ChargerId) -> int:
        """The number by which a station refers to this update; the same for as long as the
        campaign lives."""
        return zlib.crc32(f"{self.ref.id}/{charger_id}".encode()) % (2**31 - 1) + 1

    def _emit(self, what: str, **data: object) -> None:
        self._effects.append(Emit(f"campaign.{what}", {"campaign_id": self.ref.id, **data}))

    def _persist(self, state: CampaignState, now_ms: int) -> None:
        self._effects.append(Persist(ActorSnapshot(self.ref, _encoder.encode(state))))
        is_open = state.stage not in {CampaignStage.DONE, CampaignStage.CANCELLED}
        self._effects.append(
            Persist(
                CampaignRecord(
                    self.ref.id, state.plan.firmware.version, state.stage.value, is_open, now_ms
                )
            )
        )


def _view(state: CampaignState) -> CampaignView:
    return CampaignView(
        state.plan,
        state.stage,
        state.wave,
        tuple(
            MemberView(
                charger_id, each.wave, each.status, each.ended, each.installed, each.changed_ms
            )
            for charger_id, each in state.members.items()
        ),
    )


def _refusal(kind: str, reason: str, message: str, ref: ActorRef) -> Refusal:
    return Refusal(kind, reason, message, {"campaign_id": ref.id})
