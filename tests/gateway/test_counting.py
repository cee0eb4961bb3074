"""What is counted here reads as the client library would have written it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as TheirCounter
from prometheus_client import Histogram as TheirHistogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from interlock.gateway.counting import Counter, Histogram

BOUNDS = (0.1, 1.0, 3.0)


class One(Collector):
    def __init__(self, own: Counter | Histogram) -> None:
        self._own = own

    def collect(self) -> list[Metric]:
        return [self._own.collect()]


def text(collector: Collector) -> list[str]:
    registry = CollectorRegistry()
    registry.register(collector)
    return sorted(line for line in generate_latest(registry).decode().splitlines() if "_created" not in line)


@given(st.lists(st.tuples(st.sampled_from(["a", 'b"\n']), st.sampled_from([0.0, 0.1, 0.5, 1.0, 7.25]))))
def test_as_the_client_library(events: list[tuple[str, float]]) -> None:
    ours, theirs = Counter("n", "Text.", "who"), TheirCounter("n", "Text.", ("who",), registry=None)
    spent = Histogram("s", "Text.", BOUNDS, "who")
    their_spent = TheirHistogram("s", "Text.", ("who",), buckets=BOUNDS, registry=None)
    for who, value in events:
        ours.add((who,), value)
        theirs.labels(who).inc(value)
        spent.observe(value, (who,))
        their_spent.labels(who).observe(value)
    assert text(One(ours)) == text(theirs)
    assert text(One(spent)) == text(their_spent)


def test_a_histogram_without_labels_is_there_before_anything_happens() -> None:
    assert "s_count 0.0" in text(One(Histogram("s", "Text.", BOUNDS)))
