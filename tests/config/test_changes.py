"""A file that changed is noticed, and what changed is told without telling secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interlock.config import Change, Document, Settings, Watch, changes, diff, from_document, redacted


def settings(**changes: Any) -> Settings:
    data: dict[str, Any] = {
        "providers": {"far": {"kind": "openai", "headers": {"x-team": "alpha"}}},
        "candidates": [{"name": name, "provider": "far", "model": name} for name in ("a", "b")],
        "vector": ["structure"],
    }
    return from_document(Document(data | changes))


def test_nothing_changed() -> None:
    assert diff(settings(), settings()) == []
    assert settings().hash == settings().hash


def test_a_change_is_listed_by_its_path() -> None:
    old, new = settings(), settings(policy={"objective": {"kind": "weighted", "cost": 30.0}})
    assert diff(old, new) == [
        "policy.objective.cost: (absent) -> 30.0",
        "policy.objective.quality: 1.0 -> (absent)",
    ]
    assert old.hash != new.hash


def test_changes_are_values_too() -> None:
    new = settings(learner={"enabled": False})
    assert changes(settings(), new) == [Change("learner.enabled", True, False)]


def test_a_candidate_put_first_leaves_the_others_alone() -> None:
    more = [{"name": name, "provider": "far", "model": name} for name in ("new", "a", "b")]
    changed = diff(settings(), settings(candidates=more))
    assert changed
    assert all(line.startswith("candidates[new].") for line in changed)


def test_headers_are_shown_by_digest_only() -> None:
    new = settings(providers={"far": {"kind": "openai", "headers": {"x-team": "beta"}}})
    assert "alpha" not in str(redacted(settings()))
    (line,) = diff(settings(), new)
    assert line.startswith("providers.far.headers.x-team: sha256:")
    assert settings().hash != new.hash


def test_a_change_is_noticed_once_and_a_touch_is_none(tmp_path: Path) -> None:
    path = tmp_path / "interlock.yaml"
    path.write_text("version: 1")
    watch = Watch(path)
    assert not watch.changed()
    path.touch()
    assert not watch.changed()
    path.write_text("version: 1 # more")
    assert watch.changed()
    assert not watch.changed()


def test_a_file_of_the_same_size_put_in_its_place_is_noticed(tmp_path: Path) -> None:
    path, other = tmp_path / "interlock.yaml", tmp_path / "other.yaml"
    path.write_text("port: 1")
    watch = Watch(path)
    other.write_text("port: 2")
    other.replace(path)
    assert watch.changed()


@pytest.mark.parametrize("present", [True, False])
def test_a_file_that_comes_or_goes_is_noticed_once(present: bool, tmp_path: Path) -> None:
    path = tmp_path / "interlock.yaml"
    if present:
        path.write_text("version: 1")
    watch = Watch(path)
    path.unlink() if present else path.write_text("version: 1")
    assert watch.changed()
    assert not watch.changed()
