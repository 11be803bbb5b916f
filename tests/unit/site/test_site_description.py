"""Describing a site, forgetting it, and standing up again after the host was lost."""

from __future__ import annotations

import msgspec
import pytest
from site_bench import START_MS, Bench, charger, site

from controlplane.actor import Persist, Send, TimerFired
from controlplane.charger.messages import ApplyLimit, ChargerAssigned, ChargerUnassigned
from controlplane.config import ActorSettings
from controlplane.feeder.messages import SiteLeft
from controlplane.ids import ActorKind, ActorRef, ChargerId, FeederId, SessionId, SiteId
from controlplane.network import ChargerConfig, SiteConfig
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.actor import SiteActor
from controlplane.site.messages import (
    CapChanged,
    ConfigureSite,
    ConnectorState,
    DeleteSite,
    GetSite,
    ReportBuildingLoad,
    SessionDemand,
    SetSiteLimit,
    SiteDeleted,
    SiteView,
)
from controlplane.site.state import SiteState
from controlplane.store.records import (
    ActorSnapshot,
    ChargerRecord,
    ChargerRemoved,
    SiteRecord,
    SiteRemoved,
)

FEEDER = FeederId("feeder-1")
BUILDING = {"circuit": "supply", "stale_after_s": 60, "assumed_a": 10}


def described(config: dict[str, object]) -> bytes:
    return SiteConfig.model_validate(config).model_dump_json().encode()


def test_a_description_is_written_and_told() -> None:
    bench = Bench(site([charger("A"), charger("B")], feeder="feeder-1"), up=False)
    stored = next(each for each in bench.records if isinstance(each, SiteRecord))
    assert (stored.site_id, stored.feeder_id) == ("site-1", "feeder-1")
    assert SiteConfig.model_validate_json(stored.config).chargers[1].id == "B"
    directory = [each for each in bench.records if isinstance(each, ChargerRecord)]
    assert [each.charger_id for each in directory] == ["A", "B"]
    told = bench.sent[0]
    assert isinstance(told.message, ChargerAssigned)
    assert told.to == ActorRef(ActorKind.CHARGER, "A")
    assert ChargerConfig.model_validate_json(told.message.config).id == "A"
    assert [event.kind for event in bench.events] == ["site.configured"]


def test_the_same_description_again_changes_nothing() -> None:
    config = site([charger("A")])
    bench = Bench(config)
    bench.records.clear()
    bench.sent.clear()
    bench.configure(config)
    assert (bench.records, bench.sent) == ([], [])


def test_only_what_changed_is_told() -> None:
    bench = Bench(site([charger("A"), charger("B"), charger("C")]))
    bench.sent.clear()
    bench.records.clear()
    bench.configure(site([charger("A"), charger("B", priority=1)]))
    assert [(each.to.id, type(each.message)) for each in bench.sent] == [
        ("B", ChargerAssigned),
        ("C", ChargerUnassigned),
    ]
    assert ChargerRemoved(ChargerId("C")) in bench.records


def test_a_new_description_keeps_the_accounts() -> None:
    bench = Bench(site([charger("A"), charger("B")], supply_a=60))
    bench.plug("A")
    bench.settle(5_000)
    bench.configure(site([charger("B"), charger("C"), charger("A")], supply_a=40))
    assert bench.counted_a("A") == 32
    assert bench.counted_a("C") == 32, "never heard of"
    assert bench.view().violations == 0


def test_a_new_description_changes_what_the_hardware_can() -> None:
    bench = Bench(site([charger("A", current_max_a=16, offline_a=20)]))
    bench.plug("A")
    bench.settle(5_000)
    assert bench.limits_a() == [16.0]
    bench.configure(site([charger("A", current_max_a=32, offline_a=20)]))
    bench.online("A", default_a=20)
    bench.settle(60_000)
    assert bench.limits_a() == [32.0], "the session is known still"


def test_a_default_profile_is_never_above_the_hardware() -> None:
    bench = Bench(site([charger("A", current_max_a=16, offline_a=20)]), up=False)
    bench.online("A", default_a=6)
    assert bench.counted_a("A") == 16


def test_a_connector_with_a_session_is_not_removed() -> None:
    bench = Bench(site([charger("A"), charger("B")]))
    bench.plug("A")
    refusal = bench.refused(ConfigureSite(described(site([charger("B")]))))
    assert (refusal.kind, refusal.reason) == ("precondition", "SESSION_RUNNING")
    assert "A/1" in refusal.message
    assert bench.refused(DeleteSite()).reason == "SESSION_RUNNING"


def test_a_default_profile_rises_only_into_room_that_others_have_let_go_of() -> None:
    def config(a: float, b: float, supply_a: float = 16) -> dict[str, object]:
        chargers = [charger("A", offline_a=a), charger("B", offline_a=b)]
        return site(chargers, supply_a=supply_a)

    bench = Bench(config(10, 6))
    refusal = bench.refused(ConfigureSite(described(config(6, 10))))
    assert (refusal.kind, refusal.reason) == ("precondition", "DEFAULTS_IN_FORCE")
    assert "circuit supply phase L1" in refusal.message
    bench.configure(config(6, 6))
    assert bench.refused(ConfigureSite(described(config(6, 10)))).reason == "DEFAULTS_IN_FORCE"
    bench.online("A", default_a=6)
    reason = bench.refused(ConfigureSite(described(config(6, 10)))).reason
    assert reason == "DEFAULTS_IN_FORCE", "a vehicle that ran at 10 A has yet to follow"
    bench.advance(31_000)
    bench.configure(config(6, 10))
    assert (bench.counted_a("A"), bench.counted_a("B")) == (6, 10)
    newcomer = charger("C", offline_a=4)
    crowded = site([charger("A", offline_a=2), charger("B", offline_a=10), newcomer], supply_a=16)
    assert bench.refused(ConfigureSite(described(crowded))).reason == "DEFAULTS_IN_FORCE"


def test_a_lower_rating_is_taken_at_once() -> None:
    bench = Bench(site([charger("A", offline_a=10), charger("B", offline_a=6)], supply_a=16))
    bench.configure(site([charger("A", offline_a=4), charger("B", offline_a=4)], supply_a=8))
    assert bench.view().circuits[0].rating_ma == (8_000, 8_000, 8_000)


@pytest.mark.parametrize(
    ("request_", "kind", "word"),
    [
        (ConfigureSite(b"{"), "invalid_input", "JSON"),
        (
            ConfigureSite(b'{"id": "site-1", "circuits": [{"id": "supply", "rating_a": -1}]}'),
            "invalid_input",
            "circuits[0].rating_a",
        ),
        (ConfigureSite(described(site([], id="other"))), "invalid_input", "site other"),
        (ConfigureSite(described(site([])), create_only=True), "already_exists", "site-1"),
        (ReportBuildingLoad(START_MS, (0, 0, 0)), "precondition", "building_load"),
        (SetSiteLimit(-1), "invalid_input", "limit_ma"),
        (SetSiteLimit(1, START_MS + 5, START_MS + 5), "invalid_input", "until_ms"),
    ],
)
def test_bad_requests_are_refused(request_: msgspec.Struct, kind: str, word: str) -> None:
    bench = Bench(site([charger("A")]))
    refusal = bench.refused(request_)
    assert refusal.kind == kind
    assert word in refusal.message


def test_a_building_meter_from_the_future_is_refused() -> None:
    bench = Bench(site([charger("A")], building_load=BUILDING))
    request = ReportBuildingLoad(bench.now_ms + 3_600_000, (0, 0, 0))
    assert bench.refused(request).reason == "AT_IN_FUTURE"


def test_a_site_holds_a_bounded_number_of_limits() -> None:
    bench = Bench(site([charger("A")]))
    for number in range(1_000):
        from_ms = bench.now_ms + 1_000 + number * 10
        bench.ask(SetSiteLimit(1_000, from_ms, from_ms + 5), SiteView)
    late_ms = bench.now_ms + 3_600_000
    assert bench.refused(SetSiteLimit(1_000, late_ms, late_ms + 1)).kind == "exhausted"


def test_a_site_that_is_not_described_answers_so() -> None:
    bench = Bench(site([charger("A")]))
    bench.ask(DeleteSite(), SiteDeleted)
    assert SiteRemoved(bench.ref.id) in bench.records  # type: ignore[arg-type]
    assert isinstance(bench.sent[-1].message, ChargerUnassigned)
    assert bench.timers == {}
    for request in (GetSite(), DeleteSite(), SetSiteLimit(None)):
        assert bench.refused(request).reason == "SITE_UNKNOWN"
    update = ConfigureSite(described(site([])), update_only=True)
    assert bench.refused(update).reason == "SITE_UNKNOWN"
    assert bench.actor.step(TimerFired("round"), bench.now_ms) == []
    bench.crash()
    assert bench.refused(GetSite()).reason == "SITE_UNKNOWN", "it stays deleted"


def test_moving_to_another_feeder() -> None:
    bench = Bench(site([charger("A")], feeder="feeder-1"))
    bench.tell(CapChanged(FEEDER, 7, 50_000))
    bench.configure(site([charger("A")], feeder="feeder-2"))
    left = [each for each in bench.sent if isinstance(each.message, SiteLeft)]
    assert [each.to.id for each in left] == ["feeder-1"]
    assert bench.view().cap_ma is None
    assert bench.reports[-1].cap_id == 0


def test_a_feeder_that_was_left_has_no_say_and_is_told_again() -> None:
    """`SiteLeft` may be lost on its way to another shard, and a cap may be on its way here."""
    bench = Bench(site([charger("A")], feeder="feeder-2"))
    bench.tell(CapChanged(FEEDER, 8, 60_000))
    assert (bench.view().cap_ma, bench.reports[-1].cap_id) == (None, 0)
    assert bench.sent[-1] == Send(
        ActorRef(ActorKind.FEEDER, FEEDER), SiteLeft(SiteId(bench.ref.id), bench.now_ms)
    )
    bench.configure(site([charger("A")]))
    bench.tell(CapChanged(FeederId("feeder-2"), 9, 60_000))
    assert bench.sent[-1].to.id == "feeder-2"
    bench.ask(DeleteSite(), SiteDeleted)
    bench.sent.clear()
    bench.tell(CapChanged(FEEDER, 8, 60_000))
    assert [each.message for each in bench.sent] == [SiteLeft(SiteId(bench.ref.id), bench.now_ms)]


def test_after_a_crash_the_ledger_stands() -> None:
    bench = Bench(site([charger("A", offline_a=6), charger("B", offline_a=6)], supply_a=44))
    bench.plug("A")
    bench.settle(5_000)
    bench.plug("B")
    assert bench.pending() == {"A": 22, "B": 12}
    last_id = max(limit.limit_id for _, limit in bench.limits)
    bench.crash()
    view = bench.view()
    assert [each.liability_ma for each in view.connectors] == [32_000, 12_000]
    assert all("offline" in each.reason for each in view.connectors)
    bench.advance(10_000)
    assert bench.limits == [], "nobody has reported"
    for name in "AB":
        bench.online(name, default_a=6)
        bench.plug(name)
    assert bench.pending() == {"A": 22, "B": 12}
    assert min(limit.limit_id for _, limit in bench.limits) > last_id
    bench.settle()
    assert bench.limits_a() == [22.0, 22.0]


def test_chargers_hear_their_description_again_after_a_crash() -> None:
    """The host may have gone down after it wrote the description and before a charger took it."""
    bench = Bench(site([charger("A"), charger("B")]), up=False)
    told = [each for each in bench.sent if isinstance(each.message, ChargerAssigned)]
    bench.sent.clear()
    bench.crash()
    assert [each.to.id for each in told] == ["A", "B"]
    assert bench.sent == [
        msgspec.structs.replace(each, message=msgspec.structs.replace(each.message, again=True))
        for each in told
    ]


def test_building_load_limits_and_cap_survive_a_crash() -> None:
    bench = Bench(site([charger("A")], building_load=BUILDING, feeder="feeder-1"))
    bench.building(20, 30, 40)
    bench.tell(CapChanged(FEEDER, 3, 90_000))
    bench.ask(SetSiteLimit(80_000), SiteView)
    bench.crash()
    view = bench.view()
    assert view.circuits[0].building_ma == (20_000, 30_000, 40_000)
    assert (view.cap_ma, view.limit_ma) == (90_000, 80_000)


def test_what_is_sent_is_in_the_snapshot_of_the_same_step() -> None:
    bench = Bench(site([charger("A")]))
    session = SessionDemand(SessionId("s"), bench.now_ms, 0, None, None, charging=True)
    effects = bench.tell(ConnectorState(ChargerId("A"), 1, ConnectorStatus.CHARGING, session))
    limits = [each for each in effects if isinstance(each, Send)]
    assert [limit.message for limit in limits] == [ApplyLimit(1, 1, 32_000, SessionId("s"))]
    snapshot = next(
        each.record
        for each in effects
        if isinstance(each, Persist) and isinstance(each.record, ActorSnapshot)
    )
    _, entry = SiteState.restore(snapshot.state).entries[0]
    assert entry.liability_ma == 32_000


def test_news_of_strangers_changes_nothing() -> None:
    bench = Bench(site([charger("A")]))
    snapshots = bench.snapshots
    bench.tell(TimerFired("unknown"))
    bench.plug("stranger")
    bench.meter("stranger", 5)
    bench.offline("stranger")
    assert bench.limits == []
    assert bench.snapshots == snapshots


def test_an_idle_site_sleeps() -> None:
    bench = Bench(site([charger("A")]))
    bench.advance(10_000)
    assert bench.timers == {}
    rounds = bench.view().round
    bench.advance(3_600_000)
    assert bench.view().round == rounds


def test_a_fresh_actor_without_a_snapshot_waits_to_be_described() -> None:
    actor = SiteActor(ActorRef(ActorKind.SITE, "site-1"), ActorSettings(), None)
    assert actor.activate(START_MS) == []


def test_a_session_on_a_connector_that_nobody_described_raises_an_alarm() -> None:
    bench = Bench(site([charger("A")]))
    bench.plug("A", connector_id=9)
    bench.settle(2_000)
    assert bench.alarms() == ["connector_undescribed"]
    bench.configure(site([charger("A"), charger("B")]))
    assert bench.alarms() == ["connector_undescribed"]
    bench.unplug("A", connector_id=9)
    bench.settle(2_000)
    assert bench.alarms() == []


def test_an_alarm_that_ends_while_no_host_serves_is_told_all_the_same() -> None:
    bench = Bench(site([charger("A")], building_load={"circuit": "supply"}))
    bench.plug("A")
    bench.building(10, 10, 10)
    bench.settle(120_000)
    assert bench.alarms() == ["building_meter_stale"]
    bench.crash()
    bench.online("A")
    bench.plug("A")
    bench.settle(5_000)
    assert bench.alarms() == ["building_meter_stale"]
    bench.building(10, 10, 10)
    bench.settle(5_000)
    assert bench.alarms() == []
