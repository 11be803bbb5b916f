"""Contexts ride beside messages, spans end, and nothing grows without a bound."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from controlplane.actor import Ask, LookUp, Send, SetTimer, TimerFired
from controlplane.charger.messages import StationFailed, StationReplied
from controlplane.config import Settings
from controlplane.ids import ActorKind, ActorRef, ChargerId
from controlplane.runtime import host_traces, tracing
from controlplane.runtime.gateway_traces import GatewayTraces
from controlplane.runtime.host_traces import HostTraces
from controlplane.runtime.station import Station
from controlplane.runtime.tracing import Tracing, context_from, traceparent
from controlplane.runtime.wire import (
    CallOfStation,
    FrameKind,
    FromStation,
    ToStation,
    Traced,
    encode,
)
from controlplane.site.messages import TokensChanged
from controlplane.store.queries import SitesQuery

CHARGER = ActorRef(ActorKind.CHARGER, "CP1")
SITE = ActorRef(ActorKind.SITE, "S1")
HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CALL = CallOfStation(ChargerId("CP1"), None, "g:1", "m1", "Heartbeat", b"[]")
COMMAND = ToStation("g:1", 7, 1, FrameKind.CALL, "c1", "Reset", "[]")


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()

    def exporting(_settings: Settings, _process: str) -> TracerProvider:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        return provider

    monkeypatch.setattr(tracing, "_exporting", exporting)
    yield exporter
    exporter.shutdown()


def tracing_of(**changes: object) -> Tracing:
    settings = {"otlp_endpoint": "http://collector:4317", "trace_ratio": 1.0, **changes}
    return Tracing(Settings.model_validate(settings), "p")


def station() -> Station:
    return Station(
        charger_id=ChargerId("CP1"),
        site_id=None,
        connection="g:1",
        version="ocpp1.6",
        remote="127.0.0.1:1",
    )


def names(spans: tuple[ReadableSpan, ...]) -> list[str]:
    return [span.name for span in spans]


def test_a_context_survives_its_way_over_the_wire() -> None:
    context = context_from(HEADER)
    assert context is not None
    assert traceparent(context) == HEADER


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        HEADER[:-2] + "00",
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        HEADER.replace("4bf9", "4bfé"),
    ],
)
def test_a_malformed_or_unrecorded_context_is_none(header: str) -> None:
    assert context_from(header) is None


def test_nothing_is_traced_where_nobody_takes_spans() -> None:
    off = Tracing(Settings(trace_ratio=1.0, trace_chargers=("*",)), "p")
    assert not off.on
    assert not off.chosen()
    assert not off.named("CP1")
    off.error("host.step", ValueError("x"), {})
    off.close()


def test_a_charger_that_the_settings_name_is_traced(exporter: InMemorySpanExporter) -> None:
    named = tracing_of(trace_ratio=0.0, trace_chargers=("ACME-*",))
    assert named.named("ACME-1")
    assert not named.named("CP1")
    assert not named.chosen()


def test_errors_are_traced_though_nobody_chose_them_but_not_all(
    exporter: InMemorySpanExporter,
) -> None:
    unchosen = tracing_of(trace_ratio=0.0)
    for number in range(50):
        unchosen.error("host.step", ValueError(f"fault {number}"), {"actor.kind": "site"})
    spans = exporter.get_finished_spans()
    assert 0 < len(spans) <= 11
    assert spans[0].status.status_code is StatusCode.ERROR
    assert spans[0].status.description == "fault 0"


# --- the gateway ----------------------------------------------------------------------------------


def test_a_call_is_one_span_until_its_answer_however_often_it_is_delivered(
    exporter: InMemorySpanExporter,
) -> None:
    traces = GatewayTraces(tracing_of())
    traces.received(station(), CALL, 0.0)
    first, again = traces.around(CALL), traces.around(CALL)
    assert isinstance(first, Traced)
    assert first == again
    assert exporter.get_finished_spans() == ()
    reply = ToStation("g:1", 7, 1, FrameKind.CALL_RESULT, "m1", "", "[]")
    traces.arrived(Traced(first.traceparent, reply), 1.0)
    traces.replied(reply)
    assert names(exporter.get_finished_spans()) == ["gateway.send", "gateway.receive"]
    assert not traces.calls
    assert traces.around(CALL) is CALL


def test_a_command_is_sent_and_answered(exporter: InMemorySpanExporter) -> None:
    traces = GatewayTraces(tracing_of())
    traces.arrived(Traced(HEADER, COMMAND), 0.0)
    traces.written(COMMAND)
    answer = StationFailed("g:1", "c1", "NotSupported", "no Reset here")
    parcel = FromStation(ChargerId("CP1"), None, answer)
    sent = traces.answered(parcel, answer)
    assert isinstance(sent, Traced)
    assert sent.parcel is parcel
    send, answered = exporter.get_finished_spans()
    assert (send.name, answered.name) == ("gateway.send", "station.answer")
    assert answered.status.description == "NotSupported: no Reset here"
    context = context_from(sent.traceparent)
    assert context is not None
    assert context.span_id == answered.get_span_context().span_id  # type: ignore[union-attr]
    assert not traces.commands


def test_what_nobody_answers_ends_as_an_error(exporter: InMemorySpanExporter) -> None:
    traces = GatewayTraces(tracing_of())
    traces.received(station(), CALL, 10.0)
    traces.arrived(Traced(HEADER, COMMAND), 10.0)
    traces.written(COMMAND)
    traces.expire(10.0)
    assert traces.calls
    traces.expire(10.5)
    assert not traces.calls
    assert not traces.commands
    ended = {span.name: span.status.status_code for span in exporter.get_finished_spans()}
    assert ended["gateway.receive"] is StatusCode.ERROR
    assert ended["station.answer"] is StatusCode.ERROR
    assert ended["gateway.send"] is StatusCode.UNSET


def test_a_context_that_cannot_be_read_delays_nobody(exporter: InMemorySpanExporter) -> None:
    traces = GatewayTraces(tracing_of())
    traces.arrived(Traced("nonsense", COMMAND), 0.0)
    assert not traces.commands
    assert encode(Traced("nonsense", COMMAND))


# --- the host -------------------------------------------------------------------------------------


def test_effects_inherit_the_context_of_their_step(exporter: InMemorySpanExporter) -> None:
    traces = HostTraces(tracing_of())
    ask = Ask("a1", None)
    traces.asked(ask, HEADER)
    span = traces.step(CHARGER, ask)
    assert span is not None
    message = TokensChanged(1)
    look_up = LookUp("l1", SitesQuery())
    effects = [Send(SITE, message), SetTimer("round", 5_000), SetTimer("daily", 10**9), look_up]
    context = traces.stepped(span, CHARGER, ask, effects, parcels=[COMMAND], now_ms=0)
    assert traces.alight(message) == context
    assert set(traces.waits) == {(CHARGER, "round"), (CHARGER, "l1")}
    fired = TimerFired("round")
    traces.due(CHARGER, "round", fired)
    later = traces.step(CHARGER, fired)
    assert later is not None
    sent = traces.to_station(COMMAND)
    assert isinstance(sent, Traced)
    reply = StationReplied("g:1", "c1", {})
    traces.arrived(Traced(sent.traceparent, FromStation(ChargerId("CP1"), None, reply)), reply)
    assert traces.step(CHARGER, reply) is not None
    assert "command.send" in names(exporter.get_finished_spans())
    assert not traces.riding


def test_a_timer_that_sets_a_timer_ends_the_trace(exporter: InMemorySpanExporter) -> None:
    traces = HostTraces(tracing_of())
    fired = TimerFired("round")
    context = context_from(HEADER)
    assert context is not None
    traces.ride(fired, context)
    span = traces.step(SITE, fired)
    assert span is not None
    message = TokensChanged(1)
    effects = [SetTimer("round", 10), Send(CHARGER, message)]
    traces.stepped(span, SITE, fired, effects, parcels=[], now_ms=0)
    assert not traces.waits
    assert traces.alight(message) is not None


def test_a_commit_is_in_every_trace_and_linked_to_the_others(
    exporter: InMemorySpanExporter,
) -> None:
    traces = HostTraces(tracing_of())
    headers = [HEADER.replace("4bf9", f"{number:04x}") for number in range(1, 101)]
    contexts = [context_from(header) for header in headers]
    traces.committed(
        [context for context in contexts if context is not None] * 2,
        seconds=0.01,
        records=5,
        events=0,
    )
    spans = exporter.get_finished_spans()
    assert names(spans) == ["store.commit"] * 100
    assert len({span.context.trace_id for span in spans}) == 100
    for span in spans:
        assert 0 < len(span.links) <= tracing.LINKS_MAX
        assert span.context.trace_id not in {link.context.trace_id for link in span.links}
        assert span.end_time is not None
        assert span.start_time is not None
        assert 9_000_000 < span.end_time - span.start_time < 11_000_000


def test_what_never_arrives_makes_room(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_traces, "_RIDING_MAX", 10)
    traces = HostTraces(tracing_of())
    context = context_from(HEADER)
    assert context is not None
    messages = [TokensChanged(number) for number in range(30)]
    for message in messages:
        traces.ride(message, context)
    assert len(traces.riding) == 10
    assert traces.step(SITE, messages[0]) is None
    assert traces.step(SITE, messages[-1]) is not None
