from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.errors import KeyStoreError, NotFound
from interlock.identity import Allowance, Budget, KeyStore, RateLimits, SqliteKeys, VirtualKey, digest
from interlock.lab.process import free_port
from interlock.ledger import open_ledger, verify


def a_key(id: str = "key-1", **fields: object) -> VirtualKey:
    secret = f"sk-il-{id}".encode()
    made = {"id": id, "digest": digest(secret), "prefix": "sk-il-k", "tenant": "acme", "created": 1.0}
    return VirtualKey(**made | fields)  # type: ignore[arg-type]


Opening = Callable[[], KeyStore]


@pytest.fixture(params=["sqlite", "postgres"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens one store again and again, as several processes do."""
    if request.param == "sqlite":
        return lambda: SqliteKeys(tmp_path / "deep" / "keys.db")
    url = request.getfixturevalue("postgres").database()
    from interlock.identity.postgres_store import PostgresKeys

    return lambda: PostgresKeys(url)


async def test_a_key_comes_back_as_it_was_put(opening: Opening) -> None:
    allowance = Allowance((Budget("month", 100.0, 80.5),), RateLimits(60, 1000, 2))
    key = a_key(name="ci", role="admin", candidates=("a-*",), allowance=allowance, expires=9.5, metadata={"team": "x"})
    store = opening()
    await store.put(key)
    await store.close()
    again = opening()
    found = await again.load()
    assert found is not None
    assert found.keys == [key]
    await again.close()


async def test_nothing_is_there_before_there_is_a_key(opening: Opening) -> None:
    one, two = opening(), opening()
    assert await one.load() == (0, [])
    assert await one.load(0) is None
    await asyncio.gather(one.put(a_key()), two.put(a_key("key-2", created=2.0)))
    for store in (one, two):
        found = await store.load(0)
        assert found is not None
        assert [key.id for key in found.keys] == ["key-1", "key-2"]
        await store.close()


async def test_nothing_is_made_before_there_is_a_key(tmp_path: Path) -> None:
    store = SqliteKeys(tmp_path / "keys.db")
    assert await store.load() == (0, [])
    assert not (tmp_path / "keys.db").exists()
    await store.put(a_key())
    assert stat.S_IMODE((tmp_path / "keys.db").stat().st_mode) == 0o600


async def test_another_process_sees_each_change_once(opening: Opening) -> None:
    one, two = opening(), opening()
    await one.put(a_key())
    found = await two.load(0)
    assert found is not None
    assert await two.load(found.version) is None
    await one.put(a_key("key-2", created=2.0))
    await one.revoke("key-1", 5.0)
    found = await two.load(found.version)
    assert found is not None
    assert [(key.id, key.revoked) for key in found.keys] == [("key-1", 5.0), ("key-2", None)]
    await one.close()
    await two.close()


async def test_revoking_is_for_ever(opening: Opening) -> None:
    store = opening()
    await store.put(a_key())
    assert (await store.revoke("key-1", 5.0)).revoked == 5.0
    assert (await store.revoke("key-1", 7.0)).revoked == 5.0
    await store.put(a_key(name="again"))
    found = await store.load()
    assert found is not None
    assert (found.keys[0].name, found.keys[0].revoked) == ("again", 5.0)
    with pytest.raises(NotFound, match="no key 'key-9'"):
        await store.revoke("key-9", 1.0)
    await store.close()


async def test_keys_and_ledger_live_in_one_database_whichever_came_first(postgres: Any) -> None:
    from interlock.identity.postgres_store import PostgresKeys

    url = postgres.database()
    store = PostgresKeys(url)
    await store.put(a_key())
    await asyncio.to_thread(lambda: open_ledger(url).close())
    assert verify(url).rows == 0
    await store.close()


async def test_a_database_that_does_not_answer_says_so(postgres: Any) -> None:
    from interlock.identity.postgres_store import PostgresKeys

    store = PostgresKeys(f"postgresql://somebody:SECRET@127.0.0.1:{free_port()}/none")
    with pytest.raises(KeyStoreError, match=r"the keys cannot be read or written: .*cannot be reached") as refused:
        await store.load()
    assert "SECRET" not in str(refused.value)
    await store.close()


async def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_text("not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(KeyStoreError, match=r"keys\.db: the keys cannot be read or written"):
        await SqliteKeys(tmp_path / "keys.db").load()
