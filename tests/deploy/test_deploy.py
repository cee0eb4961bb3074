"""What can be checked of the deployment files without a cluster or a container engine: that they agree with the program
and with each other. Where `systemd-analyze` and `kubectl` are installed, they check too.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import typer.main
import yaml

from interlock.cli import build
from interlock.config import load
from interlock.config.settings import ServerSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def served(arguments: list[str]) -> dict[str, Any]:
    """The options of `interlock serve` as its own parser understands them; fails for one that does not exist."""
    command = typer.main.get_command(build()).get_command(None, "serve")  # type: ignore[arg-type,attr-defined]
    parsed: dict[str, Any] = command.make_context("serve", list(arguments)).params
    return parsed


def instruction(name: str) -> list[str]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    return re.findall(rf"^{name} (.*)$", text, re.MULTILINE)


def test_the_image_starts_the_gateway_on_the_port_it_exposes() -> None:
    (entry,) = instruction("ENTRYPOINT")
    program, verb, *arguments = yaml.safe_load(entry)
    options = served(arguments)
    assert (program, verb) == ("/opt/interlock/bin/interlock", "serve")
    assert options["port"] == int(instruction("EXPOSE")[0]) == ServerSettings().port
    assert Path(options["ledger"]).parent == Path(instruction("VOLUME")[0]) == Path(instruction("WORKDIR")[-1])


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for copy in instruction("COPY"):
        if not copy.startswith("--from"):
            for source in copy.split()[:-1]:
                assert (ROOT / source).exists()
                assert source in let_through


def test_the_image_runs_unprivileged() -> None:
    assert instruction("USER") == ["interlock"]
    assert "--uid 8400" in (ROOT / "Dockerfile").read_text()


def test_the_cluster_serves_a_valid_configuration_and_probes_paths_that_exist() -> None:
    spec = yaml.safe_load((DEPLOY / "kustomize" / "statefulset.yaml").read_text())["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    options = served(container["args"])
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    assert options["config"].parent == mounts["configuration"]
    settings = load(DEPLOY / "kustomize" / options["config"].name, {})
    assert settings.server.drain_s + settings.server.grace_s < pod["terminationGracePeriodSeconds"]
    assert mounts["ledger"] == Path(instruction("VOLUME")[0])
    assert [container[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")] == [
        "/readyz",
        "/healthz",
    ]
    assert pod["securityContext"]["runAsUser"] == 8400
    assert spec["replicas"] == 1
    ports = yaml.safe_load((DEPLOY / "kustomize" / "service.yaml").read_text())["spec"]["ports"]
    assert ports[0]["targetPort"] == container["ports"][0]["name"]


def test_compose_builds_from_here_and_keeps_the_ledger() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    service = compose["services"]["interlock"]
    assert (DEPLOY / service["build"]).resolve() == ROOT
    volume, path = service["volumes"][0].split(":")
    assert volume in compose["volumes"]
    assert path == instruction("VOLUME")[0]


def test_kubectl_renders_the_base_where_it_is_installed() -> None:
    if shutil.which("kubectl"):
        rendered = subprocess.run(
            ["kubectl", "kustomize", str(DEPLOY / "kustomize")], capture_output=True, text=True, check=True
        ).stdout
        kinds = {document["kind"] for document in yaml.safe_load_all(rendered)}
        assert kinds == {"StatefulSet", "Service", "ConfigMap"}


def test_the_unit_starts_the_gateway(tmp_path: Path) -> None:
    text = (DEPLOY / "systemd" / "interlock.service").read_text()
    start = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert start
    program, verb, *arguments = shlex.split(start[1])
    assert verb == "serve"
    state = re.search(r"^StateDirectory=(.*)$", text, re.MULTILINE)
    assert state
    assert Path(served(arguments)["ledger"]).parent == Path("/var/lib") / state[1]
    if shutil.which("systemd-analyze"):
        unit = tmp_path / "interlock.service"
        unit.write_text(text.replace(program, "/bin/true"))
        done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert "interlock.service" not in done.stderr, done.stderr
