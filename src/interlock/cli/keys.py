"""`interlock keys`: make, look at and revoke virtual keys.

With a running gateway these verbs ask it (--url, with an admin's key in INTERLOCK_KEY); with --ledger they work on the
keys themselves, which is how the first admin key is made: those beside a file that no gateway writes, or in PostgreSQL.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from .output import emit
from .remote import URL, call

if TYPE_CHECKING:
    from ..identity import KeyStore, VirtualKey
    from ..ledger import Place

T = TypeVar("T")
app = typer.Typer(help="Virtual keys: make, look at and revoke them.", no_args_is_help=True)

FILE = typer.Option(
    None, "--ledger", "-l", help="Work on the keys of this ledger (a file, or env:NAME) instead of asking a gateway."
)
JSON = typer.Option(False, "--json", help="Print JSON.")
UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


@app.command()
def create(
    tenant: str = typer.Option(help="Whose requests come with the key."),
    name: str = typer.Option("", help="What it is for, for people."),
    role: str = typer.Option("viewer", help="viewer, operator or admin."),
    candidate: list[str] = typer.Option(["*"], help="Glob of the candidates it may use; may be repeated."),
    hard: list[str] = typer.Option([], help="Hard budget, such as month:100 (USD); may be repeated."),
    soft: list[str] = typer.Option([], help="Soft budget, such as day:5: answers carry a warning above it."),
    requests_per_minute: int | None = typer.Option(None, help="Requests a minute."),
    tokens_per_minute: int | None = typer.Option(None, help="Tokens a minute, prompt and answer together."),
    parallel_streams: int | None = typer.Option(None, help="Streamed answers open at once."),
    expires: str = typer.Option("", help="How long it lives: 30m, 12h, 90d. Default: for ever."),
    meta: list[str] = typer.Option([], help="name=value to keep beside it; may be repeated."),
    url: str = URL,
    ledger: str | None = FILE,
    as_json: bool = JSON,
) -> None:
    """Make a key and print its secret, once: only a digest of it is kept.

    Example: [bold]interlock keys create --tenant acme --hard month:100 --soft month:80[/bold]
    """
    import time

    limits = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "parallel_streams": parallel_streams,
    }
    body = {
        "tenant": tenant,
        "name": name,
        "role": role,
        "candidates": candidate,
        "budgets": budgets(hard, soft),
        "limits": {name: value for name, value in limits.items() if value is not None},
        "expires": time.time() + seconds(expires) if expires else None,
        "metadata": dict(_pair(text, "=", "--meta") for text in meta),
    }
    made = call(url, "/admin/keys", body) if ledger is None else _create(ledger, body)

    def say() -> None:
        typer.echo("This is the only time that the key is shown:", err=True)
        print(made["secret"])

    emit(made, as_json, say)


@app.command("list")
def list_(url: str = URL, ledger: str | None = FILE, as_json: bool = JSON) -> None:
    """Show all keys, without what would let anybody use them.

    Example: [bold]interlock keys list[/bold]
    """
    facts = call(url, "/admin/keys") if ledger is None else {"keys": [_view(key) for key in _stored(ledger)]}

    def say() -> None:
        from rich.console import Console
        from rich.table import Table

        table = Table("id", "key", "state", "tenant", "role", "name", "budgets")
        for key in facts["keys"]:
            limits = ", ".join(_budget(budget) for budget in key["budgets"])
            prefix = f"{key['prefix']}..." if "prefix" in key else "(configuration)"
            table.add_row(key["id"], prefix, key["state"], key["tenant"], key["role"], key.get("name", ""), limits)
        Console().print(table)

    emit(facts, as_json, say)


@app.command()
def show(
    id: str = typer.Argument(help="The key's id, as `list` shows it."),
    url: str = URL,
    ledger: str | None = FILE,
    as_json: bool = JSON,
) -> None:
    """Show one key; a running gateway also says what it has spent.

    Example: [bold]interlock keys show key-019...[/bold]
    """
    facts = call(url, f"/admin/keys/{id}") if ledger is None else _view(_named(ledger, id))

    def say() -> None:
        from rich.console import Console
        from rich.table import Table

        table = Table("", "", show_header=False)
        for name, value in facts.items():
            table.add_row(name, str(value))
        Console().print(table)

    emit(facts, as_json, say)


@app.command()
def revoke(
    id: str = typer.Argument(help="The key's id, as `list` shows it."),
    url: str = URL,
    ledger: str | None = FILE,
    as_json: bool = JSON,
) -> None:
    """Refuse a key from now on. This cannot be undone.

    Example: [bold]interlock keys revoke key-019...[/bold]
    """
    facts = call(url, f"/admin/keys/{id}/revoke", {}) if ledger is None else _revoke(ledger, id)
    emit(facts, as_json, lambda: print(f"{id} is revoked"))


def budgets(hard: list[str], soft: list[str]) -> list[dict[str, Any]]:
    """`month:100` and the like, one budget a window. Raises `typer.BadParameter`."""
    found: dict[str, dict[str, Any]] = {}
    for option, field, texts in (("--hard", "hard_usd", hard), ("--soft", "soft_usd", soft)):
        for text in texts:
            window, amount = _pair(text, ":", option)
            try:
                usd = float(amount)
            except ValueError:
                raise typer.BadParameter(f"{amount!r} is no amount in USD", param_hint=option) from None
            found.setdefault(window, {"window": window})[field] = usd
    return list(found.values())


def seconds(text: str) -> float:
    """`90d` and the like. Raises `typer.BadParameter`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no time; write 30m, 12h or 90d", param_hint="--expires")
    return float(match[1]) * UNITS[match[2]]


def _pair(text: str, mark: str, option: str) -> tuple[str, str]:
    first, found, second = text.partition(mark)
    if not found or not first:
        raise typer.BadParameter(f"{text!r} has no {mark!r} in it", param_hint=option)
    return first, second


def _budget(budget: Mapping[str, Any]) -> str:
    figures = [f"{name} ${budget[f'{name}_usd']:g}" for name in ("soft", "hard") if budget[f"{name}_usd"] is not None]
    return f"{' '.join(figures)} a {budget['window']}".replace("a total", "in total")


def _view(key: VirtualKey) -> Any:
    import msgspec

    from ..gateway.admin import view

    return msgspec.to_builtins(view(key))


def _stored(ledger: Place) -> list[VirtualKey]:
    import asyncio

    loaded = asyncio.run(_with(ledger, lambda store: store.load()))
    return loaded.keys if loaded else []


async def _with(ledger: Place, work: Callable[[KeyStore], Awaitable[T]]) -> T:
    """Work on the keys of a ledger."""
    from ..gateway.admission import keys_of

    store = keys_of(ledger)
    try:
        return await work(store)
    finally:
        await store.close()


def _named(ledger: Place, id: str) -> VirtualKey:
    from ..errors import NotFound, nearest

    found = {key.id: key for key in _stored(ledger)}
    if id not in found:
        raise NotFound(f"there is no key {id!r}; {nearest(id, list(found))}")
    return found[id]


def _create(ledger: Place, body: Mapping[str, Any]) -> Any:
    import asyncio

    from ..gateway import parse
    from ..gateway.admin import NewKey, check, new_key

    said = parse.convert(dict(body), NewKey)
    check(said, [])
    made, secret = new_key(said)
    _audit(ledger, "key.create", made.id, {"tenant": made.tenant, "role": made.role, "name": made.name})
    asyncio.run(_with(ledger, lambda store: store.put(made)))
    return {"secret": secret} | _view(made)


def _revoke(ledger: Place, id: str) -> Any:
    import asyncio
    import time

    key = _named(ledger, id)
    _audit(ledger, "key.revoke", id, {"tenant": key.tenant})
    return _view(asyncio.run(_with(ledger, lambda store: store.revoke(id, time.time()))))


def _audit(ledger: Place, action: str, subject: str, detail: Mapping[str, Any]) -> None:
    """Raises `LedgerError` while a gateway writes this ledger: then ask it, with --url."""
    import time

    from ..ledger import Audit, open_ledger
    from ..ledger.database import is_url, located

    place = located(ledger)
    if not is_url(place):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
    with open_ledger(place) as book:
        book.put(
            Audit(at=time.time(), action=action, subject=subject, detail={"by": "", **detail}), durable=True
        ).wait()
