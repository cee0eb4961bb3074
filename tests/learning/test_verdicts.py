"""Which verdicts stand, which can be afforded, and whom they are about."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from interlock.learning.verdicts import (
    AGAIN,
    Verdict,
    Verdicts,
    affordable,
    disregarded,
    judged_up_to,
    summary,
    upheld,
)

FIRST, SECOND = Verdict(90, 30, {"x": 10, "y": 40}), Verdict(70, 24, {"z": 5})


def test_what_lies_between_the_first_row_and_the_verdict_counts_nothing() -> None:
    rows = [row for row in (9, 10, 90, 91) if disregarded((FIRST,), "x", row)]
    assert rows == [10, 90]
    assert not disregarded((FIRST,), "z", 50)
    assert (FIRST.first, judged_up_to((FIRST, SECOND), "z"), judged_up_to((), "z")) == (10, 70, 0)
    assert summary((FIRST, SECOND)) == {"x": [10, 90], "y": [40, 90], "z": [5, 70]}


def test_a_verdict_falls_with_a_row_up_to_its_own_and_takes_the_later_ones_with_it() -> None:
    both = (FIRST, SECOND)
    assert upheld(both, 91) == both
    assert upheld(both, 90) == (), "the second was found knowing the first"
    assert upheld((SECOND, FIRST), 80) == (SECOND,)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=400))
def test_what_is_folded_again_is_bounded_and_so_is_the_number_of_verdicts(steps: list[int]) -> None:
    """Somebody is found out at every opportunity."""
    verdicts: Verdicts = ()
    scores = 0
    for step in steps:
        scores += step
        if affordable(verdicts, scores):
            verdicts = (*verdicts, Verdict(3 * scores, scores, {f"x{scores}": 1}))
        assert sum(verdict.scores for verdict in verdicts) <= AGAIN * scores
    assert len(verdicts) <= AGAIN + 1 + 5 * scores.bit_length()
