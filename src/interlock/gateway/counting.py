"""Counters and histograms as plain sums, brought into Prometheus's form when somebody scrapes.

The client library's own take a lock and check their labels at every count, which costs more than what is counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


class Counter:
    """`add` to the sum of one combination of label values. For one thread; any may `collect`."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._family = name, text, labels
        self._sums: defaultdict[Labels, float] = defaultdict(float)

    def add(self, labels: Labels = (), amount: float = 1.0) -> None:
        self._sums[labels] += amount

    def collect(self) -> Metric:
        name, text, labels = self._family
        family = CounterMetricFamily(name, text, labels=labels)
        for values, total in sorted(self._sums.copy().items()):
            family.add_metric(values, total)
        return family


class Histogram:
    """`observe` counts a value into the first bucket whose bound it does not exceed. For one thread, as `Counter`."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], *labels: str) -> None:
        self._family, self._bounds = (name, text, labels), tuple(bounds)
        self._counts: dict[Labels, list[int]] = {}
        self._sums: defaultdict[Labels, float] = defaultdict(float)
        if not labels:
            self._counts[()] = [0] * (len(bounds) + 1)

    def observe(self, value: float, labels: Labels = ()) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def collect(self) -> Metric:
        name, text, labels = self._family
        family = HistogramMetricFamily(name, text, labels=labels)
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, counts in sorted(self._counts.copy().items()):
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            family.add_metric(values, buckets, self._sums[values])
        return family
