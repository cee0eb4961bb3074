"""The metrics of several workers as one page."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

from prometheus_client.parser import text_string_to_metric_families

from interlock.gateway.exposition import gathered, merged, socket_of, telling
from interlock.gateway.metrics import Metrics


def told(route: str, count: int) -> Metrics:
    metrics = Metrics()
    for _ in range(count):
        metrics.request(route, 200, 0.01)
    return metrics


def test_each_series_says_its_worker_and_families_stand_together() -> None:
    text = merged({0: told("chat", 2).text(), 1: told("chat", 3).text()}).decode()
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    samples = {
        (sample.labels["worker"], sample.labels["status"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "interlock_requests_total"
    }
    assert samples == {("0", "200"): 2.0, ("1", "200"): 3.0}
    assert all("worker" in sample.labels for family in families for sample in family.samples)
    alone = list(text_string_to_metric_families(told("chat", 2).text().decode()))
    assert names == [family.name for family in alone]


async def test_who_is_asked_asks_the_others_and_says_who_is_silent(tmp_path: Path) -> None:
    sockets = {number: socket_of(tmp_path, number) for number in range(3)}

    class Service:
        metrics = told("chat", 5)

    task = asyncio.create_task(telling(sockets[1])(cast(Any, Service())))
    while not sockets[1].exists():
        await asyncio.sleep(0.01)
    text = (await gathered(told("chat", 1).text(), 0, sockets)).decode()
    task.cancel()
    assert 'interlock_requests_total{worker="0",route="chat",status="200"} 1.0' in text
    assert 'interlock_requests_total{worker="1",route="chat",status="200"} 5.0' in text
    assert 'worker="2",' not in text
    for number, up in ((0, 1), (1, 1), (2, 0)):
        assert f'interlock_worker_up{{worker="{number}"}} {up}\n' in text
    list(text_string_to_metric_families(text))
