"""`interlock chat`: talk to a running gateway, and see who answers."""

from __future__ import annotations

from typing import Any

import typer

from ..errors import InterlockError, RequestError, Unreachable
from .output import complain
from .remote import URL, ask, call


def chat(
    url: str = URL,
    model: str = typer.Option("auto", help="`auto`, another virtual model, or one candidate."),
    as_json: bool = typer.Option(False, "--json", help="Print each answer as one line of JSON."),
) -> None:
    """Chat with a running gateway. After an answer, type + or - to give feedback; an empty line or Ctrl-D ends.

    Example: [bold]interlock chat --model auto[/bold]
    """
    import sys

    import msgspec
    from rich.console import Console

    console = Console(highlight=False)
    prompt = "[bold]you>[/] " if sys.stdin.isatty() and not as_json else ""
    turns: list[dict[str, Any]] = []
    last = ""
    while said := _said(console, prompt):
        try:
            if said in ("+", "-"):
                _judge(url, last, said)
                typer.echo("thank you, recorded", err=True)
                continue
            turns.append({"role": "user", "content": said})
            reply = ask(url, "/v1/chat/completions", {"model": model, "messages": turns})
        except Unreachable:
            raise
        except InterlockError as error:
            complain(error)
            turns = turns[:-1] if turns and turns[-1]["role"] == "user" else turns
            continue
        text = reply.document["choices"][0]["message"].get("content") or ""
        turns.append({"role": "assistant", "content": text})
        last, who = reply.headers.get("x-interlock-id", ""), reply.headers.get("x-interlock-model", model)
        if as_json:
            line = {"id": last, "model": who, "text": text, "usage": reply.document.get("usage")}
            print(msgspec.json.encode(line).decode(), flush=True)
        else:
            console.print(f"[green]{who}>[/] ", end="")
            console.print(text, markup=False)


def _said(console: Any, prompt: str) -> str:
    """The next line; empty at the end."""
    try:
        return str(console.input(prompt)).strip()
    except EOFError:
        return ""


def _judge(url: str, decision: str, said: str) -> None:
    if not decision:
        raise RequestError("there is no answer to judge yet")
    call(url, "/v1/feedback", {"id": decision, "score": float(said == "+"), "source": "cli"})
