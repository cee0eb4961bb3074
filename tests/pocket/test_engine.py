from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from interlock.pocket import row_product
from interlock.pocket.engine import Engine, Job
from interlock.pocket.family import load_family
from interlock.pocket.requests import Delta
from interlock.pocket.sampling import Sampler
from interlock.pocket.tokenizer import BUDGETS
from interlock.pocket.transcript import Transcript
from interlock.pocket.transformer import Transformer


@pytest.fixture(scope="module")
def model(weights: Path) -> Transformer:
    member = load_family(weights).members["tiny"]
    return Transformer(member.config, member.file.tensors, member.adapters)


def engine_of(model: Transformer, **options: int) -> Engine:
    return Engine(model, ["left", "right"], **options)


def job(prompt: list[int], *, temperature: float = 0.0, seed: int = 0, limit: int = 20, adapter: int = -1) -> Job:
    def fail(_: Job, error: Exception) -> None:
        raise error

    transcript, sampler = Transcript(thinks=False), Sampler(temperature, 0.95, seed)
    return Job(prompt=prompt, adapter=adapter, sampler=sampler, transcript=transcript, limit=limit,
               top_logprobs=3, on_delta=lambda _: None, on_end=lambda _: None, on_fail=fail)  # fmt: skip


def prompts(n: int, longest: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [[1, *map(int, rng.integers(16, 400, rng.integers(1, longest))), BUDGETS[0]] for _ in range(n)]


def finish(engine: Engine, jobs: list[Job]) -> list[Job]:
    for each in jobs:
        engine.submit(each)
    while engine.busy:
        engine.step()
    return jobs


def mixture(n: int = 32) -> list[Job]:
    """Greedy and sampled, short and long prompts and answers, with and without adapters."""
    return [
        job(prompt, temperature=0.0 if i % 2 else 1.2, seed=i, limit=5 + 9 * (i % 8), adapter=i % 3 - 1)
        for i, prompt in enumerate(prompts(n, 150))
    ]


def test_32_concurrent_requests_equal_one_at_a_time_to_the_last_bit(model: Transformer) -> None:
    together = finish(engine_of(model), mixture())
    for one, alone in zip(together, mixture(), strict=True):
        finish(engine_of(model), [alone])
        assert one.generated == alone.generated
        assert one.tokens == alone.tokens  # texts, log-probabilities and alternatives, compared exactly
    assert len({tuple(each.generated) for each in together}) > 25  # the model does not always say the same


def test_joining_and_leaving_at_any_step_changes_nothing(model: Transformer) -> None:
    alone = [finish(engine_of(model), [each])[0] for each in mixture(24)]
    engine, staggered = engine_of(model, slots=5), mixture(24)
    for number, each in enumerate(staggered):
        engine.submit(each)
        for _ in range(number % 4):
            engine.step()
    while engine.busy:
        engine.step()
    assert [each.tokens for each in staggered] == [each.tokens for each in alone]


def test_results_do_not_change_where_blas_allows_no_batching(
    model: Transformer, monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    monkeypatch.setattr(row_product, "_agrees", lambda *_: False)
    member = load_family(weights).members["tiny"]
    cautious = Transformer(member.config, member.file.tensors, member.adapters)
    assert cautious.granule == 1
    together = finish(engine_of(cautious), mixture(8))
    alone = [finish(engine_of(cautious), [each])[0] for each in mixture(8)]
    assert [each.tokens for each in together] == [each.tokens for each in alone]


def test_a_reused_prefix_gives_the_same_bits_and_is_counted(model: Transformer) -> None:
    shared = [1, *map(int, np.random.default_rng(1).integers(16, 400, 150))]
    asked = [[*shared, *tail, BUDGETS[0]] for tail in ([], [20], [21, 22, 23], list(range(30, 60)))]
    cold = [finish(engine_of(model), [job(prompt)])[0] for prompt in asked]
    engine = engine_of(model)
    warm = [finish(engine, [job(prompt)])[0] for prompt in asked]
    assert [each.tokens for each in warm] == [each.tokens for each in cold]
    assert [each.cached for each in cold] == [0] * 4
    assert [each.cached for each in warm] == [0, 144, 144, 144]
    assert engine.stats.prefix_hit_tokens == 3 * 144
    assert engine.stats.prompt_tokens == sum(map(len, asked))


def test_a_prompt_seen_whole_still_computes_its_last_token(model: Transformer) -> None:
    engine, prompt = engine_of(model), [1, *range(100, 131)]
    assert len(prompt) == 32
    first, second = (finish(engine, [job(prompt)])[0] for _ in range(2))
    assert (first.cached, second.cached) == (0, 16)
    assert first.tokens == second.tokens


def test_adapters_do_not_share_prefixes(model: Transformer) -> None:
    engine, prompt = engine_of(model), [1, *range(100, 150)]
    used = [finish(engine, [job(prompt, adapter=adapter)])[0] for adapter in (-1, 0, 1, 0)]
    assert [each.cached for each in used] == [0, 0, 0, 48]
    assert used[1].tokens == used[3].tokens
    assert used[0].tokens != used[1].tokens != used[2].tokens


def test_a_cancelled_request_frees_its_slot_in_the_next_step(model: Transformer) -> None:
    engine = engine_of(model, slots=2)
    jobs = [job(prompt, limit=200) for prompt in prompts(4, 30)]
    for each in jobs:
        engine.submit(each)
    for _ in range(5):
        engine.step()
    assert (engine.stats.running, engine.stats.waiting) == (2, 2)
    jobs[0].cancelled = jobs[3].cancelled = True
    engine.step()
    assert jobs[0].finish == jobs[3].finish == "cancelled"
    assert (engine.stats.running, engine.stats.waiting) == (2, 0)
    assert jobs[2].generated
    assert jobs[3].usage.prompt == jobs[3].usage.completion == 0
    written = len(jobs[0].generated)
    engine.step()
    assert len(jobs[0].generated) == written > 0


def test_a_long_prompt_is_read_in_chunks_beside_decoding(model: Transformer) -> None:
    engine = engine_of(model)
    short, long = job([1, 30, 4], limit=100), job([1, *range(20, 220)], limit=3)
    engine.submit(short)
    engine.step()
    engine.submit(long)
    written = [len(short.generated)]
    while not long.generated:
        engine.step()
        written.append(len(short.generated))
    assert len(written) == 1 + -(-len(long.prompt) // 64)
    assert np.all(np.diff(written) == 1)


def test_a_window_holds_for_prompts_and_for_generated_tokens(model: Transformer) -> None:
    """With one layer's reach cut, what a token sees is the same whether it was read or generated."""
    prompt = prompts(1, 150)[0]
    engine = engine_of(model, window=16)
    generated = finish(engine, [job(prompt, limit=40)])[0].generated
    reread = finish(engine_of(model, window=16), [job([*prompt, *generated[:-1]], limit=1)])[0].generated
    assert reread == generated[-1:]
    assert generated != finish(engine_of(model), [job(prompt, limit=40)])[0].generated


def test_generation_crosses_arenas_and_ends_at_its_limit(model: Transformer) -> None:
    deltas: list[Delta] = []
    each = job([1, 30, 4], limit=200, temperature=1.0)
    each.on_delta = deltas.append
    finish(engine_of(model), [each])
    assert each.finish == "length"
    assert each.usage.completion == len(each.generated) == len(deltas) == 200
    assert "".join(delta.text for delta in deltas) == each.transcript.text
    assert each.submitted <= each.started <= each.first_token <= each.ended


def test_abandoned_jobs_are_returned_and_the_engine_is_usable(model: Transformer) -> None:
    engine = engine_of(model, slots=2)
    jobs = [job(prompt, limit=100) for prompt in prompts(5, 200)]
    for each in jobs:
        engine.submit(each)
    engine.step()
    assert set(map(id, engine.abandon())) == set(map(id, jobs))
    assert not engine.busy
    assert finish(engine, [job([1, 5, 4])])[0].finish
