import math

import pytest

from interlock.execution.cost import add, cost_of
from interlock.types import Profile, Usage


@pytest.mark.parametrize(
    ("usage", "prices", "cost"),
    [
        (Usage(100, 10), (2.0, 10.0, None), (100 * 2 + 10 * 10) / 1e6),
        (Usage(100, 10, cached=40), (2.0, 10.0, 0.5), (60 * 2 + 40 * 0.5 + 10 * 10) / 1e6),
        (Usage(100, 10, cached=40), (2.0, 10.0, None), (100 * 2 + 10 * 10) / 1e6),
        (Usage(100, 10, cached=40, cache_write=20), (2.0, 10.0, 0.5, 2.5), (40 * 2 + 40 * 0.5 + 20 * 2.5 + 100) / 1e6),
        (Usage(100, 10, cached=40, cache_write=20), (2.0, 10.0, 0.5, None), (60 * 2 + 40 * 0.5 + 100) / 1e6),
        (Usage(100, 10, reasoning=8), (2.0, 10.0, None), (100 * 2 + 10 * 10) / 1e6),
        (Usage(100, 0), (2.0, None, None), 200 / 1e6),
        (Usage(0, 10), (None, 1.0, None), 10 / 1e6),
        (Usage(), (None, None, None), 0.0),
        (None, (0.0, 0.0, None), 0.0),
    ],
)
def test_known_costs(usage, prices, cost):
    profile = Profile(**dict(zip(("price_in", "price_out", "price_cached", "price_cache_write"), prices, strict=False)))
    assert cost_of(usage, profile) == pytest.approx(cost)


@pytest.mark.parametrize(
    ("usage", "prices"),
    [(None, (1.0, 1.0)), (Usage(1, 1), (None, 1.0)), (Usage(1, 1), (1.0, None)), (Usage(1, 0, cached=1), (None, 1.0))],
)
def test_unknown_costs_are_nan(usage, prices):
    assert math.isnan(cost_of(usage, Profile(price_in=prices[0], price_out=prices[1])))


def test_usage_adds_up():
    assert add(Usage(1, 2, 3, 4, 5), Usage(10, 20, 30, 40, 50)) == Usage(11, 22, 33, 44, 55)
