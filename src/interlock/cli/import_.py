"""`interlock import`: a configuration of another gateway as an `interlock.yaml`."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from .output import emit, warn

app = typer.Typer(help="Take over the configuration of another gateway.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keeps `litellm` a word of its own while it is the only one."""


@app.command()
def litellm(
    config: Path = typer.Argument(help="The proxy's YAML file, with a model_list."),
    out: Path | None = typer.Option(None, "--out", "-o", help="Write here instead of printing. Never overwrites."),
    as_json: bool = typer.Option(False, "--json", help="Print settings, keys left and secrets as JSON."),
) -> None:
    """Translate a LiteLLM proxy configuration, and name each key that could not be honoured.

    The result is validated. Secrets are never copied: a key that is written out becomes a reference to an environment
    variable, which is named. Exit code 3 if no deployment can be served.

    Example: [bold]interlock import litellm config.yaml --out interlock.yaml[/bold]
    """
    import yaml

    from ..config import Document, from_document
    from ..config.litellm import translate
    from ..errors import ConfigError

    imported = translate(Document.read(config))
    text = yaml.safe_dump(imported.settings, sort_keys=False, width=120)
    # The secrets are looked for where the configuration will be served, not here.
    from_document(Document(imported.settings, file=str(config)), dict.fromkeys(re.findall(r"env:(\w+)", text), "set"))
    if out is not None:
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(f"# From {config.name} by `interlock import litellm`.\n{text}")
        except OSError as error:
            raise ConfigError(f"cannot be written: {error.strerror}", file=str(out)) from None
    for left in imported.left:
        warn(f"{config}:{left.line}: {left.path}: {left.why}")
    for variable in imported.secrets:
        warn(f"{config} has a secret written out; put it into the environment variable {variable}")

    def show() -> None:
        print(f"# {out} is written and valid" if out is not None else text, end="\n" if out is not None else "")

    facts = {"settings": imported.settings, "left": imported.left, "secrets": imported.secrets}
    emit(facts, as_json, show)
