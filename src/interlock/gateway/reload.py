"""Hot reload: the configuration file is looked at once a second, and what it says is served as soon as it is right.

A file with a mistake in it changes nothing: the old configuration goes on serving, and `/v1/config`, the metrics
and the open pages say what is wrong. Host, port and the limits of connections are read at the start only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from ..config import Watch, load
from ..errors import ConfigError, InterlockError
from .front import countable, front
from .service import Background, Reload, Service

log = logging.getLogger("interlock.gateway")


def watching(path: Path, every: float = 1.0) -> Background:
    """A background of a service: reloads `path` whenever its content has changed; looks every `every` seconds."""

    watch = Watch(path)  # from now on, so that no change is missed while the gateway starts

    async def run(service: Service) -> None:
        while True:
            await asyncio.sleep(every)
            if await asyncio.to_thread(watch.changed):
                await reload(service, path)

    return run


async def reload(service: Service, path: Path) -> None:
    """Serve what the file says now, or keep what serves and say why."""
    try:
        settings = await asyncio.to_thread(load, path)
        if settings.admission != service.router.plan.settings.admission:
            raise ConfigError("keys and counters are opened at the start; restart to change them", path="admission")
        countable(settings, alone=not service.router.ledger.shared)
        await service.router.reload(settings)
        await service.adopt(front(settings, service.router.plan.candidates, previous=service.front))
    except InterlockError as error:
        log.error("the configuration was not reloaded, the old one serves on: %s", error)
        service.reload = Reload(time.time(), error.message)
    except Exception as error:
        log.exception("the configuration was not reloaded, the old one serves on", exc_info=error)
        service.reload = Reload(time.time(), f"{type(error).__name__}: {error}")
    else:
        log.warning("the configuration was reloaded: %s", settings.hash[:12])
        service.reload = Reload(time.time())
    service.metrics.reload(not service.reload.error)
    service.hub.publish("config", service.config, tenant="")  # nobody's in particular: for operators
