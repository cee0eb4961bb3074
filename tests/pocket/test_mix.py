"""The training mix follows its curriculum; the bench is reproducible and free of trained content."""

from __future__ import annotations

import json
from itertools import islice
from random import Random

import pytest

from interlock.pocket import mix
from interlock.pocket.document import document, prompt_ids
from interlock.pocket.mix import GENERALIST, Mix, Share, bench
from interlock.pocket.tasks import TASKS, draw
from interlock.pocket.tokenizer import ANS, BOS, BUDGETS, CHK, EOS, decode, encode


def test_bench_is_reproducible_and_seeds_differ() -> None:
    assert bench(0, 50) == bench(0, 50)
    assert bench(0, 50) != bench(1, 50)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_bench_holds_only_its_split(split: str) -> None:
    assert {example.split for example in bench(3, 300, split)} == {split}


def test_hidden_style_uses_hidden_wordings() -> None:
    for example in bench(0, 100, style="hidden"):
        assert example.variant in TASKS[example.task].forms.variants("hidden")


def test_the_frozen_prompts_are_the_published_ones() -> None:
    from interlock.pocket.calibrate import bench_hash

    assert bench_hash() == json.loads(mix.BENCH_FILE.read_text("utf-8"))["sha256_of_1000_test_prompts"]


def test_an_unknown_cell_in_the_bench_file_is_named(tmp_path, monkeypatch) -> None:
    file = tmp_path / "bench.json"
    file.write_text('{"weights": {"add": {"99": 1.0}}}')
    monkeypatch.setattr(mix, "BENCH_FILE", file)
    mix.bench_weights.cache_clear()
    with pytest.raises(ValueError, match=r"unknown cells \[\('add', 99\)\]"):
        mix.bench_weights()
    mix.bench_weights.cache_clear()


def test_the_level_cap_rises() -> None:
    cups = Mix((Share(TASKS["cups"], 1.0),), style="compact")

    def longest(progress: float) -> int:
        return max(len(d.ids) for d in islice(cups.documents(Random(0), progress), 300))

    assert longest(0.0) < longest(0.2) < longest(1.0)


def test_generalists_never_meet_the_unseen_disciplines() -> None:
    assert not any(share.task.unseen for share in GENERALIST.shares)
    taught = {share.task.name for share in GENERALIST.shares}
    assert taught == {task.name for task in TASKS.values() if not task.unseen}


def test_documents_follow_the_token_protocol() -> None:
    example = draw(TASKS["cups"], Random(0), 2, style="compact")
    scratch, answer = encode(example.scratch), encode(example.answer)
    head = [BOS, *encode(example.prompt)]
    assert prompt_ids(example.prompt, 1) == [*head, BUDGETS[1]]
    assert document(example, 0).ids == [*head, BUDGETS[0], *answer, EOS]
    assert document(example, 1).ids == [*head, BUDGETS[1], *scratch, ANS, *answer, EOS]
    assert document(example, 2).ids == [*head, BUDGETS[2], *scratch, CHK, *scratch, ANS, *answer, EOS]


def test_only_completions_are_learned_and_every_turn_is() -> None:
    example = TASKS["recall"].example(Random(1), 6)
    ids, learned = document(example, 0)
    told = [token for token, flag in zip(ids, learned, strict=True) if flag]
    assert told.count(EOS) == 1 + len(example.turns) == 6
    assert decode(told) == example.answer + "".join(answer for _, answer in example.turns)
