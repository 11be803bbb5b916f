"""What is counted comes out under the right name with the right value."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from controlplane.charger.messages import ChargerCondition
from controlplane.config import Settings
from controlplane.ids import ActorKind, ActorRef
from controlplane.ocpp.events import ConnectorStatus
from controlplane.runtime import catalogue
from controlplane.runtime.census import take_census
from controlplane.runtime.exposition import otlp_data, prometheus_text
from controlplane.runtime.metrics import Kind, Meter, Metric, Reading
from controlplane.runtime.monitor import Monitor
from controlplane.runtime.residents import Resident

ROOT = Path(__file__).parents[3]


def text(readings: list[Reading], accept: str = "") -> str:
    return prometheus_text({"host-0": readings}, accept)[0].decode()


def test_names_follow_the_rules_of_opentelemetry_for_prometheus() -> None:
    assert catalogue.STEPS.prometheus_name == "loadstar_host_steps_total"
    assert catalogue.CALL_DURATION.prometheus_name == "loadstar_ocpp_call_duration_seconds"
    assert catalogue.PROCESS_MEMORY.prometheus_name == "loadstar_process_memory_usage_bytes"
    assert catalogue.MAILBOX.prometheus_name == "loadstar_host_mailbox"
    names = [metric.prometheus_name for metric in catalogue.CATALOGUE]
    assert len(set(names)) == len(names)


def test_no_label_can_name_somebody() -> None:
    allowed = {
        *("action", "alarm", "code", "error", "kind", "method", "origin", "reason", "result"),
        *("state", "status", "version"),
    }
    assert {label for metric in catalogue.CATALOGUE for label in metric.labels} <= allowed
    for metric in catalogue.CATALOGUE:
        assert (metric.kind is Kind.HISTOGRAM) == bool(metric.bounds)
        assert list(metric.bounds) == sorted(metric.bounds)


def test_the_values_that_a_label_can_have_are_those_of_the_code() -> None:
    statuses = {status.value for status in ConnectorStatus}
    assert set(catalogue.CONNECTORS.values) == {"unknown", *statuses}


def test_the_page_has_every_metric() -> None:
    page = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
    assert catalogue.page(page) == page
    assert all(f"`{metric.prometheus_name}`" in page for metric in catalogue.CATALOGUE)


def test_a_histogram_puts_a_value_on_a_bound_below_it() -> None:
    meter = Meter()
    histogram = meter.histogram(catalogue.COMMIT_RECORDS)
    for value in (1, 2, 3, 5_000):
        histogram.record(value)
    lines = text(meter.read()).splitlines()
    name = "loadstar_store_commit_records"
    assert f'{name}_bucket{{le="1.0",process="host-0"}} 1.0' in lines
    assert f'{name}_bucket{{le="3.0",process="host-0"}} 3.0' in lines
    assert f'{name}_bucket{{le="3000.0",process="host-0"}} 3.0' in lines
    assert f'{name}_bucket{{le="+Inf",process="host-0"}} 4.0' in lines
    assert f'{name}_sum{{process="host-0"}} 5006.0' in lines


def test_what_has_not_happened_yet_is_there_as_zero() -> None:
    meter = Meter()
    meter.counter(catalogue.COMMITS_FAILED)
    meter.histogram(catalogue.COMMIT_DURATION)
    scraped = text(meter.read())
    for reason in catalogue.COMMITS_FAILED.values:
        line = f'loadstar_store_commits_failed_total{{process="host-0",reason="{reason}"}} 0.0'
        assert line in scraped.splitlines()
    assert 'loadstar_store_commit_duration_seconds_count{process="host-0"} 0.0' in scraped


def test_what_a_peer_wrote_cannot_break_a_line() -> None:
    meter = Meter()
    meter.watch(catalogue.DATABASE_ERRORS, lambda: {'a"b\nc\\': 1})
    line = 'loadstar_store_database_errors_total{error="a\\"b\\nc\\\\",process="host-0"} 1.0'
    assert line in text(meter.read()).splitlines()


def test_prometheus_may_ask_for_openmetrics() -> None:
    meter = Meter()
    meter.counter(catalogue.CRASHES).add(by=2)
    accept = "application/openmetrics-text;version=1.0.0"
    _, content_type = prometheus_text({"host-0": meter.read()}, accept)
    assert content_type.startswith("application/openmetrics-text")
    assert text(meter.read(), accept).endswith("# EOF\n")


def test_opentelemetry_gets_the_same_values() -> None:
    meter = Meter()
    meter.histogram(catalogue.API_DURATION).record(0.02, "SitesService/GetSite", "OK")
    meter.watch(catalogue.CHARGERS, lambda: {"online": 3, "offline": 1})
    meter.counter(catalogue.CRASHES).add()
    data = otlp_data({"host-0": meter.read()}, {"service.name": "x"}, started_ns=1, now_ns=2)
    (resource,) = data.resource_metrics
    assert resource.resource.attributes["service.instance.id"] == "host-0"
    metrics: dict[str, Any] = {m.name: m for m in resource.scope_metrics[0].metrics}
    (calls,) = metrics["loadstar.api.call.duration"].data.data_points
    assert calls.attributes == {"method": "SitesService/GetSite", "code": "OK"}
    assert (calls.count, calls.sum) == (1, 0.02)
    assert sum(calls.bucket_counts) == 1
    assert len(calls.bucket_counts) == len(calls.explicit_bounds) + 1
    chargers = metrics["loadstar.chargers"].data.data_points
    assert {point.attributes["state"]: point.value for point in chargers} == {
        "online": 3,
        "offline": 1,
    }
    crashes = metrics["loadstar.host.crashes"]
    assert crashes.data.is_monotonic
    assert crashes.unit == "{step}"


class Answering:
    async def readings(self) -> list[Reading]:
        return [Reading(catalogue.STEPS.name, {(): 7})]


class Silent:
    async def readings(self) -> list[Reading]:
        await asyncio.Event().wait()
        return []


class Broken:
    async def readings(self) -> list[Reading]:
        raise ConnectionError("gone")


async def test_a_process_that_does_not_answer_is_left_out_and_said_to_be_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.runtime.monitor._ANSWER_TIMEOUT_S", 0.05)
    monitor = Monitor(
        Settings(data_dir=tmp_path, metrics_port=0),
        lambda: {"gateway": Broken(), "host-0": Answering(), "host-1": Silent()},
        replaced=lambda: 3,
        own=[],
    )
    await monitor.start()
    try:
        with capture_logs() as logs:
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://127.0.0.1:{monitor.port}/metrics")
    finally:
        await monitor.stop()
    lines = answer.text.splitlines()
    up = {line for line in lines if line.startswith("loadstar_process_up{")}
    assert up == {
        'loadstar_process_up{process="supervisor"} 1.0',
        'loadstar_process_up{process="gateway"} 0.0',
        'loadstar_process_up{process="host-0"} 1.0',
        'loadstar_process_up{process="host-1"} 0.0',
    }
    assert 'loadstar_host_steps_total{process="host-0"} 7.0' in lines
    assert 'loadstar_node_processes_replaced_total{process="supervisor"} 3.0' in lines
    assert [line["event"] for line in logs] == ["process_not_measured"] * 2


class Faulted:
    def condition(self) -> ChargerCondition:
        statuses = ("faulted", "unknown")
        return ChargerCondition(
            online=True, faulted=True, statuses=statuses, sessions=1, power_w=3_680
        )


async def test_chargers_are_counted_as_they_say() -> None:
    residents = [Resident(ActorRef(ActorKind.CHARGER, f"CP{n}"), None) for n in range(1_200)]
    for resident in residents:
        resident.actor = Faulted()  # type: ignore[assignment]
    census = await take_census(residents)
    assert census.chargers == {"online": 1_200, "offline": 0}
    assert (census.faulted, census.sessions, census.power_w) == (1_200, 1_200, 1_200 * 3_680)
    assert census.connectors["faulted"] == census.connectors["unknown"] == 1_200
    assert census.connectors["available"] == 0


async def test_actors_that_tell_nothing_are_counted_all_the_same() -> None:
    here = Resident(ActorRef(ActorKind.SITE, "S"), None)
    here.actor = object()  # type: ignore[assignment]
    census = await take_census([here, Resident(ActorRef(ActorKind.CHARGER, "CP"), None)])
    assert (census.actors["site"], census.actors["charger"], census.loading) == (1, 1, 1)
    assert set(census.chargers.values()) == {0}


def test_a_metric_of_two_labels_keeps_their_order() -> None:
    meter = Meter()
    metric = Metric("loadstar.ocpp.calls.received", Kind.COUNTER, "{call}", "", ("a", "b"))
    meter.counter(metric).add("1", "2")
    assert meter.read() == [Reading(metric.name, {("1", "2"): 1})]
