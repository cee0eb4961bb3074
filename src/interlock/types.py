"""The nouns. One file, no I/O, no behaviour beyond what can be derived from the fields.

A `Request` becomes a `Context` (signals and a vector), guards give each `Candidate` its `Reason`s, a policy gives
`Estimate`s, utilities and probabilities, and all of that is one `Decision`. Carrying it out yields an `Outcome`;
people, judges and verifiers add `Feedback` later.

Units everywhere: money in USD (prices in USD per million tokens), time in seconds, energy in joules, quality in [0, 1].
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Vector = NDArray[np.float32]
Mask = NDArray[np.bool_]


class Capability(Enum):
    """Whether a candidate can do something. `UNKNOWN` is an answer: the capability guard says what it does with it."""

    NO = "no"
    UNKNOWN = "unknown"
    YES = "yes"


def new_id(prefix: str = "il") -> str:
    """A sortable identifier: milliseconds since the epoch, then 72 random bits."""
    return f"{prefix}-{time.time_ns() // 1_000_000:012x}{_random_bits()}"


def time_of(id: str) -> float | None:
    """When an identifier of `new_id` was made, in seconds since the epoch; `None` for any other."""
    found = _MADE.match(id)
    return None if found is None else int(found[1], 16) / 1000


_MADE = re.compile(r"^[a-z]+-([0-9a-f]{12})[0-9a-f]{18}(?:$|\.)")


def _random_bits() -> str:
    """72 bits in hex. Drawn 256 at a time: each system call would hand Python's lock to another thread."""
    while True:
        try:
            return _drawn.pop()
        except IndexError:
            fresh = os.urandom(9 * 256).hex()
            _drawn.extend(fresh[start : start + 18] for start in range(0, len(fresh), 18))


_drawn: list[str] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)  # no two processes may draw the same


class Message(msgspec.Struct, frozen=True, gc=False):
    """One turn. `content` is text, or the parts of a multimodal message as they came; `tool_calls` likewise."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        parts = self.content or []
        return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") in ("text", "input_text"))


class Limits(msgspec.Struct, frozen=True, gc=False):
    """What the caller will not accept: cost above `max_cost` USD, an answer after `deadline` seconds, quality below."""

    max_cost: float | None = None
    deadline: float | None = None
    min_quality: float | None = None


class Native(msgspec.Struct, frozen=True):
    """A request as its caller put it, where that was not in chat: a provider of that dialect gets it as it is.

    `only` names what chat has no words for, so that nobody but such a provider may serve it. `betas` are the unfinished
    features of the dialect that the caller asks for. `signed` names reasoning in a turn that is not over, which its
    provider has signed: others would have to go on without.
    """

    dialect: str
    body: Mapping[str, Any]
    only: tuple[str, ...] = ()
    betas: str = ""
    signed: tuple[str, ...] = ()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be routed. `needs` names required capabilities (`tools`, `json`, `image`, `audio`, `logprobs` ...)."""

    id: str = msgspec.field(default_factory=new_id)
    messages: tuple[Message, ...] = ()
    model: str = "auto"
    needs: frozenset[str] = frozenset()
    tenant: str = ""
    session: str = ""
    program: str = ""
    limits: Limits = Limits()
    hints: Mapping[str, str] = msgspec.field(default_factory=dict)
    max_tokens: int | None = None
    stream: bool = False
    seed: int | None = None
    key: str = ""
    """Which key it came with: the key's id, never its secret."""
    allowed: tuple[str, ...] | None = None
    """Globs of the candidates that the key may use; `None` is all."""
    reserved: float | None = None
    """USD set aside for it; a candidate that might cost more may not serve. `None` where no hard budget applies."""
    writer: str = ""
    """Which life of which process counts what it spends; empty where one process counts all of its ledger."""
    body: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """The caller's own fields, forwarded untouched to the provider (temperature, tools, response_format ...)."""
    native: Native | None = None
    traceparent: str = ""
    """The W3C trace context that it came with, if any."""
    cache: str = ""
    """`no-cache`: no earlier answer, please; `no-store`: nor is this one to be kept. As in HTTP's `cache-control`."""

    @property
    def prompt(self) -> str:
        """The text of the last user turn: what task-like signals look at."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), "")


class Signal(msgspec.Struct, frozen=True, gc=False):
    """A named fact about a request. `evidence` may quote the prompt, so the ledger drops it unless told otherwise."""

    name: str
    value: float | str | bool | None
    confidence: float = 1.0
    evidence: str = ""
    seconds: float = 0.0


class Context(msgspec.Struct, frozen=True):
    """A request as the policy sees it: its signals by name, and one dense vector (float32, length d, no bias term)."""

    request: Request
    signals: Mapping[str, Signal]
    vector: Vector

    def number(self, name: str, default: float = 0.0) -> float:
        signal = self.signals.get(name)
        value = None if signal is None else signal.value
        return float(value) if isinstance(value, int | float) else default


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a candidate before it is asked. `None` means unknown, never zero."""

    price_in: float | None = None
    price_out: float | None = None
    price_cached: float | None = None
    price_cache_write: float | None = None
    context_window: int | None = None
    max_output: int | None = None
    capabilities: Mapping[str, Capability] = msgspec.field(default_factory=dict)
    trust: str = "public"
    quality: float | None = None
    output_tokens: float | None = None
    ttft: float | None = None
    tokens_per_second: float | None = None
    joules_per_token: float | None = None


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """Anything that can be chosen. A model at two reasoning budgets is two candidates."""

    name: str
    provider: str
    model: str
    budget: str = ""
    profile: Profile = Profile()
    options: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Fields set on every call to it, e.g. `{"reasoning_effort": "low"}`."""
    quota_domain: str = ""
    """Candidates of one domain share one quota and one account; empty is the provider's."""

    @property
    def domain(self) -> str:
        return self.quota_domain or self.provider

    def can(self, capability: str) -> Capability:
        return self.profile.capabilities.get(capability, Capability.UNKNOWN)


class Estimate(msgspec.Struct, frozen=True):
    """What a policy expects of k candidates for n requests. Every array is (n, k) float64; NaN means no estimate."""

    quality: Array
    quality_std: Array
    cost: Array
    latency: Array
    energy: Array


class Reason(msgspec.Struct, frozen=True, gc=False):
    """Why a guard rules a candidate out: `guard` and `code` for machines, `detail` and what would help for people."""

    guard: str
    code: str
    detail: str
    remedy: str = ""


NUMBERS = ("quality", "quality_std", "cost", "latency", "energy", "utility", "probability")
"""The numbers of a `Considered`, in their order."""


class Considered(msgspec.Struct, frozen=True):
    """One candidate's row in a decision. Forbidden candidates have probability 0 and at least one reason."""

    candidate: str
    reasons: tuple[Reason, ...]
    quality: float
    quality_std: float
    cost: float
    latency: float
    energy: float
    utility: float
    probability: float

    @property
    def permitted(self) -> bool:
        return not self.reasons

    @property
    def grade(self) -> str:
        """`permitted`, `but for <guard>` when exactly one guard stands in the way, else `forbidden`."""
        guards = {reason.guard for reason in self.reasons}
        return "permitted" if not guards else f"but for {guards.pop()}" if len(guards) == 1 else "forbidden"


class Slate(Sequence[Considered]):
    """The candidates of one decision side by side; one becomes a `Considered` when somebody looks at it.

    `names` and `reasons` have k entries, `numbers` is (k, 7) float64: `Considered`'s numbers in their order.
    """

    __slots__ = ("names", "numbers", "reasons")

    def __init__(self, names: Sequence[str], reasons: Sequence[tuple[Reason, ...]], numbers: Array) -> None:
        self.names, self.reasons, self.numbers = names, reasons, numbers

    @classmethod
    def of(cls, rows: Sequence[Considered]) -> Slate:
        if isinstance(rows, Slate):
            return rows
        numbers = [[getattr(row, name) for name in NUMBERS] for row in rows]
        return cls(
            tuple(row.candidate for row in rows),
            tuple(row.reasons for row in rows),
            np.array(numbers, np.float64).reshape(len(rows), len(NUMBERS)),
        )

    @overload
    def __getitem__(self, index: int) -> Considered: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Considered, ...]: ...
    def __getitem__(self, index: int | slice) -> Considered | tuple[Considered, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        return Considered(self.names[index], self.reasons[index], *self.numbers[index].tolist())

    def __iter__(self) -> Iterator[Considered]:
        for name, reasons, numbers in zip(self.names, self.reasons, self.numbers.tolist(), strict=True):
            yield Considered(name, reasons, *numbers)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was considered, with which probability, and what was chosen (`None`: refused).

    `degraded` is empty in normal operation, else how far the policy had to fall back: `last_good`, `no_promise` (the
    objective `promise` could not promise anything of the chosen candidate) or `default_order`. `key` is the id of the
    key it came with, `reserved` the USD set aside for it, `writer` the life of the process that counts what it spends.
    """

    id: str
    at: float
    tenant: str
    session: str
    model: str
    considered: Sequence[Considered]
    chosen: str | None
    policy: str
    snapshot: str
    config: str
    seed: int
    degraded: str = ""
    key: str = ""
    reserved: float = 0.0
    writer: str = ""
    signals: Mapping[str, Signal] = msgspec.field(default_factory=dict)
    vector: Vector = msgspec.field(default_factory=lambda: np.zeros(0, np.float32))
    seconds: float = 0.0

    def row(self, candidate: str | None) -> Considered | None:
        return next((row for row in self.considered if row.candidate == candidate), None)

    @property
    def probability(self) -> float:
        """How likely the chosen candidate was; what off-policy evaluation divides by. 0 for a refusal."""
        row = self.row(self.chosen)
        return 0.0 if row is None else row.probability

    @property
    def runner_up(self) -> Considered | None:
        """The permitted candidate with the highest utility among those not chosen."""
        others = [row for row in self.considered if row.permitted and row.candidate != self.chosen]
        return max(others, key=lambda row: -math.inf if math.isnan(row.utility) else row.utility, default=None)


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens as the provider counts them.

    `cached`, read from the provider's cache, and `cache_write`, written to it at a price of its own, are parts of
    `input`; `reasoning` is part of `output`.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    reasoning: int = 0
    cache_write: int = 0


AFFINITY = "affinity"
"""The signal that names who has a conversation in its cache; its confidence is the share of the prompt found there."""

CACHE = "cache"
"""Why a step that was no call: an answer the candidate gave before was given again."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """One call to one candidate inside an execution: why it was made and how it ended (`error` is an error code).

    `similarity` is how near the request was to the one whose answer the cache gave, in [0, 1]: 1 for the same.
    """

    candidate: str
    why: str
    error: str = ""
    usage: Usage = Usage()
    cost: float = 0.0
    seconds: float = 0.0
    confidence: float | None = None
    began: float | None = None
    """Seconds into the run; `None` for a call that was not made."""
    similarity: float | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What carrying out a decision cost and gave. `candidate` is the one whose answer was returned; cost sums steps.

    `quality` stays `None` until somebody other than the candidate itself has judged the answer.
    """

    decision: str
    at: float
    candidate: str | None
    steps: tuple[Step, ...]
    usage: Usage = Usage()
    cost: float = 0.0
    latency: float = 0.0
    ttft: float | None = None
    energy: float | None = None
    finish: str = ""
    error: str = ""
    quality: float | None = None

    @property
    def cached(self) -> bool:
        """Whether nobody was called: what it cost and how long it took then say nothing of the candidate."""
        return any(step.why == CACHE for step in self.steps)


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """A later score in [0, 1] for one decision, from a person, judge or verifier. The last from a source wins.

    `revoked=True` withdraws the source's earlier score.
    """

    decision: str
    at: float
    score: float
    source: str
    tenant: str = ""
    note: str = ""
    revoked: bool = False


class Chunk(msgspec.Struct, frozen=True):
    """A piece of a provider's answer in the OpenAI chat shape.

    `raw` is the JSON to forward: one `chat.completion.chunk` when streaming, the whole `chat.completion` when not.
    `native` is the same as the provider said it, where it was asked in the caller's own dialect: JSON, or an event.
    """

    raw: bytes
    text: str = ""
    usage: Usage | None = None
    finish: str = ""
    confidence: float | None = None
    energy: float | None = None
    native: bytes = b""


class Answer(msgspec.Struct, frozen=True):
    """What `Router.route` gives: the decision, how it went, the answer's text and the provider's own JSON."""

    decision: Decision
    outcome: Outcome
    text: str
    raw: bytes


Names = Sequence[str]
