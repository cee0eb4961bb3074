from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from interlock.pocket.attention import PromptChunk, reach
from interlock.pocket.config import SIZES, PocketConfig
from interlock.pocket.transformer import Batch, Transformer
from interlock.pocket.weights import Floats, load

Tensors = Callable[..., dict[str, Floats]]


def read(
    model: Transformer, ids: list[int], layers: int | None = None, adapter: int = -1, window: int | None = None
) -> Floats:
    """The residual stream over one prompt, read whole."""
    config = model.config
    shape = (config.layers, config.heads, reach(len(ids)), config.head_dim)
    padded = np.array([config.vocab, config.vocab, *ids])
    tokens = np.stack([padded[2:], padded[1:-1], padded[:-2]], axis=1)
    chunk = PromptChunk(np.zeros(shape, np.float32), np.zeros(shape, np.float32), 0, len(ids), window)
    adapters = np.full(len(ids), adapter) if adapter >= 0 else None
    return model.forward(Batch(tokens, np.arange(len(ids)), [chunk], adapters), layers)


@pytest.mark.parametrize("size", ["nano", "micro", "small"])
def test_logits_agree_with_torch(size: str) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # two would wait for each other on a busy machine
    from interlock.pocket.model import PocketLM

    torch.manual_seed(0)
    reference, config = PocketLM(SIZES[size]).eval(), SIZES[size]
    with torch.no_grad():
        for parameter in reference.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)  # norm gains of 1 would hide a missing one
    model = Transformer(config, {name: tensor.numpy() for name, tensor in reference.state_dict().items()})
    rng = np.random.default_rng(0)
    for length in (1, 2, 15, 16, 17, 63, 64, 65, 200, 512):
        ids = [int(i) for i in rng.integers(1, config.vocab, length)]
        with torch.inference_mode():
            expected = reference(torch.tensor([ids]))[0].numpy()
        assert np.abs(model.logits(read(model, ids)) - expected).max() < 1e-3


def test_a_window_hides_what_lies_before_it_in_every_layer(tiny: PocketConfig, tensors_of: Tensors) -> None:
    model, rng = Transformer(tiny, tensors_of(tiny)), np.random.default_rng(0)
    ids = [int(i) for i in rng.integers(16, 400, 200)]
    whole = read(model, ids)
    np.testing.assert_array_equal(read(model, ids, window=200), whole)
    # Through each layer a token reaches back window - 1 further, and its n-gram two more.
    seen = 20 + tiny.layers * 49 + 2
    changed = [*(17 if i != 17 else 18 for i in ids[:-seen]), *ids[-seen:]]
    cut, other = (read(model, which, window=50)[-20:] for which in (ids, changed))
    np.testing.assert_array_equal(cut, other)
    assert not np.allclose(cut, whole[-20:])
    assert not np.allclose(read(model, changed)[-20:], whole[-20:])


def test_the_widest_window_of_one_token_leaves_attention_its_own_value(tiny: PocketConfig, tensors_of: Tensors) -> None:
    model = Transformer(tiny, tensors_of(tiny))
    ids = [20, 21, 22, 23, 24, 25]
    last = read(model, ids, window=1)[-1]
    np.testing.assert_allclose(last, read(model, [16, *ids[3:]], window=1)[-1], atol=1e-5)


def test_an_adapter_in_a_batch_equals_the_merged_matrix(weights: Path) -> None:
    base = load(weights / "tiny.safetensors")
    adapters = [load(weights / f"tiny-{side}.safetensors") for side in ("left", "right")]
    shared = Transformer(base.config, base.tensors, adapters)
    ids = [1, *range(20, 60), 4]
    for index, adapter in enumerate(adapters):
        merged = dict(base.tensors)
        for name in base.tensors:
            if f"{name}.a" in adapter.tensors:
                update = adapter.tensors[f"{name}.b"] @ adapter.tensors[f"{name}.a"]
                merged[name] = base.tensors[name] + np.float32(adapter.alpha / adapter.rank) * update
        alone = Transformer(base.config, merged)
        np.testing.assert_allclose(read(shared, ids, adapter=index), read(alone, ids), atol=2e-4)
    np.testing.assert_array_equal(read(shared, ids), read(Transformer(base.config, base.tensors), ids))


def test_hidden_layers_are_prefixes_of_the_forward_pass(tiny: PocketConfig, tensors_of: Tensors) -> None:
    tensors = tensors_of(tiny)
    model, ids = Transformer(tiny, tensors), [7, 8, 9]
    embedded = tensors["e0"][[7, 8, 9]].copy()
    embedded[1:] += tensors["e1"][[7, 8]]
    embedded[2:] += tensors["e2"][[7]]
    np.testing.assert_allclose(read(model, ids, 0), embedded, atol=1e-6)
    assert not np.array_equal(read(model, ids, 1), read(model, ids, 2))
    np.testing.assert_array_equal(read(model, ids, 2), read(model, ids))


def test_a_tied_model_reads_its_head_from_the_embedding(tensors_of: Tensors) -> None:
    config = PocketConfig(48, 1, 3, tied=True)
    tensors = tensors_of(config)
    untied = Transformer(PocketConfig(48, 1, 3), {**tensors, "head": tensors["e0"]})
    x = np.ones((2, 48), np.float32)
    np.testing.assert_array_equal(Transformer(config, tensors).logits(x), untied.logits(x))


def test_shipped_models_agree_with_torch_on_200_bench_prompts() -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # two would wait for each other on a busy machine
    from interlock.pocket.family import load_family
    from interlock.pocket.mix import bench
    from interlock.pocket.model import restore
    from interlock.pocket.tokenizer import BOS, BUDGETS, encode

    prompts = [[BOS, *encode(example.prompt), BUDGETS[i % 3]] for i, example in enumerate(bench(seed=1, n=200))]
    for member in load_family().members.values():
        model, reference = Transformer(member.config, member.file.tensors), restore(member.file)
        for ids in prompts:
            with torch.inference_mode():
                expected = reference(torch.tensor([ids]))[0].numpy()
            assert np.abs(model.logits(read(model, ids)) - expected).max() < 1e-3
