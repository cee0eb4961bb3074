from __future__ import annotations

import math

import pytest

from interlock.pocket.config import SIZES, PocketConfig


@pytest.mark.parametrize("name", SIZES)
def test_the_parameter_count_is_the_sum_of_the_shapes(name: str) -> None:
    config = SIZES[name]
    assert config.params == sum(math.prod(shape) for shape in config.shapes().values())


def test_a_tied_model_has_no_head_of_its_own() -> None:
    untied, tied = PocketConfig(48, 2, 3), PocketConfig(48, 2, 3, tied=True)
    assert "head" not in tied.shapes()
    assert untied.params - tied.params == 512 * 48
    assert tied.active_params == untied.active_params


def test_json_round_trip() -> None:
    config = PocketConfig(96, 3, 4, context=4096, rope_base=10_000.0)
    assert PocketConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"d": 48, "layers": 2, "heads": 3, "depth": 1}', "unknown"),
        ('{"d": 48}', "lacks"),
        ("[1]", "object"),
        ('{"d": 48, "layers": 2, "heads": 5}', "split"),
        ('{"d": 45, "layers": 2, "heads": 3}', "even"),
        ('{"d": 48, "layers": 0, "heads": 3}', "layers must be positive"),
    ],
)
def test_a_wrong_config_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        PocketConfig.from_json(text)
