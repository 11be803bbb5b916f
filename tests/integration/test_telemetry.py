"""What an operator sees of a real node: one trace across its processes, metrics under one address,
and dashboards and alerts that ask for nothing which is not exported."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import pytest
import yaml
from grpc_stations import Station16, connected
from opentelemetry.proto.collector.metrics.v1 import (
    metrics_service_pb2,
    metrics_service_pb2_grpc,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families
from promql_labels import labels_of

from controlplane.api.v1 import chargers_pb2, chargers_pb2_grpc
from controlplane.runtime.catalogue import BY_NAME, CATALOGUE, PROCESS_LABEL
from controlplane.runtime.metrics import Kind

pytestmark = pytest.mark.timeout(180)

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROCESSES = ("supervisor", "gateway", "host-0")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
UNSAMPLED_ID = "a3ce929d0e0e47364bf92f3577b34da6"
SITE = {
    "id": "depot",
    "circuits": [{"id": "supply", "rating_a": 100}],
    "chargers": [
        {
            "id": "CP1",
            "circuit": "supply",
            "offline_current_a": 6,
            "connectors": [{"id": 1, "current_max_a": 32}],
        },
        {
            "id": "CP2",
            "circuit": "supply",
            "offline_current_a": 6,
            "connectors": [{"id": 1, "current_max_a": 32}],
        },
    ],
}


class Collector(
    trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer
):
    """An OpenTelemetry collector: keeps the spans and the names of the metrics that it is sent."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        """Each with the process that sent it."""
        self.metrics: dict[str, set[str]] = {}
        """The names that each process sent."""
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(4))
        traces: Any = trace_service_pb2_grpc
        traces.add_TraceServiceServicer_to_server(self, self._server)
        metrics: Any = metrics_service_pb2_grpc
        metrics.add_MetricsServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request: Any, context: Any) -> Any:
        with self._lock:
            if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
                for sent in request.resource_spans:
                    process = instance(sent.resource)
                    for scope in sent.scope_spans:
                        self.spans += [(process, span) for span in scope.spans]
                return trace_service_pb2.ExportTraceServiceResponse()
            for sent in request.resource_metrics:
                names = self.metrics.setdefault(instance(sent.resource), set())
                names |= {m.name for scope in sent.scope_metrics for m in scope.metrics}
            return metrics_service_pb2.ExportMetricsServiceResponse()

    def trace(self, trace_id: str) -> list[tuple[str, Span]]:
        with self._lock:
            return [each for each in self.spans if each[1].trace_id.hex() == trace_id]

    def stop(self) -> None:
        self._server.stop(0)


def instance(resource: Any) -> str:
    found: dict[str, str] = {each.key: each.value.string_value for each in resource.attributes}
    assert found["service.name"] == "loadstar"
    return found["service.instance.id"]


class Observed(NamedTuple):
    """What a node showed of itself while a station charged and was commanded."""

    collector: Collector
    scrape: str
    logs: list[dict[str, Any]]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    collector = Collector()
    folder = tmp_path_factory.mktemp("telemetry")
    try:
        scrape = asyncio.run(asyncio.wait_for(charge(folder, collector), 150))
        lines = [
            json.loads(line)
            for file in (folder / "data" / "logs").iterdir()
            for line in file.read_text().splitlines()
        ]
        yield Observed(collector, scrape, lines)
    finally:
        collector.stop()


async def charge(folder: Path, collector: Collector) -> str:
    """Run a node, charge on it, command the station, scrape; the scrape's text."""
    (folder / "network.yaml").write_text(yaml.safe_dump({"version": 1, "sites": [SITE]}))
    ready = folder / "ready.json"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOADSTAR_")} | {
        "LOADSTAR_OTLP_ENDPOINT": collector.endpoint,
        "LOADSTAR_TRACE_RATIO": "1",
        "LOADSTAR_ROUND_INTERVAL_S": "0.2",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controlplane.cli", "up", "--ready-file", str(ready)),
        *("--data-dir", str(folder / "data"), "--network", str(folder / "network.yaml")),
        *("--ocpp-port", "0", "--grpc-port", "0", "--metrics-port", "0"),
        *("--files-port", "0"),
        stdout=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    try:
        while not ready.exists():
            assert process.returncode is None
            await asyncio.sleep(0.05)
        ports = json.loads(ready.read_text())
        return await drive(ports)
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0


async def drive(ports: dict[str, Any]) -> str:
    """Charge, be commanded, break a rule; the scrape while all of that can be seen."""
    async with connected(Station16, "CP1", ports["ocpp_port"]) as station:
        await station.begin("TAG")
        while station.told.count("profile") < 2:  # noqa: ASYNC110 - what it is told has no event
            await asyncio.sleep(0.05)
        await station.meter(1_500)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports['grpc_port']}") as channel:
            chargers = chargers_pb2_grpc.ChargersServiceStub(channel)
            await chargers.UnlockConnector(
                chargers_pb2.UnlockConnectorRequest(charger_id="CP1", connector_id=1),
                metadata=[("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01")],
            )
            with pytest.raises(grpc.aio.AioRpcError):
                await chargers.GetCharger(
                    chargers_pb2.GetChargerRequest(charger_id="nobody"),
                    metadata=[("traceparent", f"00-{UNSAMPLED_ID}-00f067aa0ba902b7-00")],
                )
        await station.end()
        await station._connection.send("no frame")
        await station.boot()
        await station.begin("TAG")
        await station.meter(1_600)
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{ports['metrics_port']}/metrics")
        assert answer.status_code == 200
        return answer.text


# --- traces ---------------------------------------------------------------------------------------


def path_to(spans: dict[bytes, tuple[str, Span]], leaf: Span) -> list[str]:
    """From the root to `leaf`: each span's process, by its role, and name."""
    path: list[str] = []
    step: Span | None = leaf
    while step is not None:
        process, _ = spans[step.span_id]
        role = "gateway" if process.startswith("g") else process.partition("-")[0]
        path.insert(0, f"{role} {step.name}")
        step = spans[step.parent_span_id][1] if step.parent_span_id in spans else None
    return path


def test_one_trace_goes_from_the_frame_to_the_answer_of_the_command(observed: Observed) -> None:
    """A boot settles the charger, whose site gives it a limit, which the station takes."""
    roots = [
        span
        for _, span in observed.collector.spans
        if span.name == "gateway.receive" and not span.parent_span_id
    ]
    boot = next(span for span in roots if attributes(span)["ocpp.action"] == "BootNotification")
    trace = observed.collector.trace(boot.trace_id.hex())
    spans = {span.span_id: (process, span) for process, span in trace}
    names = [span.name for _, span in trace]
    assert {"store.commit", "site.round"} <= set(names)
    answers = [
        path_to(spans, span)
        for _, span in trace
        if span.name == "station.answer" and attributes(span)["ocpp.action"] == "SetChargingProfile"
    ]
    limited = answers[-1]
    assert limited[:2] == ["gateway gateway.receive", "host host.step"]
    assert limited[-4:] == [
        "host host.step",
        "host command.send",
        "gateway gateway.send",
        "gateway station.answer",
    ]
    (round_,) = [span for _, span in trace if span.name == "site.round"][-1:]
    assert path_to(spans, round_)[:2] == limited[:2]
    commits = [span for _, span in trace if span.name == "store.commit"]
    assert all(attributes(span)["store.records"] >= 0 for span in commits)
    assert all(0 < s.start_time_unix_nano <= s.end_time_unix_nano for _, s in trace)


def test_a_callers_trace_goes_on_through_the_command_it_sends(observed: Observed) -> None:
    trace = observed.collector.trace(TRACE_ID)
    spans = {span.span_id: (process, span) for process, span in trace}
    (answer,) = [span for _, span in trace if span.name == "station.answer"]
    assert path_to(spans, answer) == [
        "supervisor ChargersService/UnlockConnector",
        "host host.step",
        "host command.send",
        "gateway gateway.send",
        "gateway station.answer",
    ]
    (call,) = [span for _, span in trace if span.name.startswith("ChargersService")]
    assert call.parent_span_id.hex() == "00f067aa0ba902b7"


def test_a_caller_who_records_nothing_is_not_traced(observed: Observed) -> None:
    assert observed.collector.trace(UNSAMPLED_ID) == []
    calls = [span.name for _, span in observed.collector.spans]
    assert "ChargersService/GetCharger" not in calls


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


# --- metrics --------------------------------------------------------------------------------------


def exported(scrape: str) -> dict[str, dict[str, frozenset[str]]]:
    """Every series of a scrape with its labels, and those that Prometheus adds; values where all
    that can be are known."""
    found = {"up": {"job": frozenset({"loadstar"}), "instance": frozenset[str]()}}
    by_name = {metric.prometheus_name.removesuffix("_total"): metric for metric in CATALOGUE}
    for family in text_string_to_metric_families(scrape):
        metric = by_name[family.name]
        labels = {label: frozenset[str]() for label in (*metric.labels, PROCESS_LABEL)}
        labels |= {"job": frozenset({"loadstar"}), "instance": frozenset()}
        if metric.values:
            labels[metric.labels[0]] = frozenset(metric.values)
        if metric.kind is Kind.HISTOGRAM:
            name = metric.prometheus_name
            found |= {f"{name}_sum": labels, f"{name}_count": labels}
            found[f"{name}_bucket"] = labels | {"le": frozenset()}
        else:
            found[metric.prometheus_name] = labels
    return found


def samples(scrape: str, name: str) -> dict[tuple[str, ...], float]:
    """The samples of a series by the values of its labels, without the process."""
    return {
        tuple(v for k, v in sorted(sample.labels.items()) if k != PROCESS_LABEL): sample.value
        for family in text_string_to_metric_families(scrape)
        for sample in family.samples
        if sample.name == name
    }


def test_a_scrape_has_the_labels_that_the_catalogue_names_and_no_others(
    observed: Observed,
) -> None:
    by_name = {metric.prometheus_name.removesuffix("_total"): metric for metric in CATALOGUE}
    for family in text_string_to_metric_families(observed.scrape):
        metric = by_name[family.name]
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == {*metric.labels, PROCESS_LABEL}, sample
            assert not {"CP1", "CP2", "depot"} & set(sample.labels.values()), sample


def test_a_scrape_says_what_happened(observed: Observed) -> None:
    text = observed.scrape
    assert samples(text, "loadstar_gateway_connections") == {("ocpp1.6",): 1}
    assert samples(text, "loadstar_chargers") == {("online",): 1, ("offline",): 1}
    assert samples(text, "loadstar_sessions_active") == {(): 1}
    assert samples(text, "loadstar_charging_power_watts") == {(): 3_680}
    assert samples(text, "loadstar_energy_delivered_watt_hours_total") == {(): 500}
    calls = samples(text, "loadstar_ocpp_calls_received_total")
    assert calls["StartTransaction", "ocpp1.6"] == 2
    assert calls["MeterValues", "ocpp1.6"] == 2
    assert samples(text, "loadstar_ocpp_frames_refused_total") == {
        ("FormationViolation", "ocpp1.6"): 1
    }
    assert samples(text, "loadstar_ocpp_commands_total")["UnlockConnector", "answered"] == 1
    assert samples(text, "loadstar_lease_shards") == {(): 4_096}
    assert samples(text, "loadstar_site_alarms")["violation",] == 0
    assert samples(text, "loadstar_site_limits_released_total")[()] >= 1
    rounds = samples(text, "loadstar_site_rounds_total")[()]
    assert rounds == samples(text, "loadstar_site_round_duration_seconds_count")[()] > 0
    finished = samples(text, "loadstar_api_call_duration_seconds_count")
    assert finished["NOT_FOUND", "ChargersService/GetCharger"] == 1
    up = [line for line in text.splitlines() if line.startswith("loadstar_process_up{")]
    assert up == [f'loadstar_process_up{{process="{p}"}} 1.0' for p in PROCESSES]


def test_the_collector_gets_the_same_metrics_from_every_process(observed: Observed) -> None:
    sent = observed.collector.metrics
    assert list(sent) == list(PROCESSES)
    scraped = {family.name for family in text_string_to_metric_families(observed.scrape)}
    names = set().union(*sent.values())
    assert {BY_NAME[name].prometheus_name.removesuffix("_total") for name in names} == scraped


def test_log_lines_within_a_trace_name_it(observed: Observed) -> None:
    processes = {line["process"].partition("-")[0] for line in observed.logs}
    assert {"supervisor", "host"} <= processes
    for line in observed.logs:
        assert ("trace_id" in line) == ("span_id" in line)


# --- what is drawn and alarmed on -----------------------------------------------------------------


def dashboards() -> list[Path]:
    return sorted((DEPLOY / "grafana").glob("*.json"))


@pytest.mark.parametrize("file", dashboards(), ids=lambda file: file.stem)
def test_a_dashboard_asks_for_what_is_exported(observed: Observed, file: Path) -> None:
    known = exported(observed.scrape)
    described = json.loads(file.read_text())
    assert described["uid"] == file.stem
    panels = [panel for panel in described["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in described["panels"]}) == len(described["panels"])
    assert panels
    for panel in panels:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*")
            shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert shown <= labels_of(query, known), (panel["title"], query)
    (asked,) = [v for v in described["templating"]["list"] if v["type"] == "query"]
    series, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", asked["query"]["query"]).groups()  # type: ignore[union-attr]
    assert label in known[series]


def test_an_alert_asks_for_what_is_exported_and_says_what_to_do(observed: Observed) -> None:
    known = exported(observed.scrape)
    page = (ROOT / "docs" / "telemetry.md").read_text()
    headings = {line.removeprefix("### ").lower() for line in page.splitlines()}
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    alerts = [rule for group in groups for rule in group["rules"]]
    for rule in alerts:
        labels = labels_of(rule["expr"], known)
        words = rule["annotations"]["summary"]
        assert set(re.findall(r"\$labels\.(\w+)", words)) <= labels, rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / file).exists()
        assert anchor == rule["alert"].lower()
        assert anchor in headings
    assert len({rule["alert"] for rule in alerts}) == len(alerts)


def test_the_scrape_configuration_names_the_job_and_the_rules() -> None:
    folder = DEPLOY / "prometheus"
    described = yaml.safe_load((folder / "prometheus.yml").read_text())
    assert all((folder / name).exists() for name in described["rule_files"])
    assert [job["job_name"] for job in described["scrape_configs"]] == ["loadstar"]


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("loadstar_no_such > 0", "is not exported"),
        ('loadstar_chargers{charger="CP1"}', "has no label charger"),
        ('loadstar_chargers{state="broken"}', "has no state"),
        ("sum by (version) (loadstar_chargers)", "cannot be kept"),
        ("histogram_quantile(0.9, sum(loadstar_ocpp_call_duration_seconds_bucket))", "no buckets"),
        ("loadstar_host_mailbox / loadstar_chargers", "never match"),
    ],
)
def test_a_query_that_would_stay_empty_is_found(observed: Observed, query: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        labels_of(query, exported(observed.scrape))
