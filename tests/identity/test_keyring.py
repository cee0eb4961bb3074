from __future__ import annotations

import pytest

from interlock.errors import Forbidden, Unauthorized
from interlock.identity import NOBODY, Identity, Keyring, VirtualKey, digest, mint

STATIC = {digest(b"sk-a"): Identity("A", "acme"), digest(b"sk-o"): Identity("O", "acme", "operator")}


def bearer(secret: bytes) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + secret}


def virtual(secret: bytes, **fields: object) -> VirtualKey:
    made = {"id": "key-1", "digest": digest(secret), "prefix": "sk-il-", "tenant": "beta", "created": 1.0}
    return VirtualKey(**made | fields)  # type: ignore[arg-type]


def test_without_keys_everybody_is_let_in() -> None:
    assert Keyring().identify({}) is NOBODY
    assert NOBODY.scope is None
    NOBODY.require("operator")
    with pytest.raises(Forbidden, match="interlock keys create --role admin"):
        NOBODY.require("admin")


def test_a_key_is_its_tenant() -> None:
    ring = Keyring(STATIC)
    assert ring.identify(bearer(b"sk-a")).tenant == "acme"
    assert ring.identify({b"authorization": b"bearer  sk-o "}).key == "O"
    assert ring.identify({b"x-api-key": b" sk-a "}).key == "A"
    assert ring.identify(bearer(b"sk-a") | {b"x-api-key": b"nonsense"}).key == "A"
    assert ring.identify(bearer(b"sk-a")).scope == "acme"
    assert ring.identify(bearer(b"sk-o")).scope is None


@pytest.mark.parametrize(
    "header", [b"", b"sk-a", b"Basic sk-a", b"Bearer", b"Bearer ", b"Bearer sk-", b"Bearer sk-aa", b"Bearer \xff"]
)
def test_anything_else_is_unauthorized(header: bytes) -> None:
    with pytest.raises(Unauthorized):
        Keyring(STATIC).identify({b"authorization": header})


def test_roles_are_ranked() -> None:
    viewer, operator, admin = (Identity("k", "t", role) for role in ("viewer", "operator", "admin"))  # type: ignore[arg-type]
    admin.require("operator")
    operator.require("viewer")
    with pytest.raises(Forbidden, match="needs a key of the role admin; this one is operator"):
        operator.require("admin")
    with pytest.raises(Forbidden):
        viewer.require("operator")


def test_virtual_keys_come_beside_static_ones() -> None:
    ring = Keyring(STATIC).with_virtual([virtual(b"sk-il-1")])
    assert ring.identify(bearer(b"sk-il-1")) == Identity("key-1", "beta")
    assert ring.identify(bearer(b"sk-a")).key == "A"


@pytest.mark.parametrize(
    ("fields", "code"), [({"revoked": 5.0}, "revoked_api_key"), ({"expires": 9.0}, "expired_api_key")]
)
def test_a_dead_key_is_refused_and_the_door_stays_shut(fields: dict[str, float], code: str) -> None:
    ring = Keyring(virtual=[virtual(b"sk-il-1", **fields)], clock=lambda: 10.0)
    for headers, said in ((bearer(b"sk-il-1"), code), ({}, "missing_api_key")):
        with pytest.raises(Unauthorized) as refused:
            ring.identify(headers)
        assert refused.value.code == said


def test_secrets_are_long_different_and_nowhere_kept() -> None:
    made = [mint() for _ in range(100)]
    assert len({secret for _, secret in made}) == len({id for id, _ in made}) == 100
    assert all(secret.startswith("sk-il-") and len(secret) >= 49 for _, secret in made)
    ring = Keyring(STATIC, [virtual(b"sk-il-secret")])
    assert b"sk-il-secret" not in repr(vars(ring)).encode()
