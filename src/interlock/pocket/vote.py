"""The budget ``tN``: several sampled answers to one prompt, and the answer most of them agree on.

Source: Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models", ICLR 2023.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from interlock.pocket.requests import PocketResult, Timings, Usage


def elect(results: Sequence[PocketResult]) -> PocketResult:
    """The majority's answer; of equals, the one its voters were surest of.

    Text, reasoning and tokens are those of the surest vote for it. Usage, cost and energy are sums, the queue
    time is the shortest, the others the longest; ``seed`` is the first vote's.
    """
    votes = Counter(result.text for result in results)
    confidence = {text: sum(r.confidence for r in results if r.text == text) for text in votes}
    elected = max(votes, key=lambda text: (votes[text], confidence[text], text))
    speaker = max((r for r in results if r.text == elected), key=lambda r: r.confidence)
    cancelled = any(result.finish_reason == "cancelled" for result in results)
    return replace(
        speaker,
        finish_reason="cancelled" if cancelled else speaker.finish_reason,
        usage=sum((result.usage for result in results), Usage()),
        timings=Timings(
            min(result.timings.queue for result in results),
            max(result.timings.total for result in results),  # no text can be shown before the count
            max(result.timings.total for result in results),
        ),
        seed=results[0].seed,
        cost_usd=sum(result.cost_usd for result in results),
        energy_j=sum(result.energy_j for result in results),
        confidence=votes[elected] / len(results),
        votes=dict(votes.most_common()),
    )
