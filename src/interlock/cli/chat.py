"""`interlock chat`: talk to a running gateway, and see who answers."""

from __future__ import annotations

from typing import Any

import typer

from .remote import URL, call


def chat(
    url: str = URL,
    model: str = typer.Option("auto", help="`auto`, another virtual model, or one candidate."),
) -> None:
    """Chat with a running gateway. After an answer, type + or - to give feedback; an empty line or Ctrl-D ends.

    Example: [bold]interlock chat --model auto[/bold]
    """
    from rich.console import Console

    console = Console()
    turns: list[dict[str, Any]] = []
    last = ""
    while True:
        try:
            said = console.input("[bold]you>[/] ").strip()
        except EOFError:
            return
        if not said:
            return
        if said in ("+", "-") and last:
            call(url, "/v1/feedback", {"id": last, "score": float(said == "+"), "source": "cli"})
            console.print("[dim]thank you, recorded[/]")
            continue
        turns.append({"role": "user", "content": said})
        answer = call(url, "/v1/chat/completions", {"model": model, "messages": turns})
        message = answer["choices"][0]["message"]
        turns.append({"role": "assistant", "content": message["content"]})
        last = answer["id"]
        console.print(f"[green]{answer.get('model', model)}>[/] {message['content']}", highlight=False)
