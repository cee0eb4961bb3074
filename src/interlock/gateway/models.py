"""GET /v1/models: what a caller may name in `model`, with honest capabilities.

A virtual model (`auto`) is a set of candidates to choose among; a candidate is also a model of its own name, which
still has to pass every guard. A virtual model can do what at least one of its candidates can; it is `unknown` when
nobody says yes but somebody might.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ..types import Candidate, Capability

Catalogue = Mapping[str, Mapping[str, Any]]


def catalogue(virtual: Mapping[str, Sequence[str]], candidates: Sequence[Candidate], created: int) -> Catalogue:
    """Name -> the OpenAI model object, with our facts in its field `interlock`. `virtual` maps a model to its globs."""
    sets = {
        name: [candidate for candidate in candidates if any(fnmatchcase(candidate.name, glob) for glob in globs)]
        for name, globs in virtual.items()
    }
    entries = {name: _entry(name, created, "interlock", _virtual(members)) for name, members in sets.items()}
    return entries | {
        candidate.name: _entry(candidate.name, created, candidate.provider, _single(candidate))
        for candidate in candidates
    }


def _entry(name: str, created: int, owner: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": owner, "interlock": facts}


def _virtual(members: Sequence[Candidate]) -> dict[str, Any]:
    profiles = [member.profile for member in members]
    names = sorted({name for profile in profiles for name in profile.capabilities})
    return {
        "virtual": True,
        "candidates": [member.name for member in members],
        "capabilities": {name: _best(member.can(name) for member in members).value for name in names},
        "context_window": _most(profile.context_window for profile in profiles),
        "max_output": _most(profile.max_output for profile in profiles),
    }


def _single(candidate: Candidate) -> dict[str, Any]:
    profile = candidate.profile
    return {
        "virtual": False,
        "model": candidate.model,
        "budget": candidate.budget,
        "capabilities": {name: answer.value for name, answer in sorted(profile.capabilities.items())},
        "context_window": profile.context_window,
        "max_output": profile.max_output,
        "price_in": profile.price_in,
        "price_out": profile.price_out,
        "trust": profile.trust,
    }


def _best(answers: Iterable[Capability]) -> Capability:
    given = set(answers)
    return next((answer for answer in (Capability.YES, Capability.UNKNOWN) if answer in given), Capability.NO)


def _most(numbers: Iterable[int | None]) -> int | None:
    """The largest; `None` (unknown) as soon as one is, since the unknown one may be larger."""
    listed = list(numbers)
    known = [number for number in listed if number is not None]
    return max(known) if known and len(known) == len(listed) else None
