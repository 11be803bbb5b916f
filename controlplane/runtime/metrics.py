"""What the parts of a process count and time, and how it is read.

On the hot path a counter is an entry of a dict and a histogram a list of integers; nothing is
named, locked or formatted there. Whoever exports asks for `Meter.read` a few times a minute.
Invariant: every metric stands in `catalogue.py` with its meaning, unit and labels, and no label
names a charger, a site or a session, so their number does not grow with the network."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

__all__ = [
    "Counter",
    "Distribution",
    "Histogram",
    "Kind",
    "Labels",
    "Meter",
    "Metric",
    "Reading",
    "Series",
]

Labels = tuple[str, ...]
"""Values of a metric's labels, in the order in which it names them."""

Pair = tuple[str, str]

_PROMETHEUS_UNITS: Final = {"s": "seconds", "By": "bytes", "W": "watts", "W.h": "watt_hours"}


class Kind(StrEnum):
    COUNTER = "counter"
    """A sum that only grows; begins anew with its process."""
    GAUGE = "gauge"
    """A present value."""
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as OpenTelemetry names it. `unit` is UCUM, or in braces what is counted; `bounds`
    are the upper bounds of a histogram's buckets below the last one, which is open. Where a
    metric's only label has `values`, every one of them is there from the beginning, so that a rate
    sees the first thing that happens."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """The name of the time series: of OpenTelemetry's, by its rules for Prometheus, with `_`
        for dots, the unit in full and `_total` behind what only grows."""
        words = [self.name.replace(".", "_")]
        if self.unit in _PROMETHEUS_UNITS:
            words.append(_PROMETHEUS_UNITS[self.unit])
        if self.kind is Kind.COUNTER:
            words.append("total")
        return "_".join(words)


class Distribution(NamedTuple):
    """A histogram's state: how many values fell into each bucket, and their sum."""

    counts: tuple[int, ...]
    total: float


class Reading(NamedTuple):
    """One metric of one process at one instant; values by their labels."""

    name: str
    values: dict[Labels, float | Distribution]


class Counter:
    """A sum for each set of labels."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[Labels, int] = {}

    def add(self, *labels: str, by: int = 1) -> None:
        """Count `by` more."""
        self.values[labels] = self.values.get(labels, 0) + by


class Series:
    """The values of a histogram for one set of labels."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def record(self, value: float) -> None:
        """Take a value in."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Histogram:
    """How values are distributed, for each set of labels."""

    __slots__ = ("_bounds", "_series")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._series: dict[Labels, Series] = {}

    def series(self, *labels: str) -> Series:
        """What values with these labels go into; to be kept where there are many."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = Series(self._bounds)
        return series

    def record(self, value: float, *labels: str) -> None:
        """Take a value in."""
        self.series(*labels).record(value)

    def read(self) -> dict[Labels, Distribution]:
        return {
            labels: Distribution(tuple(series.counts), series.total)
            for labels, series in self._series.items()
        }


class Meter:
    """The metrics of one part of a process."""

    def __init__(self) -> None:
        self._reads: list[tuple[Metric, Callable[[], Mapping[Labels, float | Distribution]]]] = []

    def counter(self, metric: Metric) -> Counter:
        """A counter to add to."""
        counter = Counter()
        if not metric.labels:
            counter.values[()] = 0
        counter.values.update({(value,): 0 for value in metric.values})
        self._reads.append((metric, counter.values.copy))
        return counter

    def histogram(self, metric: Metric) -> Histogram:
        """A histogram to record in. Without labels it is there from the beginning, empty."""
        histogram = Histogram(metric.bounds)
        if not metric.labels:
            histogram.series()
        self._reads.append((metric, histogram.read))
        return histogram

    def watch(
        self,
        metric: Metric,
        read: Callable[[], float | Mapping[str, float] | Mapping[Pair, float]],
    ) -> None:
        """A value, or one for each label, that is looked up whenever it is exported."""
        self._reads.append((metric, lambda: _by_labels(read())))

    def read(self) -> list[Reading]:
        """Everything as it is now."""
        return [Reading(metric.name, dict(read())) for metric, read in self._reads]


def _by_labels(
    value: float | Mapping[str, float] | Mapping[Pair, float],
) -> dict[Labels, float | Distribution]:
    if isinstance(value, Mapping):
        return {
            (labels,) if isinstance(labels, str) else labels: each for labels, each in value.items()
        }
    return {(): value}
