"""The embedded pool of pocket models as a provider: no network, real tokens, real confidence, modelled energy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import Busy, NoSuchModel, NotFound, Overloaded, Rejected, RequestError, TimedOut, TooLong, Unsupported
from ..types import Candidate, Capability, Chunk, Profile, Request, Usage, new_id
from .base import Call, Chunks
from .wire import Writer, limit_of, wants_usage

if TYPE_CHECKING:
    from ..pocket.family import PocketCandidate
    from ..pocket.pool import Pool
    from ..pocket.requests import PocketRequest, PocketResult, TokenLogprob

CANNOT = ("tools", "functions", "json", "image", "audio", "file")


@dataclass
class Pocket:
    """Pocket models run by this process. A candidate's `model` names one with its budget, `small-t1` for example.

    Attributes:
        models: which to load, each with its specialists; empty means all that ship.
        path: a folder of weight files; empty means the shipped ones.
        slots: the most requests a model works on at once.
        max_queue: the most requests that wait for a model; more are `Overloaded`.

    Raises `WeightsError` or `NotFound` when the models cannot be loaded.
    """

    models: Sequence[str] = ()
    path: str = ""
    slots: int = 32
    max_queue: int = 256

    def __post_init__(self) -> None:
        from ..pocket.pool import Pool

        path = Path(self.path) if self.path else None
        self.pool = Pool.load(list(self.models) or None, path, slots=self.slots, max_queue=self.max_queue)

    @classmethod
    def over(cls, pool: Pool) -> Self:
        """A provider over a pool that exists; `aclose` closes it."""
        self = cls.__new__(cls)
        self.pool = pool
        return self

    def candidates(self, provider: str = "pocket") -> list[Candidate]:
        """Everything the pool can serve, with its price and what calibration measured."""
        return [_candidate(known, provider) for known in self.pool.candidates()]

    async def send(self, call: Call) -> Chunks:
        asked = _asked(call)
        loop = asyncio.get_running_loop()
        if call.deadline is not None and call.deadline <= loop.time():
            raise TimedOut("the deadline passed")
        try:
            stream = self.pool.stream(asked)
        except NotFound as error:
            raise NoSuchModel(str(error)) from None
        except RequestError as error:
            raise TooLong(str(error)) if error.code == TooLong.code else Rejected(str(error)) from None
        except Busy as error:
            raise Overloaded("its queue is full", retry_after=error.retry_after) from None
        timer = None if call.deadline is None else loop.call_at(call.deadline, stream.cancel)
        shown = bool(call.request.body.get("logprobs"))
        answer = Writer(new_id("chatcmpl"), call.candidate.model)
        try:
            async with stream:
                role = {"role": "assistant"}
                async for delta in stream:
                    if call.stream and (delta.reasoning or delta.text or shown):
                        fields = {**role, "reasoning_content": delta.reasoning, "content": delta.text}
                        present = {name: text for name, text in fields.items() if text}
                        logprobs = _logprobs(delta.tokens) if shown else None
                        yield Chunk(raw=answer.delta(present, logprobs=logprobs), text=delta.text)
                        role = {}
        except Busy as error:
            raise Overloaded("the pocket pool is shutting down", retry_after=error.retry_after) from None
        finally:
            if timer is not None:
                timer.cancel()
        result = stream.result
        if result.finish_reason == "cancelled":
            raise TimedOut("the deadline passed")
        for chunk in _end(answer, result, call, shown):
            yield chunk

    async def aclose(self) -> None:
        await asyncio.to_thread(self.pool.close)


def _asked(call: Call) -> PocketRequest:
    """Raises `Unsupported` for what a pocket model cannot do, `Rejected` for a value out of range."""
    from ..pocket.requests import PocketRequest

    request, body = call.request, {**call.request.body, **call.candidate.options}
    for name in ("tools", "functions", "audio"):
        if body.get(name):
            raise Unsupported(f"pocket models have no counterpart of {name!r}")
    if body.get("n") not in (None, 1):
        raise Unsupported("pocket models give one answer (n = 1)")
    if (body.get("response_format") or {}).get("type", "text") != "text":
        raise Unsupported("pocket models have no JSON mode")
    stop = body.get("stop") or ()
    try:
        return PocketRequest(
            candidate=call.candidate.model,
            prompt=_prompt(request),
            temperature=body.get("temperature"),
            top_p=1.0 if body.get("top_p") is None else body["top_p"],
            seed=body.get("seed", request.seed),
            max_tokens=limit_of(body, request),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            top_logprobs=body.get("top_logprobs") or 0,
        )
    except RequestError as error:
        raise Rejected(f"{error.param} is out of range") from None
    except TypeError as error:
        raise Rejected(f"a sampling parameter has the wrong type ({error})") from None


def _prompt(request: Request) -> str:
    """The last user turn: pocket models were trained on single questions."""
    last = next((message for message in reversed(request.messages) if message.role == "user"), None)
    parts = last.content if last is not None and isinstance(last.content, list) else []
    if any(part.get("type") not in ("text", "input_text") for part in parts):
        raise Unsupported("pocket models read text only")
    return request.prompt


def _end(answer: Writer, result: PocketResult, call: Call, shown: bool) -> list[Chunk]:
    """The whole answer, or the last chunks of a stream."""
    counted = result.usage
    usage = Usage(counted.prompt, counted.completion, counted.cached, counted.reasoning)
    finish, confidence, energy = result.finish_reason, result.confidence, result.energy_j
    if call.stream:
        last = Chunk(raw=answer.delta({}, finish), finish=finish, confidence=confidence, energy=energy)
        return [last, Chunk(raw=answer.usage(usage) if wants_usage(call.request) else b"", usage=usage)]
    message: dict[str, Any] = {"content": result.text}
    if result.reasoning:
        message["reasoning_content"] = result.reasoning
    logprobs = _logprobs([token for token in result.tokens if token.answering]) if shown else None
    raw = answer.completion(message, finish, usage, logprobs=logprobs)
    return [Chunk(raw=raw, text=result.text, usage=usage, finish=finish, confidence=confidence, energy=energy)]


def _logprobs(tokens: Sequence[TokenLogprob]) -> Mapping[str, Any]:
    def entry(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "logprob": logprob, "bytes": list(token.encode())}

    rows = [{**entry(each.token, each.logprob), "top_logprobs": [entry(*one) for one in each.top]} for each in tokens]
    return {"content": rows}


def _candidate(known: PocketCandidate, provider: str) -> Candidate:
    from ..pocket.requests import Usage as Counted

    measured = {name: known.profile.get(name) for name in ("quality", "output_tokens", "ttft", "tokens_per_second")}
    return Candidate(
        name=known.name,
        provider=provider,
        model=known.name,
        budget=known.budget,
        profile=Profile(
            price_in=known.price_in,
            price_out=known.price_out,
            price_cached=known.price_cached,
            context_window=known.context_window,
            max_output=known.context_window,
            capabilities={
                **dict.fromkeys(CANNOT, Capability.NO),
                **dict.fromkeys(("logprobs", "seed", "stream"), Capability.YES),
            },
            trust="private",
            joules_per_token=known.energy(Counted(completion=1)),
            **measured,
        ),
    )
