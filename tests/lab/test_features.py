from __future__ import annotations

import numpy as np
import pytest

from interlock.lab.features import COUNTS, Features, question

SUMS = [f"What is {a} + {b}?" for a in range(12) for b in range(2, 5)]
CODE = [f"def f{a}(x):\n    return x * {b}  # explain this code" for a in range(12) for b in range(2, 5)]
PROMPTS, TASKS = SUMS + CODE, ["sums"] * len(SUMS) + ["code"] * len(CODE)


def test_later_prompts_get_the_same_columns() -> None:
    features = Features(terms=4, embedding=3)
    columns = features.fit_transform(PROMPTS, TASKS)
    assert columns.shape == (len(PROMPTS), 2 + len(COUNTS) + 4 + 3)
    later = features.transform(PROMPTS)
    np.testing.assert_allclose(later[:, 2:], columns[:, 2:])
    np.testing.assert_array_equal(later, features.transform(PROMPTS))


def test_the_task_columns_tell_the_task_of_prompts_never_seen() -> None:
    features = Features(terms=4, embedding=0).fit(PROMPTS, TASKS)
    first = features.transform(["What is 77 + 9?", "def g(y):\n    return y * 9"])[:, :2]
    assert first[0, 1] > first[1, 1], "columns are the tasks in order of their names: code, sums"
    assert first[1, 0] > first[0, 0]


def test_training_rows_do_not_look_surer_than_later_ones() -> None:
    rng = np.random.default_rng(0)
    noise = [str(rng.integers(0, 100, 5)) for _ in range(200)]
    labels = [str(label) for label in rng.integers(0, 2, 200)]
    own = Features(terms=0, embedding=0).fit_transform(noise, labels)[:, 0]
    right = np.where(np.array(labels) == "0", own, -own)
    assert abs(right.mean()) < 0.05, "labels that are noise cannot be told"


def test_more_tasks_than_columns_are_reduced_and_no_labels_give_none() -> None:
    tasks = [f"task {i % 20}" for i in range(len(PROMPTS))]
    width = len(COUNTS)
    assert Features(tasks=5, terms=0, embedding=0).fit_transform(PROMPTS, tasks).shape[1] == 5 + width
    assert Features(terms=0, embedding=0).fit_transform(PROMPTS, [""] * len(PROMPTS)).shape[1] == width
    assert Features(terms=0, embedding=0).fit_transform(PROMPTS).shape[1] == width


def test_a_preamble_is_cut_off() -> None:
    shots = "Question: 1+1?\nAnswer: 2\n\nQuestion: 2+2?\nAnswer: 4\n\nQuestion: 3+3?\nAnswer:"
    assert question(shots) == "Question: 3+3?\nAnswer:"


def test_a_huge_prompt_and_an_empty_one_stay_finite() -> None:
    features = Features().fit(PROMPTS, TASKS)
    assert np.isfinite(features.transform(["x" * 10_000_000, "", "\x00😀 ½"])).all()


def test_a_task_that_is_given_is_a_column() -> None:
    features = Features(terms=0, embedding=0, given=True)
    own = features.fit_transform(PROMPTS, TASKS)
    np.testing.assert_array_equal(own[[0, -1], :2], [[0, 1], [1, 0]])
    later = features.transform(["What?", "What?"], ["code", "never seen"])
    np.testing.assert_array_equal(later[:, :2], [[1, 0], [0, 0]])
    with pytest.raises(ValueError, match="1 prompts and 0 tasks"):
        features.transform(["What?"])
