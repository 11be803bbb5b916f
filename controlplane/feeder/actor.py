"""The actor of one feeder: hears its sites and its owner, divides its capacity, sends caps.

Invariant: what the sites may draw together, counted as in `ledger.py`, is brought under the
capacity at once when that falls, and never brought above it."""

from __future__ import annotations

import msgspec
from pydantic import ValidationError

from controlplane.actor import (
    Answer,
    Ask,
    CancelTimer,
    Effect,
    Emit,
    Message,
    Persist,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.feeder.ledger import SiteAccount, caps_to_send
from controlplane.feeder.messages import (
    ConfigureFeeder,
    DeleteFeeder,
    FeederConfigured,
    FeederDeleted,
    FeederView,
    GetFeeder,
    SetFeederLimit,
    SiteLeft,
    SiteReport,
    SiteShare,
)
from controlplane.ids import ActorKind, ActorRef, FeederId, SiteId
from controlplane.limit_schedule import (
    WINDOWS_MAX,
    LimitWindow,
    limit_at,
    next_change_ms,
    scheduled,
)
from controlplane.network import FeederConfig, violations
from controlplane.site.messages import CapChanged
from controlplane.store.records import ActorSnapshot, FeederRecord, FeederRemoved
from controlplane.units import ma_from_w

__all__ = ["FeederActor"]

REPORTS_MISSED_MAX = 3
"""A site that missed so many reports is silent: it keeps what it has and gets no more."""


class FeederState(msgspec.Struct):
    """The durable state of a feeder."""

    config: bytes
    """`network.FeederConfig` as JSON."""
    sites: dict[SiteId, SiteAccount] = {}
    cap_id: int = 0
    """The last one given out; never given out again."""
    windows: tuple[LimitWindow, ...] = ()
    """Limits in watts."""
    listens_until_ms: int = 0
    """A new feeder first lets every site report once: what a site that was not heard draws by its
    floor must not be given to another."""


class FeederActor:
    """One feeder. See the module's docstring."""

    def __init__(self, ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> None:
        self.ref = ref
        self._settings = settings
        self._state: FeederState | None = None
        self._config: FeederConfig | None = None
        if snapshot:
            self._state = msgspec.msgpack.decode(snapshot, type=FeederState)
            self._config = FeederConfig.model_validate_json(self._state.config)
        self._divided_ms: int | None = None
        self._divide_at_ms: int | None = None
        self._durable = False
        self._effects: list[Effect] = []

    # --- the runtime's side -----------------------------------------------------------------------

    def activate(self, now_ms: int) -> list[Effect]:
        """Resume: caps stand as they were sent; sites have their usual time to report."""
        self._effects = []
        if self._state is not None:
            for account in self._state.sites.values():
                account.reported_ms = now_ms
            self._divide_by(now_ms + self._settings.site_report_interval_ms)
            self._set_limit_timer(self._state, now_ms)
        return self._effects

    def step(self, message: Message, now_ms: int) -> list[Effect]:
        """Take one message; see `controlplane.actor.Actor`."""
        self._effects = []
        self._durable = False
        state, config = self._state, self._config
        if isinstance(message, Ask):
            self._effects.append(Answer(message.ask_id, self._answer(message.request, now_ms)))
        elif state is not None and config is not None:
            self._hear(state, config, message, now_ms)
        if self._durable and self._state is not None:
            snapshot = msgspec.msgpack.encode(self._state)
            self._effects.append(Persist(ActorSnapshot(ref=self.ref, state=snapshot)))
        return self._effects

    def _hear(
        self, state: FeederState, config: FeederConfig, message: Message, now_ms: int
    ) -> None:
        match message:
            case SiteReport():
                self._reported(state, config, message, now_ms)
            case SiteLeft():
                if state.sites.pop(message.site_id, None) is not None:
                    self._durable = True
                    self._divide(state, config, now_ms)
            case TimerFired(key="divide"):
                self._divide_at_ms = None
                self._divide(state, config, now_ms)
            case TimerFired(key="limit"):
                self._set_limit_timer(state, now_ms)
                self._divide(state, config, now_ms)
            case _:
                # A timer of an older version, or news for another kind of actor: no harm.
                pass

    def _answer(self, request: object, now_ms: int) -> msgspec.Struct:
        if isinstance(request, ConfigureFeeder):
            return self._configure(request, now_ms)
        state, config = self._state, self._config
        if state is None or config is None:
            return self._refusal("not_found", "FEEDER_UNKNOWN", f"no feeder {self.ref.id}")
        match request:
            case GetFeeder():
                return self._view(state, config, now_ms)
            case SetFeederLimit():
                return self._set_limit(state, config, request, now_ms)
            case DeleteFeeder():
                return self._delete(state)
        return self._refusal(
            "invalid_input", "REQUEST_UNKNOWN", "a feeder does not know this request"
        )

    # --- from the owner ---------------------------------------------------------------------------

    def _configure(self, request: ConfigureFeeder, now_ms: int) -> FeederConfigured | Refusal:
        if request.create_only and self._state is not None:
            return self._refusal("already_exists", "FEEDER_EXISTS", f"feeder {self.ref.id} exists")
        if request.update_only and self._state is None:
            return self._refusal("not_found", "FEEDER_UNKNOWN", f"no feeder {self.ref.id}")
        try:
            config = FeederConfig.model_validate_json(request.config)
        except ValidationError as error:
            faults = "\n".join(
                f"  {place or 'feeder'}: {fault}" for place, fault in violations(error)
            )
            return self._refusal(
                "invalid_input", "FEEDER_INVALID", f"feeder {self.ref.id}:\n{faults}"
            )
        if config.id != self.ref.id:
            return self._refusal(
                "invalid_input",
                "FEEDER_INVALID",
                f"id: the description is of feeder {config.id}, sent to feeder {self.ref.id}",
            )
        feeder_id = FeederId(config.id)
        if config == self._config:
            return FeederConfigured(feeder_id)
        stored = config.model_dump_json(exclude_defaults=True).encode()
        if self._state is None:
            listens_until_ms = now_ms + self._settings.site_report_interval_ms
            self._state = FeederState(config=stored, listens_until_ms=listens_until_ms)
        self._state.config = stored
        self._config = config
        self._durable = True
        self._effects.append(Persist(FeederRecord(feeder_id, stored, now_ms)))
        event = {"feeder_id": config.id, "power_max_w": config.power_max_w}
        self._effects.append(Emit("feeder.configured", event))
        self._divide(self._state, config, now_ms)
        return FeederConfigured(feeder_id)

    def _delete(self, state: FeederState) -> FeederDeleted | Refusal:
        if state.sites:
            return self._refusal(
                "precondition",
                "SITES_REPORT",
                f"sites {', '.join(sorted(state.sites))} still belong to feeder {self.ref.id}",
            )
        feeder_id = FeederId(self.ref.id)
        self._effects.append(Persist(FeederRemoved(feeder_id)))
        self._effects.append(Persist(ActorSnapshot(ref=self.ref, state=b"")))
        self._effects += [CancelTimer("divide"), CancelTimer("limit")]
        self._effects.append(Emit("feeder.deleted", {"feeder_id": self.ref.id}))
        self._state = self._config = self._divide_at_ms = None
        return FeederDeleted(feeder_id)

    def _set_limit(
        self, state: FeederState, config: FeederConfig, request: SetFeederLimit, now_ms: int
    ) -> FeederView | Refusal:
        from_ms = now_ms if request.from_ms is None else request.from_ms
        if request.power_w is not None and request.power_w < 0:
            return self._refusal("invalid_input", "LIMIT_NEGATIVE", "power_w is 0 or above")
        if request.until_ms is not None and request.until_ms <= max(from_ms, now_ms):
            return self._refusal(
                "invalid_input", "WINDOW_EMPTY", "until_ms is not after from_ms and now"
            )
        window = LimitWindow(request.power_w, from_ms, request.until_ms)
        windows = scheduled(state.windows, window, now_ms=now_ms)
        if len(windows) > WINDOWS_MAX:
            return self._refusal(
                "exhausted", "WINDOWS_FULL", f"a feeder holds {WINDOWS_MAX} limits"
            )
        state.windows = windows
        self._durable = True
        event = {"power_w": request.power_w, "from_ms": from_ms, "until_ms": request.until_ms}
        self._effects.append(Emit("feeder.limit_changed", event))
        self._set_limit_timer(state, now_ms)
        self._divide(state, config, now_ms)
        return self._view(state, config, now_ms)

    def _view(self, state: FeederState, config: FeederConfig, now_ms: int) -> FeederView:
        return FeederView(
            feeder_id=FeederId(self.ref.id),
            config=state.config,
            at_ms=now_ms,
            limit_ma=_capacity_ma(state, config, now_ms),
            sites=tuple(
                SiteShare(
                    site_id=site_id,
                    cap_ma=account.cap_ma if account.cap_id > 0 else None,
                    acknowledged=account.confirmed,
                    wanted_ma=account.wanted_ma,
                    liability_ma=account.liability_ma,
                    measured_ma=account.measured_ma,
                )
                for site_id, account in sorted(state.sites.items())
            ),
        )

    # --- from sites -------------------------------------------------------------------------------

    def _reported(
        self, state: FeederState, config: FeederConfig, report: SiteReport, now_ms: int
    ) -> None:
        account = state.sites.get(report.site_id)
        if account is None:
            account = state.sites[report.site_id] = SiteAccount()
            self._durable = True
        # A feeder that was deleted and described again must not give out ids that sites have seen.
        state.cap_id = max(state.cap_id, report.cap_id)
        self._durable |= account.reported(report, now_ms=now_ms)
        gap_ms = self._settings.round_interval_ms // 10
        if self._divided_ms is None or now_ms - self._divided_ms >= gap_ms:
            self._divide(state, config, now_ms)
        else:
            self._divide_by(self._divided_ms + gap_ms)

    def _divide(self, state: FeederState, config: FeederConfig, now_ms: int) -> None:
        if now_ms < state.listens_until_ms:
            self._divide_by(state.listens_until_ms)
            return
        self._divided_ms = now_ms
        interval_ms = self._settings.site_report_interval_ms
        patience_ms = REPORTS_MISSED_MAX * interval_ms
        caps = caps_to_send(
            state.sites,
            capacity_ma=_capacity_ma(state, config, now_ms),
            now_ms=now_ms,
            patience_ms=patience_ms,
        )
        for site_id, cap_ma in caps:
            state.cap_id += 1
            account = state.sites[site_id]
            account.sent(state.cap_id, cap_ma, now_ms=now_ms)
            self._durable = True
            self._send_cap(site_id, account)
        for site_id, account in state.sites.items():
            # A silent site may have left without our hearing of it; asked again, it says so.
            silent = account.silent(now_ms=now_ms, patience_ms=patience_ms)
            due = now_ms - account.sent_ms >= interval_ms
            if account.cap_id and due and (silent or not account.confirmed):
                account.sent_ms = now_ms
                self._send_cap(site_id, account)
        self._divide_at_ms = None
        if state.sites:
            self._divide_by(now_ms + interval_ms)

    def _send_cap(self, site_id: SiteId, account: SiteAccount) -> None:
        message = CapChanged(FeederId(self.ref.id), account.cap_id, account.cap_ma)
        self._effects.append(Send(ActorRef(ActorKind.SITE, site_id), message))

    def _divide_by(self, at_ms: int) -> None:
        if self._divide_at_ms is None or at_ms < self._divide_at_ms:
            self._divide_at_ms = at_ms
            self._effects.append(SetTimer("divide", at_ms))

    def _set_limit_timer(self, state: FeederState, now_ms: int) -> None:
        at_ms = next_change_ms(state.windows, now_ms)
        if at_ms is not None:
            self._effects.append(SetTimer("limit", at_ms))

    def _refusal(self, kind: str, reason: str, message: str) -> Refusal:
        return Refusal(kind, reason, message, {"feeder_id": self.ref.id})


def _capacity_ma(state: FeederState, config: FeederConfig, now_ms: int) -> int:
    """The balanced per-phase current that the feeder carries at an instant."""
    limit_w = limit_at(state.windows, now_ms)
    power_w = config.power_max_w if limit_w is None else min(limit_w, config.power_max_w)
    return ma_from_w(power_w, voltage_v=config.voltage_v, phases=3)
