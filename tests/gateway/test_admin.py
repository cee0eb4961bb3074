"""/admin over HTTP: roles, the life of a key, and the trace that each change leaves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from interlock.gateway.admission import keys_of
from interlock.identity import VirtualKey, digest
from interlock.ledger import Audit, Reading

from .conftest import Running, Start, keys

ADMINS = keys(("sk-v", "acme", "viewer"), ("sk-o", "ops", "operator"), ("sk-x", "ops", "admin"))


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def post(gateway: Running, path: str, secret: str = "sk-x", **body: Any) -> Any:
    return await gateway.client.post(path, json=body, headers=bearer(secret))


async def get(gateway: Running, path: str, secret: str = "sk-x") -> Any:
    return (await gateway.client.get(path, headers=bearer(secret))).json()


async def test_the_life_of_a_key(start: Start) -> None:
    async with start(keys=ADMINS) as gateway:
        budget = {"window": "month", "hard_usd": 5.0}
        made = await post(gateway, "/admin/keys", tenant="beta", name="ci", budgets=[budget], metadata={"team": "x"})
        assert made.status_code == 200
        secret, id = made.json()["secret"], made.json()["id"]
        answer = await gateway.chat(headers=bearer(secret), model="tiny", max_tokens=10)
        assert answer.status_code == 200

        shown = await get(gateway, f"/admin/keys/{id}")
        assert (shown["prefix"], shown["state"], shown["metadata"]) == (secret[:10], "active", {"team": "x"})
        assert shown["used_usd"]["month"] == pytest.approx(7e-6)
        (row,) = [row for row in (await get(gateway, "/admin/budgets"))["budgets"] if row["name"] == id]
        assert (row["used_usd"], row["hard_usd"], row["reserved_usd"]) == (pytest.approx(7e-6), 5.0, 0.0)
        tenants = {row["name"]: row for row in (await get(gateway, "/admin/tenants"))["tenants"]}
        assert (tenants["beta"]["keys"], tenants["beta"]["used_usd"]["total"]) == (1, pytest.approx(7e-6))

        changed = await post(gateway, f"/admin/keys/{id}", budgets=[], candidates=["large"])
        assert (changed.json()["budgets"], changed.json()["name"]) == ([], "ci")
        assert (await gateway.chat(headers=bearer(secret), model="tiny")).status_code in (200, 422)

        assert (await post(gateway, f"/admin/keys/{id}/revoke")).json()["state"] == "revoked"
        refused = await gateway.chat(headers=bearer(secret))
        assert refused.json()["error"]["code"] == "revoked_api_key"
        audits = [row.record for row in Reading(gateway.router.ledger.path).rows(kind="audit")]
        assert [(a.action, a.subject, a.detail["by"]) for a in audits if isinstance(a, Audit)] == [
            ("key.create", id, "x"),
            ("key.change", id, "x"),
            ("key.revoke", id, "x"),
        ]


async def test_roles(start: Start) -> None:
    async with start(keys=ADMINS) as gateway:
        for secret, status in (("sk-v", 403), ("sk-o", 403), ("sk-x", 200)):
            assert (await post(gateway, "/admin/keys", secret, tenant="acme")).status_code == status
        assert (await post(gateway, "/admin/reload", "sk-v")).status_code == 403
        assert (await post(gateway, "/admin/reload", "sk-o")).status_code == 404  # no file to reload
        assert {key["tenant"] for key in (await get(gateway, "/admin/keys", "sk-v"))["keys"]} == {"acme"}
        assert {key["tenant"] for key in (await get(gateway, "/admin/keys", "sk-o"))["keys"]} == {"acme", "ops"}
        assert (await gateway.client.get("/admin/keys/x", headers=bearer("sk-v"))).status_code == 404
        assert (await gateway.client.get("/admin/budgets")).status_code == 401


async def test_nobody_makes_the_first_key_from_afar(start: Start) -> None:
    async with start() as gateway:
        refused = await gateway.client.post("/admin/keys", json={"tenant": "acme", "role": "admin"})
        assert refused.status_code == 403
        assert "interlock keys create --role admin" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"tenant": "acme", "role": "root"}, "role"),
        ({"tenant": "acme", "tenatn": 1}, None),
        ({"tenant": "no spaces"}, "tenant"),
        ({"tenant": "acme", "candidates": ["tinny"]}, "candidates[0]"),
        ({"tenant": "acme", "candidates": []}, None),
        ({"tenant": "acme", "expires": 5}, "expires"),
        ({"tenant": "acme", "budgets": [{"window": "week", "hard_usd": 1}]}, "budgets[0].window"),
        ({"tenant": "acme", "budgets": [{"window": "day"}]}, "budgets[0]"),
        ({"tenant": "acme", "budgets": [{"window": "day", "hard_usd": -1}]}, "budgets[0].hard_usd"),
        ({"tenant": "acme", "budgets": [{"window": "day", "hard_usd": 1, "soft_usd": 2}]}, "budgets[0]"),
        ({"tenant": "acme", "limits": {"requests_per_minute": 0}}, "limits.requests_per_minute"),
    ],
)
async def test_what_cannot_be_made_says_why(start: Start, body: dict[str, Any], param: str | None) -> None:
    async with start(keys=ADMINS) as gateway:
        response = await post(gateway, "/admin/keys", **body)
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
        assert (await get(gateway, "/admin/keys"))["keys"] == [
            key for key in (await get(gateway, "/admin/keys"))["keys"] if key["kind"] == "static"
        ]


async def test_a_configured_key_is_changed_in_the_configuration(start: Start) -> None:
    async with start(keys=ADMINS) as gateway:
        response = await post(gateway, "/admin/keys/v/revoke")
        assert response.status_code == 400
        assert "stands in the configuration" in response.json()["error"]["message"]


async def test_a_key_made_by_another_process_counts_within_a_moment(start: Start, tmp_path: Path) -> None:
    """And the door that was open to everybody shuts."""
    async with start() as gateway:
        assert (await gateway.chat()).status_code == 200
        store = keys_of(gateway.router.ledger.place)
        key = VirtualKey(id="key-1", digest=digest(b"sk-il-1"), prefix="sk-il", tenant="beta", created=time.time())
        await store.put(key)
        await gateway.service.admission.look()
        assert (await gateway.chat()).status_code == 401
        assert (await gateway.chat(headers=bearer("sk-il-1"))).status_code == 200
        await store.revoke("key-1", time.time())
        await gateway.service.admission.look()
        assert (await gateway.chat(headers=bearer("sk-il-1"))).status_code == 401
        assert (await gateway.chat()).status_code == 401
