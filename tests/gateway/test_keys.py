from __future__ import annotations

import pytest

from interlock.errors import NotFound, Unauthorized
from interlock.gateway.keys import Key, Keys, presented

KEYS = Keys([Key("acme", "sk-a"), Key("acme", "sk-o", operator=True)])


def test_without_keys_everybody_is_let_in() -> None:
    assert Keys().tenant(b"") is None
    assert Keys().scope(b"Bearer whatever") is None
    Keys().operator(b"")


def test_a_key_is_its_tenant() -> None:
    assert KEYS.tenant(b"Bearer sk-a") == "acme"
    assert KEYS.tenant(b"bearer  sk-o ") == "acme"
    assert KEYS.scope(b"Bearer sk-a") == "acme"
    assert KEYS.scope(b"Bearer sk-o") is None


@pytest.mark.parametrize(
    "header", [b"", b"sk-a", b"Basic sk-a", b"Bearer", b"Bearer ", b"Bearer sk-", b"Bearer sk-aa", b"Bearer \xff"]
)
def test_anything_else_is_unauthorized(header: bytes) -> None:
    with pytest.raises(Unauthorized):
        KEYS.tenant(header)


def test_only_operators_steer() -> None:
    KEYS.operator(b"Bearer sk-o")
    with pytest.raises(NotFound):
        KEYS.operator(b"Bearer sk-a")


def test_keys_are_not_kept() -> None:
    assert "sk-a" not in repr(vars(KEYS))
    assert "sk-a" not in repr(Key("acme", "sk-a"))


def test_a_key_comes_in_either_header() -> None:
    assert presented({}) == b""
    assert presented({b"authorization": b"Bearer a", b"x-api-key": b"b"}) == b"Bearer a"
    assert KEYS.tenant(presented({b"x-api-key": b"sk-a"})) == "acme"
