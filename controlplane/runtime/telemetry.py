"""The log of a Loadstar process, and what its telemetry says of where it comes from.

Logs are JSON lines with named fields, with the trace they belong to where there is one. Metrics
stand in `catalogue.py` and `monitor.py`, traces in `tracing.py`."""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path
from typing import Any

import structlog
from opentelemetry import trace

import controlplane
from controlplane.config import Settings

__all__ = ["configure_logging", "log", "resource_of"]

log: structlog.stdlib.BoundLogger = structlog.get_logger("loadstar")


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
            _trace_adder,
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
    exporters = logging.getLogger("opentelemetry")
    exporters.handlers, exporters.propagate = [_Forward(logging.WARNING)], False


def resource_of(settings: Settings) -> dict[str, str]:
    """Attributes of everything that this node sends to a collector (OpenTelemetry's semantic
    conventions for a service)."""
    return {
        "service.name": settings.otlp_service_name,
        "service.version": controlplane.__version__,
        "host.name": socket.gethostname(),
    }


class _Forward(logging.Handler):
    """What the exporters say, such as that no collector answers, among our lines."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("telemetry_not_exported", logger=record.name, said=record.getMessage()[:255])


def _process_adder(process: str) -> structlog.typing.Processor:
    def add(_logger: Any, _method: str, event: Any) -> Any:
        event["process"] = process
        return event

    return add


def _trace_adder(_logger: Any, _method: str, event: Any) -> Any:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event
