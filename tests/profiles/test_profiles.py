"""Profiles from evidence: the graph, signed centroids, the autoencoder, and the design space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.profiles import Card, Design, EvidenceGraph, MaskedAutoencoder, blended, build, signed_centroid
from interlock.profiles.evidence import normalised, spread
from interlock.types import Array

WIDTH = 4


def encode(texts: Sequence[str]) -> Array:
    """Each text its own fixed direction."""
    return np.stack([np.random.default_rng(sum(text.encode())).normal(size=WIDTH) for text in texts])


def graph(n: int = 60, seed: int = 0) -> tuple[EvidenceGraph, Array, Array]:
    """`left` is right where column 0 is positive, `right` where it is negative, `none` never seen."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, WIDTH))
    scores = np.stack([x[:, 0] > 0, x[:, 0] < 0], axis=1).astype(np.float64)
    made = EvidenceGraph(encode)
    for name in ("left", "right", "none"):
        made.add_model(Card(name, f"the model {name}", "family"))
    for row in range(n):
        task = "positive" if x[row, 0] > 0 else "negative"
        for column, name in enumerate(("left", "right")):
            made.add_outcome(name, f"q{row}", x[row], scores[row, column], task, f"prompt {row}")
    for column, name in enumerate(("left", "right")):
        for task, rows in (("positive", x[:, 0] > 0), ("negative", x[:, 0] < 0)):
            made.add_result(name, task, float(scores[rows, column].mean()))
    return made, x, scores


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_signed_profiles_point_to_where_a_model_wins() -> None:
    made, x, scores = graph()
    for profiles in (signed_centroid(x, scores), made.propagate(1, kinds=("query",))):
        assert cosine(profiles[0], np.eye(WIDTH)[0]) > 0.8
        assert cosine(profiles[1], -np.eye(WIDTH)[0]) > 0.8
    by_task = signed_centroid(x, scores, ["p" if v > 0 else "n" for v in x[:, 0]])
    assert cosine(by_task[0], np.eye(WIDTH)[0]) > 0.7


@given(seed=st.integers(0, 500), shift=st.floats(-0.3, 0.3))
@settings(max_examples=25, deadline=None)
def test_what_all_models_share_on_a_prompt_says_nothing_of_one(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    x, scores = rng.normal(size=(20, 3)), rng.uniform(0.3, 0.7, (20, 4))
    profiles = signed_centroid(x, scores)
    assert np.allclose(profiles, signed_centroid(x, scores + shift), atol=1e-12)
    assert np.allclose(profiles.sum(axis=0), 0.0, atol=1e-12)


def test_a_missing_score_is_no_zero() -> None:
    x = np.eye(2)
    profiles = signed_centroid(x, [[1.0, 0.0], [1.0, np.nan]])
    assert np.allclose(profiles[1], [-0.5, 0.0]), "the second prompt says nothing of it"
    made = EvidenceGraph(encode)
    made.add_model(Card("a", "a"))
    made.add_model(Card("b", "b"))
    made.add_result("a", "t", 0.2)
    assert made.evidence("b") == []
    assert [(node.name, weight) for node, weight in made.evidence("a", ("task",))] == [("t", 0.0)]


def test_one_without_evidence_is_neither_zero_nor_missing() -> None:
    made, *_ = graph()
    for depth in range(4):
        profiles = made.propagate(depth)
        assert np.isfinite(profiles).all()
        assert np.linalg.norm(profiles[2]) > 0.0
    lonely = EvidenceGraph(encode)
    lonely.add_model(Card("only", "only"))
    assert np.allclose(lonely.propagate(2)[0], encode(["only"])[0])


def test_propagation_is_the_normalised_sum_over_neighbours() -> None:
    from scipy.sparse import csr_array

    adjacency = np.array([[0.0, 2.0, -1.0], [2.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    x = np.arange(6.0).reshape(3, 2)
    degree = np.abs(adjacency).sum(axis=1)
    wanted = adjacency / np.sqrt(np.outer(degree, degree)) @ x
    assert np.allclose(spread([normalised(csr_array(adjacency), "sym")], x), wanted)
    assert np.allclose(spread([normalised(csr_array(adjacency), "row")], x), adjacency / degree[:, None] @ x)
    assert np.allclose(spread([], x), x)


def test_smoothing_makes_unsigned_profiles_alike_but_not_signed_ones() -> None:
    made, rng = EvidenceGraph(encode), np.random.default_rng(0)
    for name in ("left", "right"):
        made.add_model(Card(name, name))
    for row, vector in enumerate(rng.normal(size=(60, WIDTH))):
        for sign, name in ((1.0, "left"), (-1.0, "right")):
            made.add_outcome(
                name, f"q{row}", vector, float(0.5 + 0.25 * sign * np.sign(vector[0]) + 0.2 * rng.random())
            )
    unsigned = [cosine(*made.propagate(depth, kinds=("query",), signed=False)) for depth in (1, 3, 5, 7)]
    assert np.all(np.diff(unsigned) > 0)
    signed = [cosine(*made.propagate(depth, kinds=("query",))) for depth in (1, 3, 5, 7)]
    assert max(signed) < -0.9


def test_the_reservoir_bounds_what_a_model_keeps() -> None:
    made = EvidenceGraph(encode, most=10)
    made.add_model(Card("a", "a"))
    for i in range(100):
        made.add_outcome("a", f"q{i}", np.ones(WIDTH), 1.0)
    kept = [int(node.name[1:]) for node, _ in made.evidence("a", ("query",))]
    assert len(kept) == 10
    assert max(kept) > 30, "later ones get in"


def test_outcomes_win_over_the_card_as_they_add_up() -> None:
    card, outcomes = np.array([1.0, 0.0]), np.array([-1.0, 0.0])
    unseen, agreement = blended(card, outcomes, 0)
    assert np.allclose(unseen, card)
    assert agreement == pytest.approx(-1.0), "the conflict is shown"
    assert np.allclose(blended(card, outcomes, 20)[0], 0.0)
    assert blended(card, outcomes, 200)[0][0] < -0.8
    assert blended(card, np.zeros(2), 5)[1] == 0.0


def test_the_autoencoders_gradient_is_that_of_its_loss() -> None:
    rng = np.random.default_rng(0)
    model = MaskedAutoencoder(width=3)
    x, shown = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    masked, share = np.array([1, 0, 1, 0, 0, 1], dtype=bool), rng.random(6)
    ends, score = np.array([[0, 3], [1, 4]]), np.array([0.5, -1.0])
    weights = [rng.normal(size=(4, 3)), rng.normal(size=(3, 4)), rng.normal(size=4)]

    def loss(parts: Sequence[Array]) -> float:
        h = np.tanh((shown + share[:, None] * parts[2]) @ parts[0])
        features = ((h @ parts[1] - x)[masked] ** 2).mean()
        return float(features + (((h[ends[:, 0]] * h[ends[:, 1]]).sum(axis=1) / np.sqrt(3) - score) ** 2).mean())

    found = model._gradient(weights, shown + share[:, None] * weights[2], share, x, masked, ends, score)
    for part, gradient in enumerate(found):
        for index in np.ndindex(gradient.shape):
            moved = [w.copy() for w in weights]
            moved[part][index] += 1e-6
            assert (loss(moved) - loss(weights)) / 1e-6 == pytest.approx(gradient[index], abs=1e-4)


def test_every_design_gives_one_finite_profile_a_model() -> None:
    made, *_ = graph()
    designs = [
        Design(form="index"),
        Design(form="flat"),
        Design(form="flat", representation="text"),
        Design(representation="text", depth=2),
        Design(depth=2),
        Design(depth=2, signed=False, kinds=("task",)),
        Design(depth=1, learning="self_supervised"),
    ]
    assert len({design.name for design in designs}) == len(designs) - 1, "signed or not is not in the name"
    for design in designs:
        profiles = build(made, design)
        assert profiles.shape == (3, WIDTH)
        assert np.isfinite(profiles).all()
        assert np.array_equal(profiles, build(made, design)), "the same evidence, the same profile"
    with pytest.raises(ValueError, match="nothing else to mask"):
        Design(form="flat", learning="self_supervised")
    with pytest.raises(ValueError, match="depth 9"):
        Design(depth=9)


def test_bad_evidence_is_refused() -> None:
    made, *_ = graph()
    with pytest.raises(ValueError, match="no model 'ghost'"):
        made.add_result("ghost", "positive", 0.5)
    with pytest.raises(ValueError, match="score 70"):
        made.add_result("left", "positive", 70.0)
    with pytest.raises(ValueError, match="not finite"):
        made.add_outcome("left", "q", np.full(WIDTH, np.nan), 1.0)
