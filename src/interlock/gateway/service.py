"""What the handlers share: the router and what the gateway keeps about it. Everything here lives on one event loop."""

from __future__ import annotations

from .hub import Hub
from .keys import Keys
from .metrics import Metrics
from .models import Catalogue


class Service:
    def __init__(self, router, keys: Keys, models: Catalogue) -> None:
        self.router, self.keys, self.models = router, keys, models
        self.metrics, self.hub = Metrics(), Hub()
        self.ready = False

    async def __aenter__(self):
        self.ready = True
        return self

    async def __aexit__(self, *_):
        await self.router.close()

    def draining(self) -> None:
        self.ready = False
        self.hub.close()

    async def owned(self, id, tenant): ...
