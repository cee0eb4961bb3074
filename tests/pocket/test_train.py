"""Training: packing loses nothing, runs resume exactly, adapters leave their base alone, and something is learned."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import islice
from random import Random

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from interlock.pocket import train  # noqa: E402
from interlock.pocket.config import PocketConfig  # noqa: E402
from interlock.pocket.mix import GENERALIST, Mix, Share  # noqa: E402
from interlock.pocket.model import PocketLM, restore, tensors  # noqa: E402
from interlock.pocket.muon import Muon, orthogonalise  # noqa: E402
from interlock.pocket.specialise import adapt, adapter_tensors, restore_adapted, specialise  # noqa: E402
from interlock.pocket.tasks import TASKS  # noqa: E402
from interlock.pocket.train import Recipe, fit, pack, read_log  # noqa: E402
from interlock.pocket.weights import dequantise_rows, load, quantise_rows, save  # noqa: E402

TINY = PocketConfig(d=16, layers=1, heads=2)
CUPS = Mix((Share(TASKS["cups"], 1.0, (1, 2)),), style="compact")
SHORT = Recipe(tokens=40 * 2 * 64, rows=2, row_length=64, warmup=5)


def test_packed_rows_hold_whole_documents_and_all_their_targets() -> None:
    batch = pack(GENERALIST.documents(Random(0), 1.0), rows=4, length=160)
    expected = list(islice(GENERALIST.documents(Random(0), 1.0), 400))
    packed = set()
    for row, owner in zip(batch.ids.tolist(), batch.document.tolist(), strict=True):
        for index in set(owner) - {-1}:
            packed.add(tuple(token for token, of in zip(row, owner, strict=True) if of == index))
    assert packed <= {tuple(document.ids) for document in expected}
    targets = sum(sum(document.learned) for document in expected if tuple(document.ids) in packed)
    assert len(batch.at) == len(batch.targets) == targets
    np.testing.assert_array_equal(batch.ids.flatten()[batch.at + 1], batch.targets)
    assert (batch.document >= 0).mean() > 0.85


def test_a_document_longer_than_a_row_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit a row of 8; raise row_length"):
        pack(CUPS.documents(Random(0), 1.0), rows=2, length=8)


def test_the_rate_warms_up_holds_and_decays_to_zero() -> None:
    recipe = Recipe(tokens=1000 * 2080, warmup=50, lr=1.0)
    assert recipe.steps == 1000
    assert recipe.rate(0) == pytest.approx(1 / 50)
    assert recipe.rate(49) == recipe.rate(500) == 1.0
    assert recipe.rate(750) == pytest.approx(0.5)
    assert recipe.rate(999) == pytest.approx(0.002)


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(train, "_SAVE_EVERY", 20)
    recipe = replace(SHORT, tokens=60 * 2 * 64)
    whole = fit(TINY, CUPS, recipe, tmp_path / "whole", name="x", seed=3)

    def stop(step: int, loss: float) -> None:
        if step == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(TINY, CUPS, recipe, tmp_path / "parts", name="x", seed=3, report=stop)
    resumed = fit(TINY, CUPS, recipe, tmp_path / "parts", name="x", seed=3)
    for name, value in tensors(whole.model).items():
        np.testing.assert_array_equal(tensors(resumed.model)[name], value)
    losses = [[(row["step"], row["loss"]) for row in read_log(tmp_path / run)] for run in ("whole", "parts")]
    assert losses[0] == losses[1]
    assert {path.stem for path in (tmp_path / "whole").glob("rung-*")} == {
        "rung-1of8",
        "rung-1of4",
        "rung-1of2",
        "rung-1",
    }


def test_batches_made_ahead_by_processes_train_the_same_model(tmp_path) -> None:
    alone = fit(TINY, CUPS, SHORT, tmp_path / "alone", name="x")
    helped = fit(TINY, CUPS, SHORT, tmp_path / "helped", name="x", workers=3)
    for name, value in tensors(alone.model).items():
        np.testing.assert_array_equal(tensors(helped.model)[name], value)


def test_what_goes_wrong_in_a_process_that_makes_batches_is_raised_here(tmp_path) -> None:
    with pytest.raises(ValueError, match="does not fit a row of 8; raise row_length"):
        fit(TINY, CUPS, replace(SHORT, row_length=8), tmp_path, name="x", workers=2)


def test_rounded_training_sees_what_int8_storage_keeps(tmp_path) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(7, 33, requires_grad=True)
    with torch.no_grad():
        matrix[2] = 0.0
        matrix[3, 5] = 40.0
    seen = train.rounded(matrix)
    stored = dequantise_rows(*quantise_rows(matrix.detach().numpy()))
    np.testing.assert_allclose(seen.detach().numpy(), stored, atol=1e-6)
    weights = torch.randn(7, 33)
    (seen * weights).sum().backward()
    torch.testing.assert_close(matrix.grad, weights)

    plain = fit(TINY, CUPS, SHORT, tmp_path / "plain", name="x")
    finished = fit(TINY, CUPS, replace(SHORT, rounded=True), tmp_path / "rounded", name="x")
    assert not np.array_equal(tensors(plain.model)["head"], tensors(finished.model)["head"])


def test_another_run_in_the_folder_is_not_continued(tmp_path) -> None:
    fit(TINY, CUPS, SHORT, tmp_path, name="x")
    with pytest.raises(ValueError, match="holds another run"):
        fit(TINY, CUPS, replace(SHORT, lr=1e-4), tmp_path, name="x")


def test_a_diverging_run_stops_with_its_step(tmp_path) -> None:
    with pytest.raises(FloatingPointError, match="at step 20; lower the learning rate"):
        fit(TINY, CUPS, replace(SHORT, optimiser="adamw", lr=float("inf"), clip=1e9), tmp_path, name="x")


def test_something_is_learned(tmp_path) -> None:
    fit(TINY, CUPS, replace(SHORT, tokens=150 * 2 * 64), tmp_path, name="x")
    rows = read_log(tmp_path)
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0]).keys() == {
        "step",
        "tokens",
        "loss",
        "rate",
        "cpu_s",
    }


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 16), (1, 16, 4)])
def test_orthogonalised_updates_have_singular_values_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_muon_descends_and_treats_the_parts_of_a_stack_apart() -> None:
    torch.manual_seed(0)
    stacked, alone = torch.nn.Parameter(torch.zeros(12, 4)), torch.nn.Parameter(torch.zeros(4, 4))
    gradient = torch.randn(12, 4)
    stacked.grad, alone.grad = gradient.clone(), gradient[:4].clone()
    Muon([(stacked, 3), (alone, 1)], lr=0.1).step()
    torch.testing.assert_close(stacked[:4], alone)
    assert (stacked * gradient).sum() < 0


def test_an_adapter_starts_as_the_base_and_trains_only_itself(tmp_path) -> None:
    torch.manual_seed(0)
    save(tmp_path / "tiny.safetensors", tensors(PocketLM(TINY)), name="tiny", config=TINY)
    base = load(tmp_path / "tiny.safetensors")
    ids = torch.randint(16, 512, (2, 9))
    with torch.inference_mode():
        torch.testing.assert_close(adapt(restore(base), 2, 4.0)(ids), restore(base)(ids))

    factors, metadata = specialise(base, CUPS, SHORT, tmp_path / "run", name="tiny-cups", rank=2, alpha=4.0)
    assert metadata["base"] == "tiny"
    assert metadata["base_sha256"] == base.sha256
    assert any(np.abs(value).max() > 0 for name, value in factors.items() if name.endswith(".b"))

    file = tmp_path / "tiny-cups.safetensors"
    save(file, factors, name="tiny-cups", config=TINY, metadata=metadata, precision="fp32")
    adapted = restore_adapted(base, load(file))
    for name, value in adapter_tensors(adapted).items():
        np.testing.assert_array_equal(value, factors[name])
    with torch.inference_mode():
        assert not torch.allclose(adapted(ids), restore(base)(ids))
    for name, matrix in base.tensors.items():
        if name.startswith("e"):
            np.testing.assert_array_equal(adapted.get_parameter(name).detach().numpy(), matrix)


@pytest.mark.slow
def test_the_recipe_still_works(tmp_path) -> None:
    """About a minute and a half of CPU time; the figures fall when anything in the recipe breaks."""
    from interlock.pocket.recipe_check import check_recipe

    checked = check_recipe("nano", tmp_path, per_level=60)
    assert checked.recall >= 0.98
    assert checked.sort >= 0.75
    assert checked.cups_t1 - checked.cups_t0 >= 0.15
