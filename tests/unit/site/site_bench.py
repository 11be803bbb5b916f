"""A `SiteActor` on the bench: the test is its chargers, its meter, its feeder and its clock."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from controlplane.actor import (
    Answer,
    Ask,
    CancelTimer,
    Effect,
    Emit,
    Message,
    Persist,
    PlanFound,
    PlanWanted,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.charger.messages import ApplyLimit
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.feeder.messages import SiteReport
from controlplane.ids import ActorKind, ActorRef, ChargerId, SessionId
from controlplane.network import SiteConfig
from controlplane.ocpp.commands import CommandState
from controlplane.ocpp.events import ConnectorStatus
from controlplane.planning import Desk
from controlplane.site.actor import SiteActor
from controlplane.site.messages import (
    ChargerPresence,
    ConfigureSite,
    ConnectorAllocation,
    ConnectorMetered,
    ConnectorState,
    GetSite,
    LimitOutcome,
    ReportBuildingLoad,
    ReportSitePower,
    SessionDemand,
    SiteView,
)
from controlplane.store.records import ActorSnapshot, Record

Response = TypeVar("Response", bound=msgspec.Struct)

START_MS = 1_700_000_000_000


def charger(id: str, circuit: str = "supply", **values: Any) -> dict[str, Any]:
    """A charger with one connector; connector values and `offline_a` by name."""
    offline_a = values.pop("offline_a", 0)
    limit_unit = values.pop("limit_unit", "A")
    current_type = values.pop("current_type", "ac")
    return {
        "id": id,
        "circuit": circuit,
        "offline_current_a": offline_a,
        "current_type": current_type,
        "limit_unit": limit_unit,
        "connectors": [{"id": 1, **values}],
    }


def site(chargers: list[dict[str, Any]], *, supply_a: float = 160, **values: Any) -> dict[str, Any]:
    """A site with one supply and no margin, unless said otherwise."""
    circuits = [{"id": "supply", "rating_a": supply_a}, *values.pop("panels", [])]
    return {
        "id": "site-1",
        "margin_percent": 0,
        "circuits": circuits,
        "chargers": chargers,
        **values,
    }


class Bench:
    def __init__(
        self, config: dict[str, Any], settings: ActorSettings | None = None, *, up: bool = True
    ) -> None:
        self.settings = settings or ActorSettings()
        self.now_ms = START_MS
        self.ref = ActorRef(ActorKind.SITE, config["id"])
        self.actor = SiteActor(self.ref, self.settings, None)
        self.timers: dict[str, int] = {}
        self.limits: list[tuple[str, ApplyLimit]] = []
        self.reports: list[SiteReport] = []
        self.sent: list[Send] = []
        self.records: list[Record] = []
        self.events: list[Emit] = []
        self.plans: list[PlanWanted] = []
        self.desk: Desk | None = None
        """Who plans; None: nobody answers."""
        self.snapshot: bytes | None = None
        self.snapshots = 0
        self.sessions: dict[str, SessionId] = {}
        self.configure(config)
        if up:
            for described in config["chargers"]:
                self.online(described["id"])
            self.advance(1_000)

    # --- running it -------------------------------------------------------------------------------

    def tell(self, message: Message) -> list[Effect]:
        effects = self.actor.step(message, self.now_ms)
        self.take(effects)
        return effects

    def take(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SetTimer(key=key, at_ms=at_ms):
                    self.timers[key] = at_ms
                case CancelTimer(key=key):
                    self.timers.pop(key, None)
                case PlanWanted():
                    self.plans.append(effect)
                case Persist(record=ActorSnapshot(state=state)):
                    self.snapshot = state
                    self.snapshots += 1
                case Persist(record=record):
                    self.records.append(record)
                case Emit():
                    self.events.append(effect)
                case Send(to=to, message=ApplyLimit() as limit):
                    self.limits.append((to.id, limit))
                case Send(message=SiteReport() as report):
                    self.reports.append(report)
                case Send():
                    self.sent.append(effect)

    def ask(self, request: msgspec.Struct, response: type[Response]) -> Response:
        answers = [each for each in self.tell(Ask("ask", request)) if isinstance(each, Answer)]
        assert len(answers) == 1
        assert isinstance(answers[0].response, response), answers[0].response
        return answers[0].response

    def refused(self, request: msgspec.Struct) -> Refusal:
        return self.ask(request, Refusal)

    def advance(self, duration_ms: int) -> None:
        until_ms = self.now_ms + duration_ms
        while self.timers:
            key, at_ms = min(self.timers.items(), key=lambda each: each[1])
            if at_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, at_ms)
            del self.timers[key]
            self.tell(TimerFired(key))
            self.answer_plans()
        self.now_ms = until_ms

    def answer_plans(self) -> None:
        while self.desk is not None and self.plans:
            wanted = self.plans.pop()
            self.tell(PlanFound(wanted.plan_id, self.desk.answer("bench", wanted.question)))

    def crash(self) -> None:
        self.timers.clear()
        self.limits.clear()
        self.actor = SiteActor(self.ref, self.settings, self.snapshot)
        self.take(self.actor.activate(self.now_ms))

    # --- what it hears ----------------------------------------------------------------------------

    def configure(self, config: dict[str, Any], **flags: bool) -> None:
        description = SiteConfig.model_validate(config).model_dump_json().encode()
        self.tell(Ask("configure", ConfigureSite(description, **flags)))

    def online(self, id: str, *, default_a: float | None = -1, settled: bool = True) -> None:
        if default_a == -1:
            described = SiteConfig.model_validate_json(self.view().config)
            default_a = next(each.offline_current_a for each in described.chargers if each.id == id)
        default_ma = None if default_a is None else int(default_a * 1_000)
        self.tell(ChargerPresence(ChargerId(id), True, settled, default_ma))

    def offline(self, id: str, *, default_a: float = 0) -> None:
        self.tell(ChargerPresence(ChargerId(id), False, False, int(default_a * 1_000)))

    def plug(self, id: str, connector_id: int = 1, *, session: str = "", **values: Any) -> None:
        """A session begins, or is told again with other values."""
        name = SessionId(session or f"session-{id}-{connector_id}")
        status = values.pop("status", ConnectorStatus.CHARGING)
        external_ma = values.pop("external_ma", None)
        demand = SessionDemand(
            session_id=name,
            started_ms=values.pop("started_ms", self.now_ms),
            energy_wh=values.pop("energy_wh", 0),
            need_wh=values.pop("need_wh", None),
            departure_ms=values.pop("departure_ms", None),
            charging=values.pop("charging", True),
            id_token=values.pop("id_token", None),
            boost_until_ms=values.pop("boost_until_ms", None),
            vehicle=values.pop("vehicle", None),
            authorised=values.pop("authorised", True),
            exported_wh=values.pop("exported_wh", 0),
            reserve_percent=values.pop("reserve_percent", None),
        )
        assert not values
        self.tell(ConnectorState(ChargerId(id), connector_id, status, demand, external_ma))
        self.advance(150)

    def unplug(self, id: str, connector_id: int = 1) -> None:
        self.tell(ConnectorState(ChargerId(id), connector_id, ConnectorStatus.AVAILABLE, None))
        self.advance(150)

    def meter(
        self,
        id: str,
        *currents_a: float | None,
        power_w: int | None = None,
        energy_wh: int | None = None,
        soc_percent: float | None = None,
        exported_wh: int | None = None,
        fresh: bool = True,
    ) -> None:
        padded = [None if each is None else int(each * 1_000) for each in currents_a]
        padded += [None] * (3 - len(padded))
        self.tell(
            ConnectorMetered(
                ChargerId(id),
                1,
                self.now_ms,
                (padded[0], padded[1], padded[2]),
                power_w,
                energy_wh,
                soc_percent,
                exported_wh,
                fresh,
            )
        )

    def answer(
        self, state: CommandState = CommandState.ACCEPTED, *, superseded: bool = False
    ) -> list[tuple[str, float]]:
        """Answer every limit that is out; gives charger and amperes of each."""
        out, self.limits = self.limits, []
        self.now_ms += 1
        for charger_id, limit in out:
            self.tell(
                LimitOutcome(
                    ChargerId(charger_id), limit.connector_id, limit.limit_id, state, superseded
                )
            )
        return [(charger_id, limit.limit_ma / 1_000) for charger_id, limit in out]

    def building(self, *currents_a: float, at_ms: int | None = None) -> SiteView:
        l1, l2, l3 = (int(each * 1_000) for each in currents_a)
        at_ms = self.now_ms if at_ms is None else at_ms
        return self.ask(ReportBuildingLoad(at_ms, (l1, l2, l3)), SiteView)

    def sun(
        self,
        solar_w: int,
        *,
        battery_w: int = 0,
        soc_percent: float | None = None,
        at_ms: int | None = None,
    ) -> SiteView:
        at_ms = self.now_ms if at_ms is None else at_ms
        return self.ask(ReportSitePower(at_ms, solar_w, battery_w, soc_percent), SiteView)

    def settle(self, duration_ms: int = 120_000) -> None:
        """Everybody accepts what is sent and lets time do the rest."""
        until_ms = self.now_ms + duration_ms
        while self.now_ms < until_ms:
            self.answer()
            self.advance(1_000)

    # --- what it says -----------------------------------------------------------------------------

    def pending(self) -> dict[str, float]:
        """Amperes of the limits that are out, by charger; the newest counts."""
        return {charger_id: limit.limit_ma / 1_000 for charger_id, limit in self.limits}

    def view(self) -> SiteView:
        return self.ask(GetSite(), SiteView)

    def connector(self, id: str, connector_id: int = 1) -> ConnectorAllocation:
        return next(
            each
            for each in self.view().connectors
            if (each.charger_id, each.connector_id) == (id, connector_id)
        )

    def limits_a(self) -> list[float | None]:
        return [
            None if each.limit_ma is None else each.limit_ma / 1_000
            for each in self.view().connectors
        ]

    def counted_a(self, id: str) -> float:
        return self.connector(id).liability_ma / 1_000

    def alarms(self) -> list[str]:
        """The alarms that are on."""
        on: dict[tuple[str, str], bool] = {}
        for event in self.events:
            if event.kind == "site.alarm":
                on[event.data["alarm"], event.data["subject"]] = event.data["active"]
        return [alarm for (alarm, _), active in on.items() if active]
