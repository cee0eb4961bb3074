"""The newest rows of a ledger, below a given one: what a page through the past shows."""

from __future__ import annotations

from ..ledger import Reading, Row

FIRST_REACH = 256  # rows looked back over at first; doubled until enough are found


def latest(ledger: Reading, limit: int, before: int, kind: str | None = None, tenant: str | None = None) -> list[Row]:
    """Up to `limit` rows with seq < `before`, newest first, of one kind and of one tenant if named."""
    found: list[Row] = []
    until, reach = min(before - 1, ledger.head()[0]), max(limit, FIRST_REACH)
    while until > 0 and len(found) < limit:
        since = max(0, until - reach)
        found += reversed(list(ledger.rows(kind=kind, tenant=tenant, since=since, until=until)))
        until, reach = since, 2 * reach
    return found[:limit]
