"""A policy is three independent choices, estimator x objective x exploration, and what candidates consume.

`estimate` and `choose` are pure and serve requests; `learn` folds events and belongs to the learner. State is a value:
`state()` gives bytes that are equal whenever the same events were learnt in the same order, `restore` takes them back.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from .calibration import Calibration, Rung
from .consumption import Consumption
from .errors import SnapshotError
from .estimators import Estimator
from .exploration import Exploration, usable, within
from .objectives import LimitRows, Objective, Promise
from .types import Array, Candidate, Context, Estimate, Mask, Usage, Vector

log = logging.getLogger("interlock.policy")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What one ledger row teaches about `candidate` on the request with this `vector`.

    An `outcome` teaches what an answered call consumed (`usage`, `latency` and `ttft` in seconds, `energy` in joules;
    `prompt_tokens` is the decision's own `tokens` signal, 0 if unknown). A `score` teaches its quality in [0, 1] with a
    `weight`; a negative weight withdraws an earlier score and needs `Policy.revocable`.
    """

    kind: Literal["outcome", "score"]
    candidate: str
    vector: Vector
    score: float = 0.0
    weight: float = 1.0
    usage: Usage = Usage()
    prompt_tokens: float = 0.0
    latency: float | None = None
    ttft: float | None = None
    energy: float | None = None
    ladder: tuple[Rung, ...] = ()
    """Of a score on the chosen candidate's answer: what the decision expected of all who were permitted."""


class Choice(msgspec.Struct, frozen=True):
    """Utility and probability (n, k); `dropped` marks permitted candidates left out since a number was not finite.

    `promised` (n, k) says which candidates the objective's promise covers; `None` when it promises nothing.
    """

    utility: Array
    probability: Array
    dropped: Mask
    promised: Mask | None = None


@dataclass
class Policy:
    """`columns` names the vector's layout: a snapshot learnt on another layout is refused rather than misread."""

    estimator: Estimator
    objective: Objective
    exploration: Exploration
    consumption: Consumption = field(default_factory=Consumption)
    calibration: Calibration = field(default_factory=Calibration)
    columns: Sequence[str] = ()
    skipped: dict[str, int] = field(default_factory=dict, init=False)
    """Events that could not be learnt, counted by reason. Part of the state."""

    @property
    def name(self) -> str:
        return "+".join(type(part).__name__.lower() for part in (self.estimator, self.objective, self.exploration))

    @property
    def revocable(self) -> bool:
        return self.estimator.revocable

    def estimate(self, contexts: Sequence[Context], candidates: Sequence[Candidate]) -> Estimate:
        """What is expected of every candidate for every request. A vector that is not finite has no estimate: NaN."""
        vectors = np.array([context.vector for context in contexts], dtype=np.float64)
        finite = np.isfinite(vectors)
        if broken := not finite.all():
            vectors[~finite.all(axis=1)] = 0.0
        prior = np.array([np.nan if c.profile.quality is None else c.profile.quality for c in candidates])
        quality, std = self.estimator.predict(vectors, [c.name for c in candidates], prior)
        quality = within(quality, 0.0, 1.0)
        expected = self.consumption.predict(contexts, candidates, vectors)
        estimate = Estimate(quality, std, expected.cost, expected.latency, expected.energy)
        if broken:
            for name in estimate.__struct_fields__:
                getattr(estimate, name)[~finite.all(axis=1)] = np.nan
        return estimate

    def choose(self, estimate: Estimate, permitted: Mask, limits: LimitRows = None) -> Choice:
        """Utilities and the probability of each permitted candidate. Rows without a usable candidate are all zeros."""
        objective, promised = self.objective, None
        with np.errstate(invalid="ignore", over="ignore"):
            if isinstance(objective, Promise):
                objective = objective.calibrated(self.calibration)
                promised = objective.accepts(estimate)
            utility, std = objective.utility(estimate, limits), objective.std(estimate)
        probability = self.exploration.probabilities(utility, std, permitted)
        return Choice(utility, probability, permitted & ~usable(utility, std, permitted), promised)

    def learn(self, event: Event) -> None:
        """Fold one event. One that cannot be learnt is counted in `skipped`; the fold goes on."""
        reason = self._unlearnable(event)
        if reason:
            if reason not in self.skipped:
                log.warning("an event about %s cannot be learnt: %s (counted from here on)", event.candidate, reason)
            self.skipped[reason] = self.skipped.get(reason, 0) + 1
        elif event.kind == "score":
            self.estimator.partial_fit(event.vector[None, :], [event.candidate], [event.score], [event.weight])
            if event.ladder:
                self.calibration.learn(event.ladder, event.candidate, event.score, event.weight)
        else:
            vector = event.vector.astype(np.float64)
            self.consumption.learn(
                event.candidate, vector, event.prompt_tokens, event.usage, event.latency, event.ttft, event.energy
            )

    def _unlearnable(self, event: Event) -> str:
        if self.columns and len(event.vector) != len(self.columns):
            return "vector of another width"
        if not np.isfinite(event.vector).all():
            return "vector not finite"
        if event.kind == "score":
            if not np.isfinite([event.score, event.weight]).all():
                return "score not finite"
            if not 0.0 <= event.score <= 1.0:
                return "score outside [0, 1]"
            if event.weight < 0 and not self.revocable:
                return "revocation not possible"
        return ""

    def prepare(self) -> Self:
        """Derive from the state what requests need (matrix inverses), so that no request pays for it."""
        self.estimator.prepare()
        self.consumption.prepare()
        if isinstance(self.objective, Promise):
            self.objective.calibrated(self.calibration)  # kept by the calibration
        return self

    def state(self) -> bytes:
        """Everything learnt, as deterministic msgpack."""
        value = {
            "composition": self._composition(),
            "estimator": self.estimator.state(),
            "consumption": self.consumption.state(),
            "calibration": self.calibration.state(),
            "skipped": self.skipped,
        }
        return _ENCODER.encode(value)

    def restore(self, state: bytes) -> Self:
        """Raises `SnapshotError`, changing nothing, if the bytes are damaged or another composition learnt them."""
        try:
            value = _DECODER.decode(state)
            own = self._composition()
            changed = sorted(key for key in own if value["composition"][key] != own[key])
            if changed:
                raise SnapshotError(f"the snapshot was learnt with another {', '.join(changed)}")
            estimator = copy.copy(self.estimator).restore(value["estimator"])
            consumption = copy.copy(self.consumption).restore(value["consumption"])
            calibration = copy.copy(self.calibration).restore(value["calibration"])
            skipped = dict(value["skipped"])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise SnapshotError(f"the snapshot cannot be read: {error}") from error
        self.estimator, self.consumption, self.calibration = estimator, consumption, calibration
        self.skipped = skipped
        return self

    def clone(self) -> Self:
        """An independent policy with the same state."""
        other = copy.copy(self)
        other.estimator = copy.copy(self.estimator).restore(self.estimator.state())
        other.consumption = copy.copy(self.consumption).restore(self.consumption.state())
        other.calibration = copy.copy(self.calibration).restore(self.calibration.state())
        other.skipped = dict(self.skipped)
        return other

    def _composition(self) -> dict[str, Any]:
        """What a state depends on. The objective and the exploration may change without learning anew."""
        return {
            "estimator": [type(self.estimator).__name__, _hyper_parameters(self.estimator)],
            "consumption": _hyper_parameters(self.consumption),
            "calibration": _hyper_parameters(self.calibration),
            "columns": list(self.columns),
        }


def _hyper_parameters(part: Any) -> dict[str, Any]:
    """As they are after a round trip through a snapshot: a tuple comes back as a list."""
    known = {field.name: getattr(part, field.name) for field in fields(part) if not field.name.startswith("_")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in known.items()}


_ARRAY = 1  # msgpack extension code: dtype, shape and bytes of a numpy array


def _encode(value: Any) -> msgspec.msgpack.Ext:
    if isinstance(value, np.ndarray):
        parts = value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes()
        return msgspec.msgpack.Ext(_ARRAY, msgspec.msgpack.encode(parts))
    raise TypeError(f"a state holds a {type(value).__name__}: only plain values and arrays can be stored")


def _decode(code: int, data: memoryview) -> NDArray[Any]:
    if code != _ARRAY:
        raise ValueError(f"unknown extension {code}")
    dtype, shape, content = msgspec.msgpack.decode(data)
    return np.frombuffer(content, dtype=np.dtype(dtype)).reshape(shape)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode, order="deterministic")
_DECODER = msgspec.msgpack.Decoder(ext_hook=_decode)
