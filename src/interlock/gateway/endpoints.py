"""x"""
from __future__ import annotations
from starlette.requests import Request
from starlette.responses import Response
from ..errors import NotFound, nearest
from .app import Endpoint, stream
from .service import Service

def _auth(request): return request.headers.get("authorization", "").encode("latin-1")

async def models(service, request):
    service.keys.tenant(_auth(request))
    return {"object": "list", "data": list(service.models.values())}
async def model(service, request):
    service.keys.tenant(_auth(request))
    name = request.path_params["name"]
    if name not in service.models:
        raise NotFound(f"model {name!r} does not exist; {nearest(name, list(service.models))}", param="model", code="model_not_found")
    return service.models[name]
async def healthz(service, request): return {"status": "ok"}
async def readyz(service, request): return {"ready": service.ready}
async def metrics(service, request): return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")
async def events(service, request): return stream(service.hub.listen(service.keys.scope(_auth(request))))
ENDPOINTS = {("GET","/v1/models"): models, ("GET","/v1/models/{name:path}"): model, ("GET","/healthz"): healthz, ("GET","/readyz"): readyz, ("GET","/metrics"): metrics, ("GET","/v1/events"): events}
