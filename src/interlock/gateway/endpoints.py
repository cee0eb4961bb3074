"""What the cold application answers with. Each endpoint takes the service and the request and gives a document.

With keys configured a tenant sees what is its own; what belongs to nobody in particular (pool, curve, configuration,
learner) is for operators. Probes and metrics are open.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..config import changes, load
from ..errors import ConfigError, NotFound, RequestError, SnapshotError, Unauthorized, nearest
from ..ledger import records
from ..ledger.reading import Case
from ..ledger.records import KINDS
from . import curve, explain, openapi, parse, pool, responding, savings, shadow, traffic
from .admin import ADMIN
from .app import Endpoint, caller, stream
from .history import History, compact
from .latest import latest
from .reload import reload
from .service import Service

MOST_ROWS = 1000


async def whoami(service: Service, request: Request) -> Any:
    """Whose key this is and what it may: `role` is `viewer`, `operator`, `admin`, or `anyone` while there are no keys.

    Without a key that is known here it is `nobody`, and `problem` says why.
    """
    try:
        who = caller(service, request)
    except Unauthorized as error:
        return {"tenant": None, "role": "nobody", "operator": False, "problem": error.message}
    role = "anyone" if who.tenant is None else who.role
    return {"tenant": who.tenant, "role": role, "operator": who.scope is None, "problem": ""}


async def models(service: Service, request: Request) -> Any:
    """What may be asked for: virtual models and candidates."""
    caller(service, request)
    return {"object": "list", "data": list(service.models.values())}


async def model(service: Service, request: Request) -> Any:
    """One of them."""
    caller(service, request)
    name = request.path_params["name"]
    if name not in service.models:
        problem = f"model {name!r} does not exist; {nearest(name, list(service.models))}"
        raise NotFound(problem, param="model", code="model_not_found")
    return service.models[name]


async def one_decision(service: Service, request: Request) -> Any:
    """The decision, how it went, what was said of it; `prompt` and `answer` only where they are kept."""
    tenant, name = caller(service, request).scope, request.path_params["id"]
    case = await service.router.ledger.explain(name)
    if tenant is not None and case.decision.tenant != tenant:
        raise NotFound(f"no decision {name!r} in the ledger", param="id")
    return {
        "decision": explain.decision(case.decision, quoting=True),
        "outcome": case.outcome,
        "feedback": case.feedback,
        "prompt": case.prompt,
        "answer": case.answer,
        "erased": case.erased,
        "shadow": await _shadow_of(service, case),
    }


async def _shadow_of(service: Service, case: Case) -> Any:
    found = service.second
    if found is None or case.decision.chosen is None:
        return None
    return await asyncio.to_thread(shadow.would_choose, compact(case.decision), found)


async def recent_rows(service: Service, request: Request) -> Any:
    """`limit` rows below `before`, newest first; `kind` selects. `next` is the `before` of the next page, or null."""
    tenant = caller(service, request).scope
    limit = _number(request, "limit", 50, 1, MOST_ROWS)
    before = _number(request, "before", 1 << 62, 1, 1 << 62)
    kind = request.query_params.get("kind")
    if kind is not None and kind not in KINDS:
        raise RequestError(f"kind: {kind!r} is no kind of row; {nearest(kind, KINDS)}", param="kind")
    rows = await asyncio.to_thread(latest, service.router.ledger, limit, before, kind, tenant)
    return {
        "rows": [
            {
                "seq": row.seq,
                "at": row.at,
                "kind": row.kind,
                "hash": row.hash.hex(),
                "record": records.document(row.record),
            }
            for row in rows
        ],
        "next": rows[-1].seq if len(rows) == limit else None,
    }


async def events(service: Service, request: Request) -> Any:
    """Decisions, outcomes, feedback, snapshots and reloads as they happen."""
    return stream(service.hub.listen(caller(service, request).scope))


async def the_pool(service: Service, request: Request) -> Any:
    """Each candidate's share, quality, cost, latency and breaker over the last decisions."""
    caller(service, request).require("operator")
    candidates, breakers = service.router.plan.candidates, service.breakers()

    def look(history: History) -> Any:
        return {"candidates": pool.pool(candidates, history.decisions(), breakers), "decisions": len(history)}

    return await service.look(look)


async def the_curve(service: Service, request: Request) -> Any:
    """Utility over time, served and of each fixed candidate."""
    caller(service, request).require("operator")
    points = _number(request, "points", 40, 1, 400)
    utility = service.router.served.policy.objective.utility
    return await service.look(lambda history: curve.curve(history.scored(), utility, points))


async def the_shadow(service: Service, request: Request) -> Any:
    """How often the second policy decides otherwise, and what it would be worth."""
    caller(service, request).require("operator")
    found, serving = service.second, service.router.plan.settings.policy
    return await service.look(lambda history: shadow.compare(history.decisions(), found, serving))


async def the_savings(service: Service, request: Request) -> Any:
    """What was saved against always asking one candidate, with intervals."""
    caller(service, request).require("operator")
    against = request.query_params.get("against", "")
    return await service.look(lambda history: savings.savings(history.decisions(), against))


async def the_traffic(service: Service, request: Request) -> Any:
    """Latency, cost and errors over time, whole and by candidate."""
    caller(service, request).require("operator")
    points = _number(request, "points", 60, 2, 400)
    candidates, breakers = service.router.plan.candidates, service.breakers()
    return await service.look(lambda history: traffic.traffic(history.decisions(), candidates, breakers, points))


async def config(service: Service, request: Request) -> Any:
    """The settings that serve, without secrets."""
    caller(service, request).require("operator")
    return service.config()


async def config_diff(service: Service, request: Request) -> Any:
    """What the file says otherwise than what serves; `error` where it cannot be read, and then no changes."""
    caller(service, request).require("operator")
    file = service.watched
    if file is None:
        return {"file": None, "error": "", "changes": []}
    try:
        settings = await asyncio.to_thread(load, file)
    except ConfigError as error:
        return {"file": str(file), "error": error.message, "changes": []}
    return {
        "file": str(file),
        "error": "",
        "changes": [change._asdict() for change in changes(service.router.plan.settings, settings)],
    }


async def load_again(service: Service, request: Request) -> Any:
    """Read the configuration file now. How that went is in the answer."""
    who = caller(service, request)
    who.require("operator")
    if service.watched is None:
        raise NotFound("this gateway was started without a configuration file; there is nothing to reload")
    await service.audit(who, "config.reload", str(service.watched), {"before": service.front.hash})
    await reload(service, service.watched)
    return service.config()


async def learner(service: Service, request: Request) -> Any:
    """What is served and how far learning is."""
    caller(service, request).require("operator")
    return service.learner.status()


async def rollback(service: Service, request: Request) -> Any:
    """Pin the snapshot named in `{"version": ...}`: it serves, and stays, until `resume`."""
    caller(service, request).require("operator")
    version = parse.document(await request.body() or b"{}").get("version")
    if not isinstance(version, str):
        raise RequestError('version: send {"version": "<snapshot>"}', param="version")
    try:
        await asyncio.to_thread(service.learner.rollback, version)
    except SnapshotError as error:
        raise NotFound(error.message, param="version") from error
    return service.learner.status()


async def resume(service: Service, request: Request) -> Any:
    """Serve the newest snapshot again."""
    caller(service, request).require("operator")
    await asyncio.to_thread(service.learner.resume)
    return service.learner.status()


async def healthz(service: Service, request: Request) -> Any:
    """The process lives and its event loop turns."""
    return {"status": "ok"}


async def readyz(service: Service, request: Request) -> Any:
    """Whether requests should come here: not before the start, not while draining, not when the ledger cannot write."""
    problems = service.problems()
    degraded = service.router.ledger.degraded
    document = {"ready": not problems, "problems": problems} | ({"degraded": degraded} if degraded else {})
    return JSONResponse(document, 503 if problems else 200)


async def metrics(service: Service, request: Request) -> Any:
    """Prometheus text."""
    return Response(await service.exposition(), media_type=CONTENT_TYPE_LATEST)


async def describe(service: Service, request: Request) -> Any:
    """This description."""
    return openapi.document(ENDPOINTS)


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise RequestError(f"{name}: {text!r} is not a whole number from {least} to {most}", param=name)
    return int(text)


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("GET", "/v1/whoami"): whoami,
    ("GET", "/v1/models"): models,
    ("GET", "/v1/models/{name:path}"): model,
    ("GET", "/v1/responses/{id}"): responding.retrieve,
    ("DELETE", "/v1/responses/{id}"): responding.delete,
    ("GET", "/v1/responses/{id}/input_items"): responding.input_items,
    ("GET", "/v1/ledger"): recent_rows,
    ("GET", "/v1/ledger/{id}"): one_decision,
    ("GET", "/v1/events"): events,
    ("GET", "/v1/pool"): the_pool,
    ("GET", "/v1/curve"): the_curve,
    ("GET", "/v1/shadow"): the_shadow,
    ("GET", "/v1/savings"): the_savings,
    ("GET", "/v1/traffic"): the_traffic,
    ("GET", "/v1/config"): config,
    ("GET", "/v1/config/diff"): config_diff,
    ("POST", "/admin/reload"): load_again,
    ("GET", "/v1/learner"): learner,
    ("POST", "/v1/learner/rollback"): rollback,
    ("POST", "/v1/learner/resume"): resume,
    ("GET", "/openapi.json"): describe,
    ("GET", "/healthz"): healthz,
    ("GET", "/readyz"): readyz,
    ("GET", "/metrics"): metrics,
    **ADMIN,
}
