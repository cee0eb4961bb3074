from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.lab.greenserv import GRADED, decode, read_greenserv
from interlock.lab.locate import NoData, data_folder
from interlock.lab.tables import TableError


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 0.99)), min_size=1, max_size=20))
def test_accuracy_and_energy_are_read_off_a_reward(cells: list[tuple[bool, float]]) -> None:
    accuracy, energy = (np.array(column, dtype=np.float64)[:, None] for column in zip(*cells, strict=True))
    reward = 0.5 * accuracy + 0.5 * (1.0 - energy)
    keep = reward[:, 0] < 0.5 + 0.5 * accuracy[:, 0]  # a wrong answer for no energy at all reads as a right one
    keep |= accuracy[:, 0] == 1.0
    found = decode(reward[keep], ("mmlu",) * int(keep.sum()))
    np.testing.assert_allclose(found[0], accuracy[keep])
    np.testing.assert_allclose(found[1], energy[keep], atol=1e-12)


def test_graded_accuracy_stays_unknown() -> None:
    accuracy, energy = decode(np.array([[0.7], [0.7]]), ("mmlu", GRADED))
    assert np.isnan(accuracy[1, 0])
    assert np.isnan(energy[1, 0])
    assert np.isfinite(accuracy[0, 0])


def test_a_folder_without_the_files_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(TableError, match=r"has no queries\.parquet"):
        read_greenserv(tmp_path)


def test_where_the_data_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queries.jsonl").write_text("")
    assert data_folder(tmp_path) == tmp_path
    monkeypatch.setenv("INTERLOCK_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    with pytest.raises(NoData, match="--data FOLDER"):
        data_folder(tmp_path / "elsewhere")


def test_the_real_log_and_matrix_agree() -> None:
    try:
        served = read_greenserv(data_folder())
    except (NoData, TableError):
        pytest.skip("no GreenServ data beside this checkout")
    assert served.reward.shape == (2500, 16)
    assert len(served.log.rows) == 12_500
    seen = served.reward[served.log.rows, served.log.arms]
    assert np.abs(seen - served.log.rewards).max() < 1e-3, "what was logged is in the matrix"
    assert served.observed[served.log.rows, served.log.arms].all()
