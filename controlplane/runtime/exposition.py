"""Readings of many processes as Prometheus scrapes them and as OpenTelemetry takes them: the same
numbers under the names of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from controlplane.runtime.catalogue import BY_NAME, CATALOGUE, PROCESS_LABEL
from controlplane.runtime.metrics import Distribution, Kind, Labels, Metric, Reading

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric as OtlpMetric
    from opentelemetry.sdk.metrics.export import MetricsData

__all__ = ["otlp_data", "prometheus_text"]

Node = Mapping[str, list[Reading]]
"""The readings of a node, by the names of its processes."""


def prometheus_text(node: Node, accept: str = "") -> tuple[bytes, str]:
    """A scrape's answer and its content type, in the form that `accept` (the HTTP header) asks
    for."""
    encode, content_type = choose_encoder(accept)
    return encode(_Scrape(node)), content_type


class _Scrape(Collector):
    """Families in the order of the catalogue, each with the series of all processes."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Family]:
        found: dict[str, list[tuple[str, Reading]]] = {}
        for process, readings in self._node.items():
            for reading in readings:
                found.setdefault(reading.name, []).append((process, reading))
        for metric in CATALOGUE:
            if metric.name in found:
                yield _family(metric, found[metric.name])


def _family(metric: Metric, readings: Iterable[tuple[str, Reading]]) -> Family:
    name = metric.prometheus_name
    names = (*metric.labels, PROCESS_LABEL)
    family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    if metric.kind is Kind.COUNTER:
        family = CounterMetricFamily(name, metric.meaning, labels=names)
    elif metric.kind is Kind.GAUGE:
        family = GaugeMetricFamily(name, metric.meaning, labels=names)
    else:
        family = HistogramMetricFamily(name, metric.meaning, labels=names)
    for process, reading in readings:
        for labels, value in reading.values.items():
            if isinstance(value, Distribution):
                assert isinstance(family, HistogramMetricFamily)
                family.add_metric((*labels, process), _buckets(metric, value), value.total)
            else:
                assert not isinstance(family, HistogramMetricFamily)
                family.add_metric((*labels, process), value)
    return family


def _buckets(metric: Metric, value: Distribution) -> list[tuple[str, int]]:
    bounds = (*(str(bound) for bound in metric.bounds), "+Inf")
    return list(zip(bounds, accumulate(value.counts), strict=True))


def otlp_data(
    node: Node, resource: Mapping[str, str], *, started_ns: int, now_ns: int
) -> MetricsData:
    """The same for an OTLP exporter: a resource for each process, sums and buckets since
    `started_ns`."""
    # The exporter takes a third of a second to import: only where it is wanted.
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
        MetricsData,
        ResourceMetrics,
        ScopeMetrics,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

    scope = InstrumentationScope("loadstar")
    return MetricsData(
        [
            ResourceMetrics(
                Resource({**resource, "service.instance.id": process, PROCESS_LABEL: process}),
                [
                    ScopeMetrics(
                        scope,
                        [_otlp_metric(reading, started_ns, now_ns) for reading in readings],
                        "",
                    )
                ],
                "",
            )
            for process, readings in node.items()
        ]
    )


def _otlp_metric(reading: Reading, started_ns: int, now_ns: int) -> OtlpMetric:
    from opentelemetry.sdk.metrics import export  # noqa: PLC0415

    metric = BY_NAME[reading.name]
    data: export.Sum | export.Gauge | export.Histogram
    if metric.kind is Kind.HISTOGRAM:
        data = export.Histogram(
            [
                export.HistogramDataPoint(
                    attributes=_attributes(metric, labels),
                    start_time_unix_nano=started_ns,
                    time_unix_nano=now_ns,
                    count=sum(value.counts),
                    sum=value.total,
                    bucket_counts=list(value.counts),
                    explicit_bounds=list(metric.bounds),
                    # Left away on the wire: buckets do not know them.
                    min=None,  # type: ignore[arg-type]
                    max=None,  # type: ignore[arg-type]
                )
                for labels, value in reading.values.items()
                if isinstance(value, Distribution)
            ],
            export.AggregationTemporality.CUMULATIVE,
        )
    else:
        points = [
            export.NumberDataPoint(
                attributes=_attributes(metric, labels),
                start_time_unix_nano=started_ns,
                time_unix_nano=now_ns,
                value=value,
            )
            for labels, value in reading.values.items()
            if not isinstance(value, Distribution)
        ]
        if metric.kind is Kind.COUNTER:
            cumulative = export.AggregationTemporality.CUMULATIVE
            data = export.Sum(points, cumulative, is_monotonic=True)
        else:
            data = export.Gauge(points)
    return export.Metric(metric.name, metric.meaning, metric.unit, data)


def _attributes(metric: Metric, labels: Labels) -> dict[str, str]:
    return dict(zip(metric.labels, labels, strict=True))
