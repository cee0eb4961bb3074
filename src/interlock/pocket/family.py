"""The catalogue: which candidates the weight files make, what they cost and what is known of them.

A candidate is a model, a reasoning budget and perhaps an adapter: ``small-t1``, ``micro-roman-t0``.

Prices are a definition, not a market: one US dollar per 10^12 parameters touched, prompt and completion
alike, so a model with 1.3 million active parameters costs $1.3 per million tokens; reused prompt tokens
cost a tenth. Energy is a model too: two operations per active parameter and token, times a constant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlock.errors import NotFound, RequestError, WeightsError, nearest
from interlock.pocket.config import PocketConfig
from interlock.pocket.requests import Usage
from interlock.pocket.tokenizer import TOKENIZER_HASH
from interlock.pocket.weights import WeightFile, load, metadata

SHIPPED = Path(__file__).parent / "weights"
"""The weights that come with the package."""

BUDGETS = ("t0", "t1", "t2", "tN")
"""Answer at once, scratchpad, scratchpad with self-check, and a vote over several scratchpads."""

EFFORTS = {"none": "t0", "minimal": "t0", "low": "t1", "medium": "t2", "high": "tN"}
"""Values of the OpenAI field ``reasoning_effort`` and the budgets they mean."""

USD_PER_PARAMETER_TOKEN = 1e-12
CACHED_SHARE = 0.1
JOULES_PER_FLOP = 6e-11
"""One core of a recent server CPU doing 80 GFLOP/s in float32 at an assumed 5 W."""


@dataclass(frozen=True, slots=True)
class PocketCandidate:
    """One way of asking a pocket model. Prices are in USD per million tokens.

    ``profile`` holds what calibration measured for it, empty where it was not calibrated.
    """

    name: str
    model: str
    budget: str
    adapter: str
    active_params: int
    context_window: int
    profile: Mapping[str, Any]

    @property
    def price_in(self) -> float:
        return self.active_params * USD_PER_PARAMETER_TOKEN * 1e6

    @property
    def price_out(self) -> float:
        return self.price_in

    @property
    def price_cached(self) -> float:
        return self.price_in * CACHED_SHARE

    def cost(self, usage: Usage) -> float:
        """USD."""
        fresh = usage.prompt - usage.cached
        return (fresh * self.price_in + usage.cached * self.price_cached + usage.completion * self.price_out) / 1e6

    def energy(self, usage: Usage) -> float:
        """Joules by the stated model; reused prompt tokens are not computed and cost nothing."""
        return 2 * self.active_params * (usage.prompt - usage.cached + usage.completion) * JOULES_PER_FLOP


@dataclass(frozen=True, slots=True)
class Member:
    """A full model with the adapters that belong to it."""

    file: WeightFile
    adapters: tuple[WeightFile, ...]

    @property
    def config(self) -> PocketConfig:
        return self.file.config


class Family:
    """Loaded weights and the candidates they make, by name: every budget, or those that the file's metadata names."""

    def __init__(self, members: Sequence[Member], profiles: Mapping[str, Any]) -> None:
        self.members = {member.file.name: member for member in members}
        self.candidates: dict[str, PocketCandidate] = {}
        for member in members:
            for adapter in (None, *member.adapters):
                for budget in _budgets(adapter or member.file):
                    candidate = _candidate(member, adapter, budget, profiles)
                    self.candidates[candidate.name] = candidate

    def candidate(self, name: str) -> PocketCandidate:
        """Raises: NotFound, with the nearest name."""
        try:
            return self.candidates[name]
        except KeyError:
            hint = nearest(name, list(self.candidates))
            raise NotFound(f"no pocket candidate {name!r}; {hint}", param="model", code="model_not_found") from None

    def resolve(self, name: str, effort: str | None = None) -> PocketCandidate:
        """The candidate that a model name and a ``reasoning_effort`` mean together.

        A name may leave the budget to the effort, whose default is none (``t0``).

        Raises:
            NotFound: no such model.
            RequestError: an unknown effort, or one that contradicts the budget in the name.
        """
        if effort is not None and effort not in EFFORTS:
            known = ", ".join(EFFORTS)
            raise RequestError(f"reasoning_effort must be one of {known}, got {effort!r}", param="reasoning_effort")
        if name not in self.candidates:
            return self.candidate(f"{name}-{EFFORTS[effort or 'none']}" if self._is_model(name) else name)
        candidate = self.candidates[name]
        if effort is not None and EFFORTS[effort] != candidate.budget:
            problem = f"model {name!r} fixes the budget {candidate.budget}, reasoning_effort {effort!r} is another"
            raise RequestError(f"{problem} ({EFFORTS[effort]}); send one of the two", param="reasoning_effort")
        return candidate

    def _is_model(self, name: str) -> bool:
        return f"{name}-{BUDGETS[0]}" in self.candidates


def load_family(path: Path | None = None, names: Sequence[str] | None = None) -> Family:
    """Load weight files and the calibration beside them.

    Args:
        path: folder of ``*.safetensors`` files; the shipped one by default.
        names: models to load, each with its adapters; all by default. Files of others stay unread.

    Raises:
        WeightsError: a file is damaged, altered, made for another tokenizer, or an adapter does not fit its
            base; or the folder holds no model.
        NotFound: a name is not among the models.
    """
    folder = path or SHIPPED
    about = {path: metadata(path) for path in sorted(folder.glob("*.safetensors"))}
    there = [head["name"] for head in about.values() if "name" in head and not head.get("base")]
    for name in names or ():
        if there and name not in there:
            raise NotFound(f"no pocket model {name!r}; {nearest(name, there)}", param="model")
    wanted = [p for p, head in about.items() if not names or not head or (head.get("base") or head["name"]) in names]
    files = [load(path) for path in wanted]
    models = {file.name: file for file in files if not file.base}
    if not models:
        raise WeightsError(f"{folder} holds no pocket model (*.safetensors)")
    for file in files:
        _check_fit(file, models)
    chosen = [models[name] for name in names] if names else sorted(models.values(), key=lambda file: file.params)
    members = [Member(model, tuple(file for file in files if file.base == model.name)) for model in chosen]
    return Family(members, _profiles(folder))


def _candidate(member: Member, adapter: WeightFile | None, budget: str, profiles: Mapping[str, Any]) -> PocketCandidate:
    stem = adapter.name if adapter else member.file.name
    active = member.config.active_params + (adapter.params if adapter else 0)
    name = f"{stem}-{budget}"
    return PocketCandidate(
        name, member.file.name, budget, adapter.name if adapter else "", active, member.config.context,
        profiles.get(name, {}),
    )  # fmt: skip


def _budgets(file: WeightFile) -> tuple[str, ...]:
    """The budgets a file was trained for: all where it does not say."""
    return tuple(file.metadata["budgets"].split()) if "budgets" in file.metadata else BUDGETS


def _check_fit(file: WeightFile, models: Mapping[str, WeightFile]) -> None:
    if BUDGETS[0] not in _budgets(file) or not set(_budgets(file)) <= set(BUDGETS):
        known = ", ".join(BUDGETS)
        raise WeightsError(f"{file.name} names the budgets {_budgets(file)}; it needs t0 and may have {known}")
    tokenizer = file.metadata.get("tokenizer_sha256", TOKENIZER_HASH)
    if tokenizer != TOKENIZER_HASH:
        raise WeightsError(
            f"{file.name} was trained with another tokenizer ({tokenizer[:12]}, not {TOKENIZER_HASH[:12]})"
        )
    if file.base and file.base not in models:
        raise WeightsError(f"adapter {file.name} belongs to {file.base!r}, which is not there")
    if file.base and file.config != models[file.base].config:
        raise WeightsError(f"adapter {file.name} has another shape than its base {file.base}")


def _profiles(folder: Path) -> Mapping[str, Any]:
    """What ``calibration.json`` says of each candidate, with its ``accuracy`` on the mix frozen in ``bench.json``."""
    path = folder / "calibration.json"
    if not path.exists():
        return {}
    try:
        profiles: dict[str, Any] = json.loads(path.read_text("utf-8"))["candidates"]
        mix = json.loads((folder / "bench.json").read_text("utf-8"))["weights"]
        return {name: {**profile, "accuracy": _accuracy(profile["tasks"], mix)} for name, profile in profiles.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not a calibration table: {error!r}") from error


def _accuracy(tasks: Mapping[str, Mapping[str, Any]], mix: Mapping[str, Mapping[str, float]]) -> float:
    cells = [(task, level, weight) for task, levels in mix.items() for level, weight in levels.items() if weight]
    right = sum(weight * tasks[task][level]["accuracy"] for task, level, weight in cells)
    return float(right / sum(weight for _, _, weight in cells))
