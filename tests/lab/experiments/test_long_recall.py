from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from interlock.lab.experiments import Options, long_recall, names
from interlock.lab.experiments.long_recall import Point, distance
from interlock.pocket.tasks import TASKS, draw
from interlock.pocket.tokenizer import VOCAB, encode


def points(whole: int, cut: int) -> list[Point]:
    return [Point(pairs=pairs, tokens=5.2 * pairs, n=100, whole=whole, cut=cut, inside=12) for pairs in (100, 400, 600)]


@pytest.mark.parametrize(("whole", "cut", "verdict"), [(95, 20, "pass"), (80, 20, "short"), (95, 70, "short")])
def test_it_must_recall_with_all_and_fail_with_the_end_alone(
    whole: int, cut: int, verdict: str, tmp_path: Path
) -> None:
    report = long_recall.judge(points(whole, cut), Options(out=tmp_path))
    assert report.verdict == verdict
    assert [figure.verdict for figure in report.figures[:2]] == ["info", "info"], "only 2k and 4k are claimed"
    assert Path(report.plots[0]).stat().st_size > 0
    assert points(95, 20)[0].expected == pytest.approx(0.12 + 0.088)
    assert "long-recall" in names()


def test_distance_counts_tokens_from_the_digit_asked_for_to_the_end() -> None:
    for seed in range(20):
        example = draw(TASKS["recall_long"], Random(seed), 50, "validation")
        tail = encode(example.prompt)[-distance(example) :]
        assert VOCAB[tail[0]] == example.answer
        assert 1 < distance(example) <= len(encode(example.prompt))
