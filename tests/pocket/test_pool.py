from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interlock.errors import Busy, NotFound, RequestError
from interlock.pocket import Delta, PocketRequest, Pool
from interlock.pocket.engine import Engine
from interlock.pocket.tokenizer import encode


@pytest.fixture
def pool(weights: Path) -> Iterator[Pool]:
    with Pool.load(path=weights) as pool:
        yield pool


def ask(prompt: str = "Sort D A C B.", candidate: str = "tiny-t0", **fields: object) -> PocketRequest:
    return PocketRequest(candidate=candidate, prompt=prompt, **{"max_tokens": 12, **fields})  # type: ignore[arg-type]


def test_a_result_accounts_for_every_token(pool: Pool) -> None:
    result = pool.submit(ask(top_logprobs=2)).result()
    assert result.usage.prompt == len(encode("Sort D A C B.")) + 2
    assert result.usage.completion == len(result.tokens) == 12
    assert result.finish_reason == "length"
    assert all(len(entry.top) == 2 and entry.logprob <= entry.top[0][1] + 1e-6 for entry in result.tokens)
    assert result.confidence == pytest.approx(np.exp(np.mean([entry.logprob for entry in result.tokens])))
    assert result.cost_usd == pool.family.candidates["tiny-t0"].cost(result.usage)
    assert 0 <= result.timings.queue <= result.timings.first_token <= result.timings.total


def test_unknown_characters_become_one_unknown_token_each(pool: Pool) -> None:
    plain, strange, empty = (pool.submit(ask(text)).result().usage.prompt for text in ("", "é木", ""))
    assert strange == plain + 2
    assert empty == 2


def test_threads_may_submit_at_once(pool: Pool) -> None:
    requests = [ask(f"Add {i} and 4.", temperature=1.0, seed=i) for i in range(24)]
    alone = [pool.submit(request).result().text for request in requests]
    found: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda i=i, r=r: found.update({i: pool.submit(r).result().text}))
        for i, r in enumerate(requests)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(24)] == alone


def test_generate_many_keeps_order_and_reports_progress(pool: Pool) -> None:
    requests = [ask(f"Add {i} and 4.", candidate=("speck-t0", "tiny-left-t0")[i % 2]) for i in range(400)]
    seen: list[tuple[int, int]] = []
    results = pool.generate_many(requests, lambda done, total: seen.append((done, total)))
    assert [result.candidate for result in results] == [request.candidate for request in requests]
    assert seen[-1] == (400, 400)
    assert results[7].text == pool.submit(requests[7]).result().text


def test_the_seed_in_the_result_repeats_the_draw(pool: Pool) -> None:
    first = pool.submit(ask(temperature=1.0)).result()
    again = pool.submit(ask(temperature=1.0, seed=first.seed)).result()
    other = pool.submit(ask(temperature=1.0, seed=first.seed + 1)).result()
    assert first.text == again.text != other.text


def test_votes_sum_usage_and_elect_the_majority(pool: Pool) -> None:
    deltas: list[Delta] = []
    request = ask(candidate="tiny-tN", samples=4, seed=3, max_tokens=2)
    result = pool.submit(request, deltas.append).result()
    singles = [
        pool.submit(replace(request, candidate="tiny-t1", temperature=0.8, seed=3 + i)).result() for i in range(4)
    ]
    assert sum(result.votes.values()) == 4
    assert result.usage.completion == sum(single.usage.completion for single in singles) == 8
    assert result.usage.prompt == 4 * singles[0].usage.prompt
    assert set(result.votes) == {single.text for single in singles}
    assert result.confidence == max(result.votes.values()) / 4
    assert len(deltas) == 1
    assert deltas[0].text == result.text


async def test_a_stream_shows_the_text_and_then_the_result(pool: Pool) -> None:
    async with pool.stream(ask()) as stream:
        deltas = [delta async for delta in stream]
    assert "".join(delta.text for delta in deltas) == stream.result.text
    assert sum(len(delta.tokens) for delta in deltas) == stream.result.usage.completion
    assert stream.result.text == (await pool.generate(ask())).text


async def test_leaving_a_stream_cancels_it(pool: Pool) -> None:
    async with pool.stream(ask(max_tokens=200)) as stream:
        async for _ in stream:
            break
    async for _ in stream:
        pass
    assert stream.result.finish_reason == "cancelled"
    assert 0 < stream.result.usage.completion < 200
    assert pool.stats()["tiny"].running == 0


async def test_cancelling_the_task_cancels_the_request(pool: Pool) -> None:
    tasks = [asyncio.create_task(pool.generate(ask(max_tokens=240))) for _ in range(3)]
    while pool.stats()["tiny"].running < 3:
        await asyncio.sleep(0)
    tasks[1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert results[0] is not results[2]
    assert results[0].finish_reason == "length"  # type: ignore[union-attr]


def test_too_many_waiting_requests_are_refused_until_some_finish(weights: Path) -> None:
    with Pool.load(["tiny"], weights, slots=2, max_queue=3) as pool:
        handles = [pool.submit(ask(max_tokens=200)) for _ in range(5)]
        with pytest.raises(Busy, match="limit is 3") as refused:
            pool.submit(ask())
        assert refused.value.retry_after >= 1
        with pytest.raises(Busy):
            pool.submit(ask(candidate="tiny-tN", samples=3))
        for handle in handles:
            handle.cancel()
        assert all(handle.result(10).finish_reason == "cancelled" for handle in handles)
        assert pool.submit(ask()).result(10).finish_reason == "length"


def test_an_over_long_prompt_is_refused_with_limit_and_length(pool: Pool) -> None:
    fits = pool.submit(ask("7" * 253, max_tokens=None)).result()
    assert (fits.usage.prompt, fits.usage.completion, fits.finish_reason) == (255, 1, "length")
    with pytest.raises(RequestError, match=r"257 tokens.*256") as refused:
        pool.submit(ask("7" * 254))
    assert refused.value.code == "context_length_exceeded"


def test_an_absurd_cap_means_what_the_context_leaves(pool: Pool) -> None:
    result = pool.submit(ask(max_tokens=10**12)).result()
    assert result.usage.prompt + result.usage.completion == 256
    assert result.finish_reason == "length"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1), ("temperature", float("nan")), ("top_p", 0.0), ("max_tokens", 0),
        ("top_logprobs", 21), ("seed", -1), ("stop", ("",)), ("samples", 0),
    ],
)  # fmt: skip
def test_values_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(RequestError, match=field) as refused:
        ask(**{field: value})
    assert refused.value.param == field


def test_an_unknown_candidate_is_not_found(pool: Pool) -> None:
    with pytest.raises(NotFound, match=r"did you mean .tiny-t"):
        pool.submit(ask(candidate="tiny-t9"))


def test_a_failing_step_fails_its_requests_and_nothing_else(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    healthy, step = pool.submit(ask(candidate="speck-t0", max_tokens=100)), Engine.step

    def broken(engine: Engine) -> None:
        if engine.model.config.d == 48:
            raise FloatingPointError("bad weights")
        step(engine)

    monkeypatch.setattr(Engine, "step", broken)
    with pytest.raises(FloatingPointError, match="bad weights"):
        pool.submit(ask()).result(10)
    assert healthy.result(10).usage.completion == 100
    monkeypatch.undo()
    assert pool.submit(ask()).result(10).finish_reason == "length"


def test_a_failing_listener_fails_its_own_request_only(pool: Pool) -> None:
    def listener(_: Delta) -> None:
        raise RuntimeError("listener")

    healthy = pool.submit(ask(max_tokens=100))
    with pytest.raises(RuntimeError, match="listener"):
        pool.submit(ask(max_tokens=100), listener).result(10)
    assert healthy.result(10).usage.completion == 100


def test_closing_fails_what_is_unfinished_and_refuses_more(weights: Path) -> None:
    pool = Pool.load(["tiny"], weights, slots=1)
    handles = [pool.submit(ask(max_tokens=250)) for _ in range(3)]
    pool.close()
    pool.close()
    for handle in handles:
        error = handle.future.exception(10)
        assert error is None or isinstance(error, Busy)
    assert isinstance(handles[-1].future.exception(10), Busy)
    with pytest.raises(Busy, match="shutting down"):
        pool.submit(ask())


def test_hidden_states_are_the_mean_or_the_last_of_a_layer(pool: Pool) -> None:
    mean, tokens = pool.hidden_states("tiny", "Sort D A.")
    assert mean.shape == (48,)
    assert tokens == len(encode("Sort D A.")) + 1
    last, _ = pool.hidden_states("tiny", "Sort D A.", layer=1, pooling="last")
    assert not np.allclose(mean, last)
    again, _ = pool.hidden_states("tiny", "Sort D A.")
    np.testing.assert_array_equal(mean, again)
    with pytest.raises(RequestError, match="from 0 to 2"):
        pool.hidden_states("tiny", "x", layer=3)
    with pytest.raises(RequestError, match="256"):
        pool.hidden_states("tiny", "7" * 300)
