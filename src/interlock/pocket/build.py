"""Building the shipped family: train a member into the weights folder, then measure them all and freeze the bench."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from interlock.pocket import mix
from interlock.pocket.calibrate import CELLS, Candidate, Table, candidates, cell_examples, freeze, measure, write
from interlock.pocket.config import SIZES
from interlock.pocket.grow import grow
from interlock.pocket.ladder import Ladder, best_buys, climb, falls_with_level, gain, plot
from interlock.pocket.level_mix import Targets
from interlock.pocket.model import PocketLM, model_of, tensors
from interlock.pocket.specialise import RECIPE, SPECIALITIES, specialise
from interlock.pocket.stages import FAMILY, GROWN, fit_stages
from interlock.pocket.tasks import Task
from interlock.pocket.weights import load, save, write_manifest

SPECIALIST_BASE = "micro"
BENCH_PROMPTS = 2000
PROMPTS_ELSEWHERE = 8
"""Test prompts of each cell on which a specialist is compared with its base outside its domain."""

MEMBERS: tuple[str, ...] = (*FAMILY, *(f"{SPECIALIST_BASE}-{name}" for name in SPECIALITIES))
"""Everything that can be trained, in the order in which it must be."""

TARGETS = Targets(
    cheapest="nano-t0",
    best="small-t1",
    steps=(
        ("nano-t0", "micro-t0"),
        ("micro-t0", "small-t0"),
        ("nano-t1", "micro-t1"),
        ("micro-t1", "small-t1"),
        ("nano-t0", "nano-t1"),
        ("micro-t0", "micro-t1"),
        ("small-t0", "small-t1"),
    ),
)
"""What the bench mix is chosen to show."""


def steps_of(name: str) -> int:
    """How many optimiser steps a member's training takes, all stages together.

    Raises ValueError for an unknown name.
    """
    if name not in MEMBERS:
        raise ValueError(f"no recipe for {name!r}; the family is {', '.join(MEMBERS)}")
    return sum(stage.recipe.steps for stage in FAMILY[name]) if name in FAMILY else RECIPE.steps


def train_member(
    name: str,
    runs: Path,
    weights: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    workers: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> str:
    """Train one member, or resume it from its folders in ``runs``, and write its weight file and the manifest.

    The unrounded weights of a full model are kept in ``weights / "fp32"``; ``workers`` processes make its batches.

    ``report(step, loss)`` is called every few of the ``steps_of(name)`` steps. Returns the file's SHA-256.

    Raises ValueError for an unknown name, or WeightsError if what a member builds on has not been trained yet.
    """
    steps_of(name)
    path = weights / f"{name}.safetensors"
    if name in FAMILY:
        config = SIZES[name]
        start, metadata = _start(name, weights, seed)
        trained = fit_stages(
            config, FAMILY[name], runs, seed=seed, device=device, start=start, workers=workers, report=report
        )
        metadata = trained.metadata | metadata
        master = tensors(trained.model)
        save(weights / "fp32" / path.name, master, name=name, config=config, metadata=metadata, precision="fp32")
        digest = save(path, master, name=name, config=config, metadata=metadata)
    else:
        base = load(weights / f"{SPECIALIST_BASE}.safetensors")
        speciality = SPECIALITIES[name.removeprefix(f"{SPECIALIST_BASE}-")]
        factors, metadata = specialise(
            base, speciality, RECIPE, runs / name, name=name, seed=seed, device=device, report=report
        )
        digest = save(path, factors, name=name, config=base.config, metadata=metadata, precision="fp16")
    write_manifest(weights)
    return digest


def _start(name: str, weights: Path, seed: int) -> tuple[PocketLM | None, dict[str, str]]:
    """What a full model's training starts from, None for a new model, and what its file says about its making."""
    if name == "micro-long":
        return None, {"studied": "recall_long", "budgets": "t0"}
    if name not in GROWN:
        return None, {}
    smaller, config = load(weights / f"{GROWN[name]}.safetensors"), SIZES[name]
    grown = grow(smaller.tensors, smaller.config, config, seed)
    return model_of(config, grown).train(), {"grown_from": smaller.name, "grown_from_sha256": smaller.sha256}


def calibrate(
    weights: Path,
    figure: Path | None = None,
    *,
    per_cell: int = 200,
    refreeze: bool = False,
    report: Callable[[str], None] | None = None,
) -> tuple[Table, Ladder]:
    """Measure every weight file on the frozen bench; write ``calibration.json`` and, if wanted, the ladder's plot.

    ``refreeze`` first chooses the bench mix anew from these measurements, which changes the bench for everyone.
    ``report`` is called with each candidate's name when its table is done.
    """
    family = candidates(weights)
    table = measure(family, per_cell, report=report)
    if refreeze:
        freeze(table, TARGETS)
    return table, publish(family, table, weights, figure)


def publish(family: Sequence[Candidate], table: Table, weights: Path, figure: Path | None = None) -> Ladder:
    """Check the frozen bench on test prompts and write everything that was measured."""
    ladder = climb(family, mix.bench(0, BENCH_PROMPTS))
    named = {candidate.name: candidate for candidate in family}
    everything = [example for cell in CELLS for example in cell_examples(cell, PROMPTS_ELSEWHERE, "test", seed=0)]
    gains = {
        name: asdict(gain(named[f"{SPECIALIST_BASE}-t1"], candidate, _studied(candidate), everything))
        for name, candidate in named.items()
        if candidate.adapter and candidate.budget == 1
    }
    generalists = [candidate.name for candidate in family if not candidate.adapter]
    write(
        table,
        family,
        weights / "calibration.json",
        bench={"prompts": BENCH_PROMPTS, "split": "test", "seed": 0, **ladder.as_json()},
        level_correlation=falls_with_level(table, generalists),
        best_buys=best_buys(table, family),
        specialists=gains,
    )
    if figure:
        plot(ladder, figure)
    return ladder


def _studied(specialist: Candidate) -> Task:
    return SPECIALITIES[specialist.adapter.removeprefix(f"{SPECIALIST_BASE}-")].shares[0].task
