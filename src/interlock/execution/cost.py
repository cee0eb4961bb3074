"""What a call cost, from the tokens the provider counted and the prices of the candidate's profile."""

from __future__ import annotations

import math

from ..types import Profile, Usage


def cost_of(usage: Usage | None, profile: Profile) -> float:
    """USD. NaN when it cannot be known: a price is missing, or the provider counted no tokens (`usage` is `None`).

    Input tokens read from a cache cost `price_cached` and those written to one `price_cache_write`, or `price_in` where
    these are not stated. A price that is not needed (nothing was cached, nothing came out) may be missing, and a free
    candidate is free whatever was counted.
    """
    cached_price = profile.price_in if profile.price_cached is None else profile.price_cached
    write_price = profile.price_in if profile.price_cache_write is None else profile.price_cache_write
    prices = (profile.price_in, profile.price_out, cached_price, write_price)
    if all(price == 0.0 for price in prices):
        return 0.0
    if usage is None:
        return math.nan
    fresh = usage.input - usage.cached - usage.cache_write
    counts = (fresh, usage.output, usage.cached, usage.cache_write)
    total = sum(
        count * (math.nan if price is None else price) for count, price in zip(counts, prices, strict=True) if count
    )
    return total / 1e6


def add(first: Usage, second: Usage) -> Usage:
    return Usage(
        input=first.input + second.input,
        output=first.output + second.output,
        cached=first.cached + second.cached,
        reasoning=first.reasoning + second.reasoning,
        cache_write=first.cache_write + second.cache_write,
    )
