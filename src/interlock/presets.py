"""Published systems as compositions, one line each: estimator, objective, exploration, and where it was published.

A block is what stands under `policy:` in interlock.yaml. Only the choosing is here: a system that also executes in its
own way (votes, probes, cascades) says so in docs/systems.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from .errors import ConfigError, nearest
from .estimators import ESTIMATORS
from .exploration import EXPLORATIONS
from .objectives import OBJECTIVES
from .policy import Policy

Block = Mapping[str, Any]
Member = TypeVar("Member")


class Preset(NamedTuple):
    """`kind` names a member of the family; every other key is a parameter of its constructor."""

    estimator: Block
    objective: Block
    exploration: Block
    source: str


def _p(estimator: Block | str, objective: Block | str, exploration: Block | str, source: str) -> Preset:
    e, o, x = ({"kind": part} if isinstance(part, str) else part for part in (estimator, objective, exploration))
    return Preset(e, o, x, source)


def _k(kind: str, **parameters: Any) -> Block:
    return {"kind": kind, **parameters}


PRESETS: dict[str, Preset] = {
    "default": _p("logistic", "weighted", _k("ucb", width=0.3), "tests/estimators/test_bandit.py"),
    "greenserv": _p(
        _k("ridge", share=0.3, noise=0.2, prior_std=0.3),
        _k("weighted", energy=0.01),
        "ucb",
        "arXiv 2601.17551, its arms",
    ),
    # As published: nothing shared, targets count from 0, rho = 2 (noise / prior_std)^2 = 0.05, alpha = width x noise.
    "greenserv_linucb": _p(
        _k("ridge", share=0.0, default=0.0, noise=1.0, prior_std=6.325),
        _k("weighted", energy=0.01),
        _k("ucb", width=0.1),
        "arXiv 2601.17551",
    ),
    "greenserv_thompson": _p(
        _k("ridge", share=0.0, default=0.0, noise=0.25, prior_std=2.0),
        _k("weighted", energy=0.01),
        "thompson",
        "arXiv 2601.17551",
    ),
    "greenserv_epsilon": _p(
        _k("ridge", share=0.0, default=0.0, noise=1.0, prior_std=2.828),
        _k("weighted", energy=0.01),
        _k("epsilon", rate=0.01),
        "arXiv 2601.17551",
    ),
    "linucb": _p("disjoint", "weighted", "ucb", "arXiv 1003.0146"),
    "linear_thompson": _p("disjoint", "weighted", "thompson", "arXiv 1209.3352"),
    "kernel_ucb": _p(_k("kernel", share=0.0), "weighted", "ucb", "arXiv 1309.6869"),
    "radar": _p("item_response", "chebyshev", "greedy", "arXiv 2509.25426"),
    "irt_router": _p(_k("item_response", rank=4), "weighted", "greedy", "arXiv 2506.01048"),
    "routellm_sw": _p("preference", "weighted", "greedy", "arXiv 2406.18665"),
    "prompt_to_leaderboard": _p(_k("logistic", forgetting=1.0), "weighted", "greedy", "arXiv 2502.14855"),
    "elo": _p("elo", "weighted", "greedy", "arXiv 2403.04132"),
    "micro": _p("mixture_preference", "weighted", "greedy", "arXiv 2505.24846"),
    "avengers": _p(_k("clusters", groups=64, warm_up=1024), "weighted", "greedy", "arXiv 2505.19797"),
    "knn_router": _p(_k("knn", neighbours=40), "weighted", "greedy", "arXiv 2403.12031"),
    "routellm_mf": _p(_k("matrix_factorization", rank=128), "weighted", "greedy", "arXiv 2406.18665"),
    "routerdc": _p("contrastive", "weighted", "greedy", "arXiv 2409.19886"),
    "graphrouter": _p("graph", "weighted", "greedy", "arXiv 2410.03834"),
    "hybrid_llm": _p(
        _k("mlp", label="match"), _k("cheapest_above", quality=0.5), "greedy", "arXiv 2404.14618, its 0/1 label"
    ),
    "auto": _p("ensemble", "weighted", "greedy", "super learner (2007)"),
    "frugal_cascade": _p("logistic", _k("cheapest_above", quality=0.9), "greedy", "arXiv 2305.05176, its first stage"),
    "automix": _p("logistic", _k("cheapest_above", quality=0.7), "greedy", "arXiv 2310.12963, its first stage"),
    "quality_cost": _p("logistic", _k("weighted", cost=20.0), "greedy", "arXiv 2403.12031, its utility"),
    "quality_cost_latency": _p(
        "logistic", _k("weighted", cost=20.0, latency=0.01), "greedy", "arXiv 2412.12170, its reward"
    ),
    "quality_cost_latency_energy": _p(
        _k("ridge", share=0.3),
        _k("weighted", cost=20.0, latency=0.01, energy=0.01),
        "greedy",
        "arXiv 2601.17551, all goals",
    ),
    "avr": _p("logistic", _k("cheapest_above", quality=0.8), "greedy", "the rule AVR applies after its probe"),
    "best_mean": _p("constant", "weighted", _k("epsilon", rate=0.1), "Sutton & Barto (2018), section 2.2"),
}


def build(name: str) -> Policy:
    """The policy of a preset, untrained. Raises `ConfigError` for a name that does not exist."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; {nearest(name, list(PRESETS))}")
    preset = PRESETS[name]
    return Policy(
        _member(ESTIMATORS, preset.estimator),
        _member(OBJECTIVES, preset.objective),
        _member(EXPLORATIONS, preset.exploration),
    )


def _member(family: Mapping[str, type[Member]], block: Block) -> Member:
    return family[block["kind"]](**{name: value for name, value in block.items() if name != "kind"})
