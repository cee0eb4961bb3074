"""What may be said of an answer, and by whom: a score that can be learnt, from somebody who is not judged by it."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import RequestError
from .types import Candidate, Feedback


def check(feedback: Feedback, candidates: Iterable[Candidate]) -> None:
    """Raises `RequestError` for a score outside 0 to 1, or a source that is a model or the router itself."""
    from .learning.standing import OUTCOME

    source = feedback.source
    if not 0.0 <= feedback.score <= 1.0:
        raise RequestError(f"the score {feedback.score:g} is outside 0 to 1", param="score")
    if source == OUTCOME:  # it stands beyond the doubt that a tenant's scores may meet
        raise RequestError(f"{source!r} is the router itself; name who gives the score", param="source")
    if any(source in (known.name, known.provider, known.model) for known in candidates):
        raise RequestError(f"{source!r} is a model: a model may never score itself", param="source")
