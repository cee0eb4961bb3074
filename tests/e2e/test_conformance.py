"""The described API against a real gateway with the embedded pool: whatever is sent, an answer comes, in the described
form, and it is never the server's fault. All of it is sent with an admin's key of the configuration, which the API can
neither change nor revoke.

`INTERLOCK_CONFORMANCE_CASES` is how many requests are made up for each operation; thousands find what tens do not.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
import yaml
from schemathesis.specs.openapi import checks

from interlock.gateway.endpoints import ENDPOINTS
from interlock.gateway.openapi import document
from interlock.lab.process import Gateway, gateway
from interlock.offered import embedded

from .conftest import WITHOUT_PROVIDERS

CASES = int(os.environ.get("INTERLOCK_CONFORMANCE_CASES", "12"))
PATIENCE = 30  # seconds until an answer counts as never coming
CONFORM = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
DESCRIBED = schemathesis.openapi.from_dict(document(ENDPOINTS)).exclude(path="/v1/events")  # that one never ends
SEEN: Counter[int] = Counter()


ADMIN = {"authorization": "Bearer sk-conformance"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("conformance")
    config, keys = folder / "interlock.yaml", [{"tenant": "ops", "key": "env:ADMIN_KEY", "role": "admin"}]
    config.write_text(yaml.safe_dump(embedded() | {"server": {"keys": keys}}))
    env = {**WITHOUT_PROVIDERS, "ADMIN_KEY": "sk-conformance"}
    with gateway(folder, "--config", str(config), env=env, patience=120) as running:
        yield running
    print(f"\n{sum(SEEN.values())} requests: {dict(sorted(SEEN.items()))}")


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers.update(ADMIN)
        yield session


@pytest.fixture(scope="module")
def made(running: Gateway, session: requests.Session) -> str:
    """The id of a virtual key, since made-up ones are of no key."""
    found: str = session.post(f"{running.url}/admin/keys", json={"tenant": "acme"}, timeout=PATIENCE).json()["id"]
    return found


@DESCRIBED.parametrize()  # type: ignore[untyped-decorator]
@hypothesis.settings(max_examples=CASES, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_whatever_is_asked_is_answered_as_described(
    case: schemathesis.Case, running: Gateway, session: requests.Session, made: str
) -> None:
    if case.path.startswith("/admin/keys/{id}") and sum(SEEN.values()) % 2:
        case.path_parameters = {"id": made}
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str) and not case.path.endswith("embeddings"):
        case.body["model"] = "auto"  # made-up names exist nowhere, and every request would end there
    answer = case.call(base_url=running.url, session=session, timeout=PATIENCE)
    SEEN[answer.status_code] += 1
    asked_for_haste = answer.status_code == 504 and b"deadline" in (answer.request.body or b"")
    assert answer.status_code < 500 or asked_for_haste, answer.text
    case.validate_response(answer, checks=CONFORM)


def test_the_key_that_signs_in_cannot_be_revoked(running: Gateway, session: requests.Session) -> None:
    refused = session.post(f"{running.url}/admin/keys/ADMIN_KEY/revoke", timeout=PATIENCE)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "id")
    assert SEEN[200] > SEEN[401] == SEEN[403] == 0


def test_the_description_is_served_and_names_every_path(running: Gateway) -> None:
    served = requests.get(f"{running.url}/openapi.json", timeout=PATIENCE).json()
    assert served == json.loads(json.dumps(document(ENDPOINTS)))
    paths: dict[str, Any] = served["paths"]
    for path in (
        "/v1/chat/completions",
        "/v1/responses/{id}/input_items",
        "/v1/models/{name}",
        "/v1/messages",
        "/admin/keys",
    ):
        assert path in paths
    body = paths["/v1/messages"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert set(served["components"]["schemas"][body.split("/")[-1]]["required"]) == {"messages", "max_tokens"}
    assert all(operation["summary"] for operations in paths.values() for operation in operations.values())
