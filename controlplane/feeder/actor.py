"""The actor of one feeder: hears what it supplies and its owner, divides its capacity, sends caps.

A feeder that is itself supplied by another one stands to it as a site does: it reports what all
below it want and may draw, and divides no more than the cap it is given.

Invariant: what the sites may draw together, counted as in `ledger.py`, is brought under the
capacity at once when that falls, and never brought above it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

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
from controlplane.demand_curve import Curve
from controlplane.errors import Refusal
from controlplane.feeder.configure import refusal, validated
from controlplane.feeder.ledger import Account, Division, caps_to_send
from controlplane.feeder.messages import (
    ConfigureFeeder,
    DeleteFeeder,
    FeederConfigured,
    FeederDeleted,
    FeederLeft,
    FeederReport,
    FeederView,
    GetFeeder,
    MemberShare,
    SetFeederLimit,
    SiteLeft,
    SiteReport,
)
from controlplane.feeder.plan_messages import GetFeederPlan
from controlplane.feeder.planning import Planning
from controlplane.feeder.reporting import Reports
from controlplane.feeder.state import FeederState, Sums
from controlplane.grid_events import (
    CancelGridEvent,
    CreateGridEvent,
    GetGridEvent,
    GridEvent,
    GridWish,
)
from controlplane.ids import ActorKind, ActorRef, FeederId
from controlplane.limit_schedule import (
    WINDOWS_MAX,
    LimitWindow,
    next_change_ms,
    scheduled,
)
from controlplane.network import FeederConfig
from controlplane.site.messages import CapChanged
from controlplane.store.records import ActorSnapshot, FeederRecord, FeederRemoved

__all__ = ["FeederActor"]

REPORTS_MISSED_MAX = 3
"""Who missed so many reports is silent: it keeps what it has and gets no more."""


class FeederActor:
    """One feeder. See the module's docstring."""

    def __init__(self, ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> None:
        self.ref = ref
        self._settings = settings
        self._patience_ms = REPORTS_MISSED_MAX * settings.site_report_interval_ms
        self._state: FeederState | None = None
        self._config: FeederConfig | None = None
        if snapshot:
            self._state = msgspec.msgpack.decode(snapshot, type=FeederState)
            self._config = FeederConfig.model_validate_json(self._state.config)
        self._curves: dict[ActorRef, Curve] = {}
        """What was last reported; told again within an interval after a crash."""
        self._reports: Reports[FeederReport] = Reports()
        self._division = Division()
        self._planning = Planning(ref, settings)
        self._divided_ms: int | None = None
        self._divide_at_ms: int | None = None
        self._durable = False
        self._effects: list[Effect] = []

    # --- the runtime's side -----------------------------------------------------------------------

    def activate(self, now_ms: int) -> list[Effect]:
        """Resume: caps stand as they were sent; everybody has the usual time to report."""
        self._effects = []
        if self._state is not None:
            for account in self._state.members().values():
                account.reported_ms = now_ms
            self._divide_by(now_ms + self._settings.site_report_interval_ms)
            self._set_limit_timer(self._state, now_ms)
            self._set_grid_timer(self._state, now_ms)
            self._set_report_timer(now_ms)
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
        elif isinstance(message, CapChanged):
            self._leave(message.feeder_id, now_ms)
        if self._durable and self._state is not None:
            snapshot = msgspec.msgpack.encode(self._state)
            self._effects.append(Persist(ActorSnapshot(ref=self.ref, state=snapshot)))
        return self._effects

    def _hear(
        self, state: FeederState, config: FeederConfig, message: Message, now_ms: int
    ) -> None:
        match message:
            case SiteReport() | FeederReport():
                self._reported(state, config, message, now_ms)
            case SiteLeft() | FeederLeft():
                self._left(state, config, message, now_ms)
            case CapChanged():
                self._cap_changed(state, config, message, now_ms)
            case TimerFired(key="divide"):
                self._divide_at_ms = None
                self._divide(state, config, now_ms)
            case TimerFired(key="limit"):
                self._set_limit_timer(state, now_ms)
                self._divide(state, config, now_ms)
            case TimerFired(key="report"):
                self._report(state, config, self._sums(state, config, now_ms))
                self._set_report_timer(now_ms)
            case TimerFired(key="grid"):
                self._advance_grid(state, config, now_ms)
                self._divide(state, config, now_ms)
            case _:
                self._effects += self._planning.hear(state, config, message, now_ms)

    def _answer(self, request: object, now_ms: int) -> msgspec.Struct:
        if isinstance(request, ConfigureFeeder):
            return self._configure(request, now_ms)
        state, config = self._state, self._config
        if state is None or config is None:
            return refusal("not_found", "FEEDER_UNKNOWN", f"no feeder {self.ref.id}", self.ref.id)
        match request:
            case GetFeeder():
                return self._view(state, config, now_ms)
            case GetFeederPlan():
                return self._planning.view(now_ms)
            case SetFeederLimit():
                return self._set_limit(state, config, request, now_ms)
            case CreateGridEvent() | CancelGridEvent() | GetGridEvent():
                return self._grid_event(state, config, request, now_ms)
            case DeleteFeeder():
                return self._delete(state, config, now_ms)
        words = "a feeder does not know this request"
        return refusal("invalid_input", "REQUEST_UNKNOWN", words, self.ref.id)

    # --- from the owner ---------------------------------------------------------------------------

    def _configure(self, request: ConfigureFeeder, now_ms: int) -> FeederConfigured | Refusal:
        config = validated(request, self.ref.id, described=self._state is not None)
        if isinstance(config, Refusal):
            return config
        before = self._config
        feeder_id = FeederId(config.id)
        if config == before:
            return FeederConfigured(feeder_id)
        stored = config.model_dump_json(exclude_defaults=True).encode()
        if self._state is None:
            listens_until_ms = now_ms + self._settings.site_report_interval_ms
            self._state = FeederState(config=stored, listens_until_ms=listens_until_ms)
        if before is not None and before.parent != config.parent:
            self._state.parent_cap_id, self._state.parent_cap_ma = 0, None
            self._state.parent_wish = None
            self._reports = Reports()
            if before.parent is not None:
                self._leave(FeederId(before.parent), now_ms)
        self._state.config = stored
        self._config = config
        self._durable = True
        self._effects.append(Persist(FeederRecord(feeder_id, stored, now_ms)))
        event = {"feeder_id": config.id, "power_max_w": config.power_max_w, "parent": config.parent}
        self._effects.append(Emit("feeder.configured", event))
        self._set_report_timer(now_ms)
        self._divide(self._state, config, now_ms)
        self._effects += self._planning.moved(self._state, config, now_ms)
        return FeederConfigured(feeder_id)

    def _delete(
        self, state: FeederState, config: FeederConfig, now_ms: int
    ) -> FeederDeleted | Refusal:
        members = state.members()
        if members:
            return refusal(
                "precondition",
                "SITES_REPORT",
                f"{', '.join(map(str, members))} still belong to feeder {self.ref.id}",
                self.ref.id,
            )
        feeder_id = FeederId(self.ref.id)
        self._effects += state.grid.close(self.ref, now_ms)
        if config.parent is not None:
            self._leave(FeederId(config.parent), now_ms)
        self._effects.append(Persist(FeederRemoved(feeder_id)))
        self._effects.append(Persist(ActorSnapshot(ref=self.ref, state=b"")))
        self._effects += [CancelTimer(key) for key in ("divide", "limit", "grid", "report")]
        self._effects += self._planning.close()
        self._planning = Planning(self.ref, self._settings)
        self._effects.append(Emit("feeder.deleted", {"feeder_id": self.ref.id}))
        self._state = self._config = self._divide_at_ms = None
        return FeederDeleted(feeder_id)

    def _set_limit(
        self, state: FeederState, config: FeederConfig, request: SetFeederLimit, now_ms: int
    ) -> FeederView | Refusal:
        from_ms = now_ms if request.from_ms is None else request.from_ms
        if request.power_w is not None and request.power_w < 0:
            words = "power_w is 0 or above"
            return refusal("invalid_input", "LIMIT_NEGATIVE", words, self.ref.id)
        if request.until_ms is not None and request.until_ms <= max(from_ms, now_ms):
            words = "until_ms is not after from_ms and now"
            return refusal("invalid_input", "WINDOW_EMPTY", words, self.ref.id)
        window = LimitWindow(request.power_w, from_ms, request.until_ms)
        windows = scheduled(state.windows, window, now_ms=now_ms)
        if len(windows) > WINDOWS_MAX:
            words = f"a feeder holds {WINDOWS_MAX} limits"
            return refusal("exhausted", "WINDOWS_FULL", words, self.ref.id)
        state.windows = windows
        self._durable = True
        event = {"power_w": request.power_w, "from_ms": from_ms, "until_ms": request.until_ms}
        self._effects.append(Emit("feeder.limit_changed", event))
        self._set_limit_timer(state, now_ms)
        self._divide(state, config, now_ms)
        self._effects += self._planning.moved(state, config, now_ms)
        return self._view(state, config, now_ms)

    def _grid_event(
        self,
        state: FeederState,
        config: FeederConfig,
        request: CreateGridEvent | CancelGridEvent | GetGridEvent,
        now_ms: int,
    ) -> GridEvent | Refusal:
        answer, effects = state.grid.answer(request, self.ref, now_ms)
        self._effects += effects
        self._durable |= bool(effects)
        if effects:
            self._advance_grid(state, config, now_ms)
            self._divide(state, config, now_ms)
            self._effects += self._planning.moved(state, config, now_ms)
        return answer if isinstance(answer, Refusal) else answer.copy()

    def _advance_grid(self, state: FeederState, config: FeederConfig, now_ms: int) -> None:
        sums = self._sums(state, config, now_ms)
        effects = state.grid.advance(sums.observation(), self.ref)
        self._effects += effects
        self._durable |= bool(effects)

    def _view(self, state: FeederState, config: FeederConfig, now_ms: int) -> FeederView:
        sums = self._sums(state, config, now_ms)
        return FeederView(
            feeder_id=FeederId(self.ref.id),
            config=state.config,
            at_ms=now_ms,
            limit_ma=state.capacity_ma(config, sums, now_ms),
            cap_ma=state.parent_cap_ma,
            measured_w=sums.measured_w,
            liability_w=sums.allowed_w,
            sites=tuple(
                self._share(site_id, account, config, now_ms)
                for site_id, account in sorted(state.sites.items())
            ),
            feeders=tuple(
                self._share(feeder_id, account, config, now_ms)
                for feeder_id, account in sorted(state.feeders.items())
            ),
            overload=state.overloads.present,
            events=state.grid.listed(),
        )

    def _share(self, id: str, account: Account, config: FeederConfig, now_ms: int) -> MemberShare:
        return MemberShare(
            id=id,
            cap_ma=account.cap_ma if account.cap_id > 0 else None,
            acknowledged=account.confirmed,
            wanted_ma=account.wanted_ma,
            liability_ma=account.liability_ma,
            measured_ma=account.measured_ma,
            measured_w=account.drawn_w(
                voltage_v=config.voltage_v, now_ms=now_ms, patience_ms=self._patience_ms
            ),
            wish_w=_power_w(account.wish),
            spare_w=0 if account.feed_in is None else account.feed_in.spare_w,
        )

    # --- from below -------------------------------------------------------------------------------

    def _reported(
        self,
        state: FeederState,
        config: FeederConfig,
        report: SiteReport | FeederReport,
        now_ms: int,
    ) -> None:
        if isinstance(report, SiteReport):
            account = state.sites.setdefault(report.site_id, Account())
        else:
            account = state.feeders.setdefault(report.feeder_id, Account())
        if account.overtaken(report.at_ms):
            return
        self._curves[_sender(report)] = report.curve
        # It is new, and must be known after a crash as well.
        self._durable |= account.reported_ms == 0
        # A feeder that was deleted and described again must not give out ids that sites have seen.
        state.cap_id = max(state.cap_id, report.cap_id)
        counted_before_ma = account.counted_ma
        self._durable |= account.reported(report, now_ms=now_ms)
        # What it draws beyond its cap must not be given to another after a crash.
        self._durable |= account.counted_ma > counted_before_ma
        gap_ms = self._settings.round_interval_ms // 10
        if self._divided_ms is None or now_ms - self._divided_ms >= gap_ms:
            self._divide(state, config, now_ms)
            return
        self._divide_by(self._divided_ms + gap_ms)
        if config.parent is not None or state.grid.awaiting:
            # Others wait for what this report may have freed.
            self._tell(state, config, now_ms)

    def _left(
        self,
        state: FeederState,
        config: FeederConfig,
        message: SiteLeft | FeederLeft,
        now_ms: int,
    ) -> None:
        member = _sender(message)
        account = state.members().get(member)
        if account is None or account.overtaken(message.at_ms):
            return
        state.forget(member)
        self._curves.pop(member, None)
        self._planning.forget(member)
        self._durable = True
        self._divide(state, config, now_ms)

    # --- from and to the feeder above -------------------------------------------------------------

    def _cap_changed(
        self, state: FeederState, config: FeederConfig, message: CapChanged, now_ms: int
    ) -> None:
        if message.feeder_id != config.parent:
            self._leave(message.feeder_id, now_ms)
            return
        if message.cap_id == state.parent_cap_id:
            self._wish_prolonged(state, config, message.wish, now_ms)
            # The feeder did not hear our report.
            self._report(state, config, self._sums(state, config, now_ms))
        if message.cap_id <= state.parent_cap_id:
            return
        state.parent_cap_id, state.parent_cap_ma = message.cap_id, message.cap_ma
        state.parent_wish = message.wish
        self._durable = True
        self._divide(state, config, now_ms)

    def _wish_prolonged(
        self, state: FeederState, config: FeederConfig, wish: GridWish | None, now_ms: int
    ) -> None:
        """The feeder above told its wish again."""
        known = state.parent_wish
        if wish is not None and known is not None and wish.until_ms > known.until_ms:
            state.parent_wish = wish
            self._durable = True
            self._divide(state, config, now_ms)

    def _leave(self, feeder_id: FeederId, now_ms: int) -> None:
        """Tell a feeder that it does not supply this one, again if it did not hear that before."""
        message = FeederLeft(FeederId(self.ref.id), now_ms)
        self._effects.append(Send(ActorRef(ActorKind.FEEDER, feeder_id), message))

    def _report(self, state: FeederState, config: FeederConfig, sums: Sums) -> None:
        if config.parent is None:
            return
        curve = sums.curve(state, config, self._curves, patience_ms=self._patience_ms)
        report = msgspec.structs.replace(sums.report(state, config), curve=curve)
        report = self._reports.stamped(report)
        self._effects.append(Send(ActorRef(ActorKind.FEEDER, config.parent), report))

    # --- what it comes to -------------------------------------------------------------------------

    def _divide(self, state: FeederState, config: FeederConfig, now_ms: int) -> None:
        if now_ms < state.listens_until_ms:
            # The feeder above listens as well: it must hear of the floors in time.
            self._divide_by(state.listens_until_ms)
            self._tell(state, config, now_ms)
            return
        self._divided_ms = now_ms
        interval_ms = self._settings.site_report_interval_ms
        members = state.members()
        sums = None if config.parent is None else self._sums(state, config, now_ms)
        wishes = state.wishes(config, now_ms=now_ms, patience_ms=self._patience_ms)
        # What is fed in is on no cap: with wishes, caps keep to the rating and to what is needed.
        capacity_ma = state.capacity_ma(config, sums, now_ms, asked=wishes is None)
        caps = caps_to_send(
            members,
            self._curves,
            capacity_ma=capacity_ma,
            now_ms=now_ms,
            patience_ms=self._patience_ms,
            division=self._division,
            needed=wishes is not None,
        )
        reducing = self._send_caps(state, members, dict(caps), wishes or {}, now_ms)
        for member, account in members.items():
            # A silent one may have left without our hearing of it; asked again, it says so.
            late = account.cap_id and now_ms - account.sent_ms >= interval_ms
            if late and (
                not account.confirmed
                or account.silent(now_ms=now_ms, patience_ms=self._patience_ms)
            ):
                account.sent_ms = now_ms
                self._send_cap(member, account)
        events = state.overloads.changes(
            members,
            capacity_ma=capacity_ma,
            now_ms=now_ms,
            patience_ms=self._patience_ms,
            grace_ms=self._settings.call_timeout_ms + self._settings.ramp_ms,
        )
        self._effects += events
        self._durable |= bool(events)
        self._divide_at_ms = None
        if members:
            self._divide_by(now_ms + interval_ms)
        self._tell(state, config, now_ms, reducing=reducing)

    def _send_caps(
        self,
        state: FeederState,
        members: Mapping[ActorRef, Account],
        caps: Mapping[ActorRef, int],
        wishes: Mapping[ActorRef, GridWish],
        now_ms: int,
    ) -> bool:
        """Send everybody whose cap or wish is another than before what it is to have; whether that
        is less for anybody."""
        reducing = False
        for member in (*caps, *(each for each in members if each not in caps)):
            account, wish = members[member], wishes.get(member)
            before = account.wish
            if member not in caps and (
                before == wish
                or account.cap_id == 0
                or account.silent(now_ms=now_ms, patience_ms=self._patience_ms)
            ):
                continue
            cap_ma = caps.get(member, account.cap_ma)
            lower = account.cap_id > 0 and cap_ma < account.cap_ma
            reducing |= lower or (wish is not None and before is None)
            account.wish = wish
            self._durable = True
            if member in caps or _power_w(before) != _power_w(wish):
                state.cap_id += 1
                account.sent(state.cap_id, cap_ma, now_ms=now_ms)
            self._send_cap(member, account)
        return reducing

    def _tell(
        self,
        state: FeederState,
        config: FeederConfig,
        now_ms: int,
        *,
        reducing: bool = False,
    ) -> None:
        """Let the grid's events and the feeder above know where the sums stand."""
        if config.parent is None and not (reducing or state.grid.wants_observation(now_ms)):
            return
        sums = self._sums(state, config, now_ms)
        effects = state.grid.observe(sums.observation(reducing=reducing), self.ref)
        self._effects += effects
        self._durable |= bool(effects)
        self._set_grid_timer(state, now_ms)
        if config.parent is None:
            return
        report = sums.report(state, config)
        if self._reports.urgent(report, state.parent_cap_ma):
            self._report(state, config, sums)

    def _sums(self, state: FeederState, config: FeederConfig, now_ms: int) -> Sums:
        return Sums.of(state, config, now_ms=now_ms, patience_ms=self._patience_ms)

    def _send_cap(self, member: ActorRef, account: Account) -> None:
        message = CapChanged(FeederId(self.ref.id), account.cap_id, account.cap_ma, account.wish)
        self._effects.append(Send(member, message))

    def _divide_by(self, at_ms: int) -> None:
        if self._divide_at_ms is None or at_ms < self._divide_at_ms:
            self._divide_at_ms = at_ms
            self._effects.append(SetTimer("divide", at_ms))

    def _set_limit_timer(self, state: FeederState, now_ms: int) -> None:
        at_ms = next_change_ms(state.windows, now_ms)
        if at_ms is not None:
            self._effects.append(SetTimer("limit", at_ms))

    def _set_report_timer(self, now_ms: int) -> None:
        if self._config is not None and self._config.parent is not None:
            self._effects.append(
                SetTimer("report", now_ms + self._settings.site_report_interval_ms)
            )

    def _set_grid_timer(self, state: FeederState, now_ms: int) -> None:
        at_ms = state.grid.next_due_ms(now_ms)
        if at_ms is not None:
            self._effects.append(SetTimer("grid", at_ms))


def _power_w(wish: GridWish | None) -> int | None:
    return None if wish is None else wish.power_w


def _sender(message: SiteReport | FeederReport | SiteLeft | FeederLeft) -> ActorRef:
    if isinstance(message, SiteReport | SiteLeft):
        return ActorRef(ActorKind.SITE, message.site_id)
    return ActorRef(ActorKind.FEEDER, message.feeder_id)
