"""Every preset is a policy that chooses."""

from __future__ import annotations

import numpy as np
import pytest

from interlock.errors import ConfigError
from interlock.presets import PRESETS, build
from interlock.types import Candidate, Context, Profile, Request, Signal


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_chooses_among_priced_candidates(name: str) -> None:
    profile = Profile(price_in=1.0, price_out=2.0, ttft=0.1, tokens_per_second=50.0, joules_per_token=0.5)
    candidates = [Candidate(name=n, provider="p", model=n, profile=profile) for n in ("a", "b", "c")]
    context = Context(Request(), {"tokens": Signal("tokens", 20.0)}, np.ones(5, np.float32))
    policy = build(name)
    choice = policy.choose(policy.estimate([context], candidates), np.array([[True, False, True]]))
    assert np.allclose(choice.probability, [[0.5, 0.0, 0.5]])
    assert not choice.dropped.any()


def test_an_unknown_preset_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'linucb'"):
        build("linucbb")
