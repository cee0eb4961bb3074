"""Growth changes no logit, leaves no parameter without a gradient, and refuses what it cannot keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from interlock.pocket.config import PocketConfig  # noqa: E402
from interlock.pocket.grow import grow  # noqa: E402
from interlock.pocket.model import PocketLM  # noqa: E402

SMALL = PocketConfig(d=32, layers=2, heads=2)
LARGE = PocketConfig(d=80, layers=4, heads=5)


def model_of(config: PocketConfig, tensors: dict[str, np.ndarray]) -> PocketLM:
    model = PocketLM(config)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()}, strict=True)
    return model


@pytest.mark.parametrize(
    "target", [LARGE, replace(SMALL, layers=3), PocketConfig(d=48, layers=2, heads=3), SMALL], ids=str
)
def test_a_grown_model_computes_the_same(tensors_of, target: PocketConfig) -> None:
    tensors = tensors_of(SMALL)
    ids = torch.randint(16, 512, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = model_of(SMALL, tensors)(ids)
        after = model_of(target, grow(tensors, SMALL, target))(ids)
    torch.testing.assert_close(after, before, atol=2e-3, rtol=1e-4)


def test_two_steps_of_training_reach_every_new_parameter(tensors_of) -> None:
    model = model_of(LARGE, grow(tensors_of(SMALL), SMALL, LARGE))
    ids = torch.randint(16, 512, (4, 64), generator=torch.Generator().manual_seed(0))
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):  # the writers move first, then what they hid
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimiser.step()
    for name, value in model.named_parameters():
        moved = (value != start[name]).reshape(len(value), -1).any(1)
        assert moved.float().mean() > (0.3 if name[0] == "e" else 0.95), name  # embeddings: only rows of tokens seen


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (replace(LARGE, heads=10, d=160), None),
        (PocketConfig(d=80, layers=1, heads=5), "layers cannot shrink from 2 to 1"),
        (PocketConfig(d=80, layers=4, heads=4), "head_dim must stay 16, not 20"),
        (replace(LARGE, rope_base=1e4), "rope_base must stay 1000.0"),
        (replace(LARGE, tied=True), "tied must stay False"),
    ],
)
def test_what_cannot_be_kept_is_refused(tensors_of, target: PocketConfig, problem: str | None) -> None:
    if problem is None:
        assert grow(tensors_of(SMALL), SMALL, target).keys() == target.shapes().keys()
        return
    with pytest.raises(ValueError, match=problem):
        grow(tensors_of(SMALL), SMALL, target)
