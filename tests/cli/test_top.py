from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from interlock.cli.remote import ask
from interlock.cli.top import Scrape, figures, quantile, scrape
from interlock.lab.process import Gateway

Run = Callable[..., Any]


def look(registry: CollectorRegistry, at: float) -> Scrape:
    samples = (s for f in text_string_to_metric_families(generate_latest(registry).decode()) for s in f.samples)
    return Scrape(at, {(s.name, frozenset(s.labels.items())): s.value for s in samples})


def test_quantiles_are_of_what_happened_between_two_looks() -> None:
    registry = CollectorRegistry()
    histogram = Histogram("h", "", ("route",), buckets=(0.1, 1.0, 10.0), registry=registry)
    histogram.labels("chat").observe(9.0)
    before = look(registry, 0.0)
    assert quantile(before, before, "h", 0.5) is None
    for value in (0.05, 0.5, 0.5, 0.5):
        histogram.labels("chat").observe(value)
    now = look(registry, 1.0)
    assert quantile(before, now, "h", 0.25) == pytest.approx(0.1)
    assert 0.1 < (quantile(before, now, "h", 0.5) or 0) < 1.0
    assert quantile(before, now, "h", 0.5, route="route") is None
    histogram.labels("chat").observe(99.0)
    assert quantile(now, look(registry, 2.0), "h", 0.5) == 10.0


def test_a_request_between_two_looks_is_counted_with_its_candidate(gateway: Gateway) -> None:
    before = scrape(gateway.url)
    body = {"messages": [{"role": "user", "content": "Please add 4 to 8 for me."}]}
    answered = ask(gateway.url, "/v1/chat/completions", body).headers["x-interlock-model"]
    told = figures(before, scrape(gateway.url))
    assert told["requests"] * told["seconds"] == pytest.approx(1)
    assert told["failed"] == 0
    assert told["p50"] > 0
    row = next(row for row in told["candidates"] if row["name"] == answered)
    assert row["share"] == 1
    assert row["calls"] > 0
    assert row["usd_per_hour"] > 0
    assert row["breaker"] == "closed"


def test_one_look_for_people_and_for_scripts(run: Run, gateway: Gateway) -> None:
    shown = run("top", "--once", "--every", "0.2", "--url", gateway.url)
    assert shown.code == 0
    assert "requests/s" in shown.out
    told = run("top", "--json", "--every", "0.2", "--url", gateway.url).json
    assert [name for name in (row["name"] for row in told["candidates"]) if name not in shown.out] == []


def test_nobody_there(run: Run) -> None:
    done = run("top", "--once", "--url", "http://127.0.0.1:9")
    assert done.code == 5
    assert "no gateway answers" in done.err
