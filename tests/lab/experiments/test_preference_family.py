"""The experiments radar, micro and routeprofile, at a scale that shows they run; their parts against known answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from interlock.lab.experiments import Options, load, micro, names, radar, routeprofile
from interlock.lab.experiments.routeprofile import Ground, card, cold_start, one_split
from interlock.lab.tables import read_tables


def folder(at: Path, datasets: dict[str, Sequence[str]], n: int) -> Path:
    """Two kinds of prompts; each model is good at one, the last at both."""
    rng = np.random.default_rng(0)
    at.mkdir()
    queries, outcomes = [], []
    for dataset, models in datasets.items():
        for i in range(n):
            task = ("gsm8k", "mmlu")[i % 2]
            words = " ".join(rng.choice(["sum", "add", "digit"] if i % 2 == 0 else ["king", "river", "date"], 5))
            queries.append({"query_id": f"{dataset}{i}", "dataset": dataset, "task": task, "prompt": f"{words} {i}?"})
            for j, model in enumerate(models):
                chance = 0.9 if j == len(models) - 1 or j % 2 == i % 2 else 0.2
                row = {"query_id": f"{dataset}{i}", "model": model, "score": float(rng.random() < chance)}
                outcomes.append(row | {"cost_usd": 0.001 * (j + 1)})
    for stem, rows in (("queries", queries), ("outcomes", outcomes)):
        (at / f"{stem}.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    return at


def test_they_are_listed() -> None:
    assert {"radar", "micro", "routeprofile"} <= set(names())


def test_radar_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table) -> None:
    data = folder(tmp_path / "data", {"routerbench": ("a", "b", "c")}, 150)
    monkeypatch.setattr(
        radar, "answer_all", lambda examples, *_: table(len(examples), {"small-t1": 0.9, "nano-t0": 0.5})
    )
    monkeypatch.setattr(radar, "milliseconds", lambda: 0.3)
    report = load("radar")(Options(seeds=(0,), out=tmp_path / "radar", data=data, scale=0.1))
    by_name = {figure.name: figure.ours for figure in report.figures}
    assert by_name["RouterBench: AUC task table"] > 0.7
    assert by_name["pocket: hypervolume oracle"] >= by_name["pocket: hypervolume IRT"]
    assert Path(report.plots[0]).stat().st_size > 0


def test_micro_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table) -> None:
    monkeypatch.setattr(
        micro, "answer_all", lambda examples, *_: table(len(examples), {"small-t1": 0.9, "nano-t0": 0.5})
    )
    report = load("micro")(Options(seeds=(0,), out=tmp_path / "micro", scale=0.1))
    by_name = {figure.name: figure.ours for figure in report.figures}
    assert by_name["mixture and gate"] > by_name["one model for all, 20k pairs"] + 0.05
    assert by_name["pocket gate + online at 10"] > by_name["pocket global at 10"]
    assert Path(report.plots[0]).stat().st_size > 0


def test_routeprofile_runs(tmp_path: Path) -> None:
    models = ("llama-a", "mistral-b", "qwen-c")
    data = folder(tmp_path / "data", dict.fromkeys(routeprofile.TABLES, models), 320)
    report = load("routeprofile")(Options(seeds=(0,), out=tmp_path / "routeprofile", data=data, scale=0.2))
    by_name = {figure.name: figure.ours for figure in report.figures}
    assert len(by_name) == len(report.figures), "every figure has a name of its own"
    assert Path(report.plots[0]).stat().st_size > 0


def test_query_level_evidence_routes_by_what_is_asked(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", {"llmrouter9": ("llama-a", "mistral-b")}, 400)
    ground = Ground.of(read_tables(data)["llmrouter9"].only(["llama-a", "mistral-b"]), 0, 1.0)
    row = one_split(ground, 0)
    assert row["similarity: query level"] >= row["best single"] - 0.05
    assert row["alikeness: query level"] < 0.0
    cold = cold_start(ground, 0)
    assert cold["cold all: score"] >= cold["cold index n=0: score"] - 0.05
    assert card("org/Llama-3-8B").family == "llama"


def test_the_area_under_the_curve_agrees_with_counting() -> None:
    rng = np.random.default_rng(1)
    p, y = rng.random((30, 2)), (rng.random((30, 2)) < 0.4).astype(np.float64)
    good, bad = p[y > 0.5], p[y < 0.5]
    assert radar.auc(p, y) == pytest.approx((good[:, None] > bad[None, :]).mean())


def test_coverage_is_that_of_honest_and_of_boastful_deviations() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.2, 0.8, (4000, 5))
    scores = (rng.random(p.shape) < p).astype(np.float64)
    assert radar.covered(p, np.zeros_like(p), scores) > 0.85
    assert radar.covered(np.clip(p + 0.15, 0, 1), np.zeros_like(p), scores) < 0.3
    assert radar.covered(np.clip(p + 0.15, 0, 1), np.full_like(p, 0.1), scores) > 0.85


def test_cpt_is_the_cheapest_share_that_reaches_the_level() -> None:
    cost, quality = np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.75, 0.8])
    paid, score = np.array([[1.0, 5.0]]), np.array([[0.4, 0.8]])
    assert radar.cpt(cost, quality, paid, score, 0.9) == pytest.approx(0.4)
    assert radar.cpt(cost, quality, paid, score, 1.1) == 1.0
