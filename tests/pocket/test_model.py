"""The torch model: documents in a row are strangers, and cached generation equals the full pass."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from interlock.pocket.config import PocketConfig  # noqa: E402
from interlock.pocket.evaluate import answer_text, generate  # noqa: E402
from interlock.pocket.model import PocketLM, document_mask, n_gram_ids, one_a_row, tensors  # noqa: E402
from interlock.pocket.tokenizer import ANS, EOS, PAD, encode  # noqa: E402

TINY = PocketConfig(d=16, layers=2, heads=2)


@pytest.fixture
def model() -> PocketLM:
    torch.manual_seed(0)
    return PocketLM(TINY).eval()


def test_parameters_carry_the_names_and_shapes_of_the_weight_file(model: PocketLM) -> None:
    assert {name: value.shape for name, value in tensors(model).items()} == TINY.shapes()


def test_a_packed_document_sees_only_itself(model: PocketLM) -> None:
    first, second = torch.randint(16, 512, (1, 7)), torch.randint(16, 512, (1, 9))
    packed = torch.cat((first, second), 1)
    document = torch.tensor([[0] * 7 + [1] * 9])
    with torch.inference_mode():
        together = model(packed, document)
        apart = torch.cat((model(first), model(second)), 1)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


def test_rows_of_one_document_need_no_mask(model: PocketLM, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one_a_row(torch.tensor([[0, 0, 0], [1, 1, -1]]))
    assert not one_a_row(torch.tensor([[0, 0, 1], [2, 2, 2]]))
    ids, document = torch.randint(16, 512, (2, 9)), torch.tensor([[0] * 9, [1] * 6 + [-1] * 3])
    with torch.inference_mode():
        plain = model(ids, document)
        monkeypatch.setattr("interlock.pocket.model.one_a_row", lambda _: False)
        masked = model(ids, document)
    assert document_mask(document).shape == (2, 1, 9, 9)
    torch.testing.assert_close(plain[document >= 0], masked[document >= 0], atol=1e-5, rtol=1e-4)


def test_selected_positions_equal_the_full_pass(model: PocketLM) -> None:
    ids = torch.randint(16, 512, (3, 8))
    at = torch.tensor([0, 5, 9, 23])
    with torch.inference_mode():
        torch.testing.assert_close(model(ids, at=at), model(ids).flatten(0, 1)[at])


def test_no_token_sees_the_future(model: PocketLM) -> None:
    ids = torch.randint(16, 512, (1, 10))
    changed = ids.clone()
    changed[0, 6] = 17 if ids[0, 6] != 17 else 18
    with torch.inference_mode():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_n_gram_ids_stop_at_document_borders() -> None:
    one, two = n_gram_ids(torch.tensor([[5, 6, 7, 8]]), torch.tensor([[0, 0, 1, 1]]))
    assert one.tolist() == [[PAD, 5, PAD, 7]]
    assert two.tolist() == [[PAD, PAD, PAD, PAD]]


def test_cached_generation_equals_the_full_pass(model: PocketLM) -> None:
    prompts = [[1, 40, 50, 4], [1, 60, 70, 80, 4], [1, 41, 51, 4]]
    for prompt, completion in zip(prompts, generate(model, prompts, limits=[8, 8, 8]), strict=True):
        ids = list(prompt)
        for token in completion:
            with torch.inference_mode():
                assert int(model(torch.tensor([ids]))[0, -1].argmax()) == token
            ids.append(token)
        assert len(completion) == 8 or completion[-1] == EOS


def test_the_answer_is_what_follows_the_last_marker() -> None:
    assert answer_text([*encode("12"), ANS, *encode("34"), EOS]) == "34"
    assert answer_text([*encode("12"), EOS]) == "12"
    assert answer_text([]) == ""
