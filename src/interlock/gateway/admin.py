"""/admin: keys, budgets and tenants. Every change is an audit row first.

A viewer sees what is its tenant's, an operator sees everything, an admin makes, changes and revokes keys.
"""

from __future__ import annotations

import math
import time
from fnmatch import fnmatchcase
from typing import Annotated, Any

import msgspec
from starlette.requests import Request

from ..admission import UNCOUNTED
from ..config.settings import Name
from ..errors import InterlockError, NotFound, RequestError, nearest
from ..identity import (
    UNLIMITED,
    Allowance,
    Budget,
    Identity,
    KeyStore,
    RateLimits,
    Role,
    VirtualKey,
    digest,
    mint,
    misfit,
)
from ..identity.virtual import SHOWN
from . import parse
from .app import Endpoint, caller
from .service import Service

MOST_METADATA = 32
Text = Annotated[str, msgspec.Meta(max_length=256)]


class KeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """What can be said of a key. `expires` is in seconds since the epoch, `null` for never."""

    name: Text = ""
    role: Role = "viewer"
    candidates: tuple[Text, ...] = ("*",)
    budgets: tuple[Budget, ...] = ()
    limits: RateLimits = RateLimits()
    expires: float | None = None
    metadata: dict[Text, Text] = {}


class NewKey(KeyBody, forbid_unknown_fields=True, kw_only=True):
    tenant: Name


class ChangedKey(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays."""

    name: Text | msgspec.UnsetType = msgspec.UNSET
    role: Role | msgspec.UnsetType = msgspec.UNSET
    candidates: tuple[Text, ...] | msgspec.UnsetType = msgspec.UNSET
    budgets: tuple[Budget, ...] | msgspec.UnsetType = msgspec.UNSET
    limits: RateLimits | msgspec.UnsetType = msgspec.UNSET
    expires: float | msgspec.UnsetType | None = msgspec.UNSET
    metadata: dict[Text, Text] | msgspec.UnsetType = msgspec.UNSET


async def keys(service: Service, request: Request) -> Any:
    """The configuration's keys, then the virtual ones, oldest first. No secret: those are not here."""
    scope = caller(service, request).scope
    static = [static_view(one) for one in service.front.static.values() if scope in (None, one.tenant)]
    virtual = [view(key) for key in service.admission.virtual if scope in (None, key.tenant)]
    return {"keys": static + virtual}


async def key(service: Service, request: Request) -> Any:
    """One key, with what it has spent in the present windows."""
    scope, id = caller(service, request).scope, request.path_params["id"]
    found = _find(service, id, scope)
    account = f"key:{id}"
    used = (await service.admission.control.used([account]))[account]
    return found | {"used_usd": used}


async def create(service: Service, request: Request) -> Any:
    """A new key. Its secret is in this answer, and nowhere else ever again."""
    who = caller(service, request)
    who.require("admin")
    body = parse.convert(parse.document(await request.body()), NewKey)
    check(body, [candidate.name for candidate in service.router.plan.candidates], service.admission.control.alone)
    made, secret = new_key(body)
    await service.audit(who, "key.create", made.id, {"tenant": made.tenant, "role": made.role, "name": made.name})
    await _store(service).put(made)
    await service.admission.look()
    return {"secret": secret} | view(made)


async def change(service: Service, request: Request) -> Any:
    """Replace the fields that are sent. What has been spent stays counted."""
    who = caller(service, request)
    who.require("admin")
    body = parse.convert(parse.document(await request.body()), ChangedKey)
    said = {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not msgspec.UNSET}
    before = _virtual(service, request.path_params["id"])
    merged = KeyBody(**(_editable(before) | said))
    check(merged, [candidate.name for candidate in service.router.plan.candidates], service.admission.control.alone)
    changed = msgspec.structs.replace(before, **_fields(merged))
    await service.audit(who, "key.change", before.id, {"fields": sorted(said)})
    await _store(service).put(changed)
    await service.admission.look()
    return view(changed)


async def revoke(service: Service, request: Request) -> Any:
    """From the answer on here, and within a second everywhere, the key is refused. It cannot be undone."""
    who = caller(service, request)
    who.require("admin")
    before = _virtual(service, request.path_params["id"])
    await service.audit(who, "key.revoke", before.id, {"tenant": before.tenant})
    revoked = await _store(service).revoke(before.id, time.time())
    await service.admission.look()
    return view(revoked)


async def budgets(service: Service, request: Request) -> Any:
    """Every budget with what is used and reserved: the figures by which requests are let in."""
    scope = caller(service, request).scope
    standings = await service.admission.control.standings(service.admission.accounts(scope))
    return {
        "budgets": [
            {
                "scope": one.account.split(":", 1)[0],
                "name": one.account.split(":", 1)[1],
                "window": one.budget.window,
                "used_usd": one.used,
                "reserved_usd": one.reserved,
                "soft_usd": one.budget.soft_usd,
                "hard_usd": one.budget.hard_usd,
                "window_ends": None if one.budget.window == "total" else one.ends,
            }
            for one in standings
        ],
        "degraded": service.admission.degraded,
    }


async def tenants(service: Service, request: Request) -> Any:
    """Each tenant that is configured or has a key: what it may use, and what it has spent in the present windows."""
    scope = caller(service, request).scope
    held: dict[str, int] = {}
    for one in service.admission.identities():
        if one.tenant is not None:
            held[one.tenant] = held.get(one.tenant, 0) + 1
    terms = service.front.terms.tenants
    names = [name for name in sorted(held.keys() | terms.keys()) if scope in (None, name)]
    used = await service.admission.control.used([f"tenant:{name}" for name in names])
    return {
        "tenants": [
            {
                "name": name,
                "keys": held.get(name, 0),
                **_allowed(terms.get(name, Allowance())),
                "used_usd": used[f"tenant:{name}"],
            }
            for name in names
        ]
    }


def check(body: KeyBody, candidates: list[str], counted: bool = True) -> None:
    """Raises `RequestError` for what can be written but makes no sense, or would not be `counted`."""
    if not counted and Allowance(body.budgets, body.limits) != UNLIMITED:
        raise RequestError(f"{UNCOUNTED}: set `admission.redis`, or leave out budgets and limits", param="budgets")
    if (found := misfit(body.budgets)) is not None:
        raise RequestError(f"budgets[{found[0]}]: {found[1]}", param=f"budgets[{found[0]}]")
    if not body.candidates:
        raise RequestError("candidates: an empty list names no candidate; leave it out, or name some")
    for i, glob in enumerate(body.candidates):
        if candidates and not any(fnmatchcase(name, glob) for name in candidates):
            problem = f"candidates[{i}]: {glob!r} matches no candidate; {nearest(glob, candidates)}"
            raise RequestError(problem, param=f"candidates[{i}]")
    if body.expires is not None and not (math.isfinite(body.expires) and body.expires > time.time()):
        raise RequestError("expires: it must be in the future, in seconds since the epoch", param="expires")
    if len(body.metadata) > MOST_METADATA:
        raise RequestError(f"metadata: at most {MOST_METADATA} entries", param="metadata")


def new_key(body: NewKey) -> tuple[VirtualKey, str]:
    """A key and its secret."""
    id, secret = mint()
    made = VirtualKey(
        id=id,
        digest=digest(secret.encode()),
        prefix=secret[:SHOWN],
        tenant=body.tenant,
        created=time.time(),
        **_fields(body),
    )
    return made, secret


def view(key: VirtualKey) -> dict[str, Any]:
    """A virtual key for people: everything but its digest."""
    state = "revoked" if key.revoked else "expired" if key.expires and key.expires <= time.time() else "active"
    return {
        "id": key.id,
        "kind": "virtual",
        "prefix": key.prefix,
        "state": state,
        "tenant": key.tenant,
        "name": key.name,
        "role": key.role,
        "candidates": key.candidates,
        **_allowed(key.allowance),
        "created": key.created,
        "expires": key.expires,
        "revoked": key.revoked,
        "metadata": key.metadata,
    }


def static_view(one: Identity) -> dict[str, Any]:
    return {
        "id": one.key,
        "kind": "static",
        "state": "active",
        "tenant": one.tenant,
        "role": one.role,
        "candidates": one.candidates,
        **_allowed(one.allowance),
    }


def _allowed(allowance: Allowance) -> dict[str, Any]:
    return {"budgets": allowance.budgets, "limits": allowance.limits}


def _fields(body: KeyBody) -> dict[str, Any]:
    """Of a `VirtualKey`."""
    return {
        "name": body.name,
        "role": body.role,
        "candidates": body.candidates,
        "allowance": Allowance(body.budgets, body.limits),
        "expires": body.expires,
        "metadata": body.metadata,
    }


def _editable(key: VirtualKey) -> dict[str, Any]:
    """Of a `KeyBody`."""
    return {
        "name": key.name,
        "role": key.role,
        "candidates": key.candidates,
        "budgets": key.allowance.budgets,
        "limits": key.allowance.limits,
        "expires": key.expires,
        "metadata": dict(key.metadata),
    }


def _find(service: Service, id: str, scope: str | None) -> dict[str, Any]:
    for one in service.front.static.values():
        if one.key == id and scope in (None, one.tenant):
            return static_view(one)
    found = next((key for key in service.admission.virtual if key.id == id and scope in (None, key.tenant)), None)
    if found is None:
        raise NotFound(f"there is no key {id!r}", param="id")
    return view(found)


def _virtual(service: Service, id: str) -> VirtualKey:
    found = next((key for key in service.admission.virtual if key.id == id), None)
    if found is None:
        if any(one.key == id for one in service.front.static.values()):
            raise RequestError(f"{id!r} stands in the configuration; change it there", param="id")
        raise NotFound(f"there is no key {id!r}", param="id")
    return found


def _store(service: Service) -> KeyStore:
    if service.admission.store is None:
        raise InterlockError("the keys are not open yet")
    return service.admission.store


ADMIN: dict[tuple[str, str], Endpoint] = {
    ("GET", "/admin/keys"): keys,
    ("POST", "/admin/keys"): create,
    ("GET", "/admin/keys/{id}"): key,
    ("POST", "/admin/keys/{id}"): change,
    ("POST", "/admin/keys/{id}/revoke"): revoke,
    ("GET", "/admin/budgets"): budgets,
    ("GET", "/admin/tenants"): tenants,
}
