"""The described API against a real gateway with the embedded pool: whatever is sent, an answer comes, in the described
form, and it is never the server's fault.

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
from schemathesis.specs.openapi import checks

from interlock.gateway.endpoints import ENDPOINTS
from interlock.gateway.openapi import document
from interlock.lab.process import Gateway, gateway

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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("conformance"), env=WITHOUT_PROVIDERS) as running:
        yield running
    print(f"\n{sum(SEEN.values())} requests: {dict(sorted(SEEN.items()))}")


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@DESCRIBED.parametrize()  # type: ignore[untyped-decorator]
@hypothesis.settings(max_examples=CASES, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_whatever_is_asked_is_answered_as_described(
    case: schemathesis.Case, running: Gateway, session: requests.Session
) -> None:
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str) and not case.path.endswith("embeddings"):
        case.body["model"] = "auto"  # made-up names exist nowhere, and every request would end there
    answer = case.call(base_url=running.url, session=session, timeout=PATIENCE)
    SEEN[answer.status_code] += 1
    asked_for_haste = answer.status_code == 504 and b"deadline" in (answer.request.body or b"")
    assert answer.status_code < 500 or asked_for_haste, answer.text
    case.validate_response(answer, checks=CONFORM)


def test_the_description_is_served_and_names_every_path(running: Gateway) -> None:
    served = requests.get(f"{running.url}/openapi.json", timeout=PATIENCE).json()
    assert served == json.loads(json.dumps(document(ENDPOINTS)))
    paths: dict[str, Any] = served["paths"]
    for path in ("/v1/chat/completions", "/v1/responses/{id}/input_items", "/v1/models/{name}", "/v1/messages"):
        assert path in paths
    body = paths["/v1/messages"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert set(served["components"]["schemas"][body.split("/")[-1]]["required"]) == {"messages", "max_tokens"}
    assert all(operation["summary"] for operations in paths.values() for operation in operations.values())
