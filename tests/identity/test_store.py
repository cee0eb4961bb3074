from __future__ import annotations

import stat
from pathlib import Path

import pytest

from interlock.errors import KeyStoreError, NotFound
from interlock.identity import Allowance, Budget, RateLimits, SqliteKeys, VirtualKey, digest


def a_key(id: str = "key-1", **fields: object) -> VirtualKey:
    secret = f"sk-il-{id}".encode()
    made = {"id": id, "digest": digest(secret), "prefix": "sk-il-k", "tenant": "acme", "created": 1.0}
    return VirtualKey(**made | fields)  # type: ignore[arg-type]


async def test_a_key_comes_back_as_it_was_put(tmp_path: Path) -> None:
    allowance = Allowance((Budget("month", 100.0, 80.5),), RateLimits(60, 1000, 2))
    key = a_key(name="ci", role="admin", candidates=("a-*",), allowance=allowance, expires=9.5, metadata={"team": "x"})
    store = SqliteKeys(tmp_path / "deep" / "keys.db")
    await store.put(key)
    await store.close()
    found = await SqliteKeys(tmp_path / "deep" / "keys.db").load()
    assert found is not None
    assert found.keys == [key]


async def test_nothing_is_made_before_there_is_a_key(tmp_path: Path) -> None:
    store = SqliteKeys(tmp_path / "keys.db")
    found = await store.load()
    assert found == (0, [])
    assert await store.load(0) is None
    assert not (tmp_path / "keys.db").exists()
    await store.put(a_key())
    assert stat.S_IMODE((tmp_path / "keys.db").stat().st_mode) == 0o600


async def test_another_process_sees_each_change_once(tmp_path: Path) -> None:
    one, two = SqliteKeys(tmp_path / "keys.db"), SqliteKeys(tmp_path / "keys.db")
    await one.put(a_key())
    found = await two.load(0)
    assert found is not None
    assert await two.load(found.version) is None
    await one.put(a_key("key-2", created=2.0))
    await one.revoke("key-1", 5.0)
    found = await two.load(found.version)
    assert found is not None
    assert [(key.id, key.revoked) for key in found.keys] == [("key-1", 5.0), ("key-2", None)]


async def test_revoking_is_for_ever(tmp_path: Path) -> None:
    store = SqliteKeys(tmp_path / "keys.db")
    await store.put(a_key())
    assert (await store.revoke("key-1", 5.0)).revoked == 5.0
    assert (await store.revoke("key-1", 7.0)).revoked == 5.0
    await store.put(a_key(name="again"))
    found = await store.load()
    assert found is not None
    assert (found.keys[0].name, found.keys[0].revoked) == ("again", 5.0)
    with pytest.raises(NotFound, match="no key 'key-9'"):
        await store.revoke("key-9", 1.0)


async def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_text("not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(KeyStoreError, match=r"keys\.db: the keys cannot be read or written"):
        await SqliteKeys(tmp_path / "keys.db").load()
