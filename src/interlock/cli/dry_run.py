"""A router that only decides: as a gateway of this configuration would, with what the ledger's newest snapshot knows.

It reads the ledger and never writes it, so it also works beside a gateway that is running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..errors import SnapshotError
from .output import warn

if TYPE_CHECKING:
    from ..ledger import Ledger, Reading
    from ..plan import Served
    from ..policy import Policy
    from ..router import Router


@contextmanager
def dry_router(config: Path | None, ledger: str | None) -> Iterator[Router]:
    """Raises `ConfigError`, and `LedgerError` when there is a ledger that cannot be read."""
    from ..assembly import UNTRAINED, build_plan, build_policy
    from ..config import from_document, load
    from ..ledger import Reading
    from ..ledger.database import is_url, located
    from ..offered import offer
    from ..plan import Served
    from ..providers import close_all
    from ..router import Router

    settings = load(config) if config is not None else from_document(offer().document)
    plan = build_plan(settings)
    policy, place = build_policy(settings, plan.reader), located(ledger or settings.ledger.url or settings.ledger.path)
    try:
        none = not is_url(place) and not Path(place).exists()
        served = Served(policy.prepare(), UNTRAINED) if none else _newest(policy, Reading(place))
        yield Router(plan, served, cast("Ledger", None))  # deciding touches no ledger
    finally:
        asyncio.run(close_all(plan.executor.providers.values()))


def _newest(policy: Policy, reading: Reading) -> Served:
    """The pinned snapshot, else the newest that this policy can be restored from."""
    from ..assembly import UNTRAINED
    from ..ledger.snapshots import check, pinned
    from ..plan import Served

    passed_over = ""
    try:
        for version in filter(None, (pinned(reading), *(version for version, *_ in reading.snapshots()))):
            stored = reading.snapshot(version)
            try:
                if stored is not None:
                    return Served(policy.restore(check(stored).state).prepare(), version)
            except SnapshotError as error:
                passed_over = passed_over or f"snapshot {version} cannot be used: {error}"
        if passed_over:
            warn(f"{passed_over}; deciding without what was learnt")
        return Served(policy.prepare(), UNTRAINED)
    finally:
        reading.close()
