"""Logs and metrics of a Loadstar process.

Logs are JSON lines with named fields. Metrics are counted in plain integers on the hot path and
read by OpenTelemetry only when they are exported; labels never name a charger, a site or a
session, so their number does not grow with the network."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from controlplane.config import Settings

__all__ = ["Telemetry", "configure_logging", "log"]

log: structlog.stdlib.BoundLogger = structlog.get_logger("loadstar")

_EXPORT_INTERVAL_MS = 15_000


def configure_logging(settings: Settings, process: str, *, to_file: bool) -> None:
    """Send this process' log lines to `data_dir/logs/<process>.jsonl`, or to standard error."""
    stream = sys.stderr
    if to_file:
        folder = Path(settings.data_dir) / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / f"{process}.jsonl").open("a", encoding="utf-8", buffering=1)
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _process_adder(process),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )


def _process_adder(process: str) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, event: Any) -> Any:
        event["process"] = process
        return event

    return add


class Telemetry:
    """Exports what a process counts, where `settings.otlp_endpoint` names a collector.

    Args:
        process: value of the `service.instance.id` attribute.
    """

    def __init__(self, settings: Settings, process: str) -> None:
        self._provider: MeterProvider | None = None
        self._shutdown: Callable[[], None] = lambda: None
        if settings.otlp_endpoint:
            self._provider, self._shutdown = _exporting(settings.otlp_endpoint, process)

    def counters(self, room: str, read: Callable[[], Mapping[str, int]]) -> None:
        """Export sums that only grow, as `loadstar.<room>.<name>`."""
        if self._provider is not None:
            meter = self._provider.get_meter("loadstar")
            for name in read():
                meter.create_observable_counter(
                    f"loadstar.{room}.{name}", callbacks=[_reading(read, name)]
                )

    def gauges(self, room: str, read: Callable[[], Mapping[str, int]]) -> None:
        """Export present values, as `loadstar.<room>.<name>`."""
        if self._provider is not None:
            meter = self._provider.get_meter("loadstar")
            for name in read():
                meter.create_observable_gauge(
                    f"loadstar.{room}.{name}", callbacks=[_reading(read, name)]
                )

    def close(self) -> None:
        """Send what is left and end the exporter."""
        self._shutdown()


def _exporting(endpoint: str, process: str) -> tuple[MeterProvider, Callable[[], None]]:
    # The exporter takes a third of a second to import: only where it is wanted.
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415
        OTLPMetricExporter,
    )
    from opentelemetry.sdk import metrics  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    exporter = OTLPMetricExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
    provider = metrics.MeterProvider(
        resource=Resource({"service.name": "loadstar", "service.instance.id": process}),
        metric_readers=[
            PeriodicExportingMetricReader(exporter, export_interval_millis=_EXPORT_INTERVAL_MS)
        ],
    )
    return provider, provider.shutdown


def _reading(
    read: Callable[[], Mapping[str, int]], name: str
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    return lambda _options: [Observation(read()[name])]
