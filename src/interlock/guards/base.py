"""What a guard is: it looks at a request and its candidates and says which may not serve, and why. It only removes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol, runtime_checkable

from ..types import Candidate, Context, Estimate, Reason

Objection = tuple[int, Reason]
"""The index of a candidate and what stands against it."""


class Guard(Protocol):
    """A hard constraint. Pure: it may read clocks and boards, but changes nothing."""

    @property
    def name(self) -> str: ...

    def check(self, context: Context, candidates: Sequence[Candidate]) -> Iterable[Objection]: ...


@runtime_checkable
class EstimateGuard(Protocol):
    """A hard constraint on what is predicted. `estimate` has shape (1, k).

    `concerns` is a quick look at whether there is anything to check at all; it must not say no when there is.
    """

    @property
    def name(self) -> str: ...

    def concerns(self, context: Context) -> bool: ...

    def check_estimate(
        self, context: Context, candidates: Sequence[Candidate], estimate: Estimate
    ) -> Iterable[Objection]: ...


def matches(candidate: Candidate, globs: Iterable[str]) -> bool:
    """Whether any of the globs, such as `local-*`, matches the candidate's name. Case matters."""
    return any(fnmatchcase(candidate.name, glob) for glob in globs)
