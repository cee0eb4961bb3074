"""Prometheus metrics of a pool under the names that vLLM replicas expose, read when scraped.

Source: vLLM, "Production Metrics", https://docs.vllm.ai/en/latest/usage/metrics.html.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from interlock.pocket.engine import EngineStats
from interlock.pocket.pool import Pool

_GAUGES: dict[str, tuple[str, Callable[[EngineStats], float]]] = {
    "num_requests_waiting": ("Requests waiting for a slot.", lambda stats: stats.waiting),
    "num_requests_running": ("Requests in a slot.", lambda stats: stats.running),
    "kv_cache_usage_perc": ("Share of cache positions in use, 1 is all.", lambda stats: stats.cache_usage),
}
_COUNTERS: dict[str, tuple[str, Callable[[EngineStats], float]]] = {
    "prompt_tokens": ("Prompt tokens read, reused ones included.", lambda stats: stats.prompt_tokens),
    "generation_tokens": ("Tokens generated.", lambda stats: stats.generated_tokens),
    "prefix_cache_queries": ("Prompt tokens looked up for reuse.", lambda stats: stats.prefix_queried_tokens),
    "prefix_cache_hits": ("Prompt tokens reused.", lambda stats: stats.prefix_hit_tokens),
}


class PoolCollector(Collector):
    """Reads `Pool.stats` at every scrape; a scrape costs the engine nothing."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterable[Metric]:
        stats = self._pool.stats()
        yield from _families(GaugeMetricFamily, _GAUGES, stats)
        yield from _families(CounterMetricFamily, _COUNTERS, stats)
        labels = ["model_name", "max_lora", "waiting_lora_adapters", "running_lora_adapters"]
        lora = GaugeMetricFamily("vllm:lora_requests_info", "Adapters in use; the value is the time.", labels=labels)
        for model, counts in stats.items():
            adapters = self._pool.adapters(model)
            waiting, running = (
                ",".join(adapters[i] for i in used) for used in (counts.waiting_adapters, counts.running_adapters)
            )
            lora.add_metric([model, str(len(adapters)), waiting, running], time.time())
        yield lora


def _families(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    table: dict[str, tuple[str, Callable[[EngineStats], float]]],
    stats: dict[str, EngineStats],
) -> Iterator[Metric]:
    for name, (help_text, value) in table.items():
        family = kind(f"vllm:{name}", help_text, labels=["model_name"])
        for model, counts in stats.items():
            family.add_metric([model], value(counts))
        yield family
