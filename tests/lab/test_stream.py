from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from interlock.lab.stream import TOGETHER, Stream, requests_of
from interlock.pocket.mix import bench

N = 10 * TOGETHER
EXAMPLES = bench(0, N, split="validation")


@pytest.fixture(scope="module")
def stream() -> Iterator[Stream]:
    with Stream() as made:
        yield made


def test_tenants_take_turns() -> None:
    requests = requests_of(EXAMPLES[:5], 3, ("a", "b"))
    assert [request.tenant for request in requests] == ["a", "b", "a", "b", "a"]
    assert len({request.id for request in requests}) == 5
    assert requests[2].prompt == EXAMPLES[2].prompt


def test_what_is_right_is_learnt_and_twice_the_same(stream: Stream, table) -> None:
    world, requests = table(N, {"nano-t1": 1.0}), requests_of(EXAMPLES, 0)
    first, counted = stream.run(requests, world), list[int]()
    np.testing.assert_allclose(first.sum(axis=1), 1.0)
    assert first[-TOGETHER:, world.names.index("nano-t1")].mean() > 0.9
    assert first[:TOGETHER, world.names.index("nano-t1")].mean() < 0.5
    np.testing.assert_array_equal(first, stream.run(requests, world, done=counted.append))
    assert sum(counted) == N


def test_what_is_said_is_learnt_not_what_is_true(stream: Stream, table) -> None:
    world = table(N, {"nano-t1": 1.0})
    lied = stream.run(requests_of(EXAMPLES, 0), world, 1.0 - world.quality)
    assert lied[-TOGETHER:, world.names.index("nano-t1")].mean() < 0.1


def test_one_that_does_not_learn_does_not_notice_the_world(stream: Stream, table) -> None:
    requests = requests_of(EXAMPLES, 0)
    worlds = table(N, {"nano-t1": 1.0}), table(N, {"small-t0": 1.0}, seed=1)
    first, second = (stream.run(requests, world, learn=0) for world in worlds)
    np.testing.assert_array_equal(first, second)


def test_a_stream_can_be_configured_otherwise() -> None:
    with Stream(policy={"exploration": {"kind": "greedy"}}, learner={"robust": False}) as greedy:
        assert greedy.settings.policy.exploration == {"kind": "greedy"}
        assert greedy.settings.policy.estimator, "the rest stays as it is embedded"
        assert not greedy.settings.learner.robust
