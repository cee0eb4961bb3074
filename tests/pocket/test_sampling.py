from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from interlock.pocket.sampling import Sampler, choose, log_softmax, top
from interlock.pocket.weights import Floats

logits = arrays(np.float32, st.tuples(st.integers(1, 5), st.just(12)), elements=st.floats(-20, 20, width=32))


@given(logits)
def test_log_probabilities_sum_to_one(values: Floats) -> None:
    np.testing.assert_allclose(np.exp(log_softmax(values)).sum(axis=-1), 1, rtol=1e-5)


@given(logits)
def test_temperature_zero_takes_the_lowest_id_of_the_likeliest(values: Floats) -> None:
    samplers = [Sampler(0, 1, 0) for _ in values]
    assert choose(samplers, log_softmax(values)) == [int(row.argmax()) for row in log_softmax(values)]


@given(logits, st.floats(0.05, 2), st.floats(0.05, 1))
def test_a_row_draws_the_same_alone_and_in_a_batch(values: Floats, temperature: float, top_p: float) -> None:
    logprobs = log_softmax(values)
    together = choose([Sampler(temperature, top_p, seed) for seed in range(len(values))], logprobs)
    alone = [choose([Sampler(temperature, top_p, seed)], logprobs[seed : seed + 1])[0] for seed in range(len(values))]
    assert together == alone


@given(logits, st.floats(0.05, 0.99), st.integers(0, 1000))
def test_top_p_draws_from_the_smallest_sufficient_set(values: Floats, top_p: float, seed: int) -> None:
    row = log_softmax(values[:1])
    token = choose([Sampler(1.0, top_p, seed)], row)[0]
    probabilities = np.exp(row[0].astype(np.float64))
    likelier = probabilities[probabilities > probabilities[token]].sum()
    assert likelier < top_p * probabilities.sum() + 1e-9


def test_draws_follow_the_probabilities() -> None:
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    rows = np.log(np.tile(probabilities, (1, 1))).astype(np.float32)
    for temperature in (1.0, 0.5):
        sampler = Sampler(temperature, 1.0, 5)
        counts = np.bincount([choose([sampler], rows)[0] for _ in range(4000)], minlength=4) / 4000
        expected = probabilities ** (1 / temperature) / (probabilities ** (1 / temperature)).sum()
        # Four standard deviations of a share of 4,000 draws.
        assert np.all(np.abs(counts - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000))


def test_top_lists_the_likeliest_first() -> None:
    assert top(np.array([-3, -1, -2, -1], np.float32), 3) == [(1, -1.0), (3, -1.0), (2, -2.0)]
