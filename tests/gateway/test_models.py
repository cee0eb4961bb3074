"""Virtual models promise what at least one member keeps, and admit what nobody knows."""

from __future__ import annotations

from interlock.gateway.models import catalogue
from interlock.types import Candidate, Capability, Profile

YES, NO, UNKNOWN = Capability.YES, Capability.NO, Capability.UNKNOWN


def candidate(name: str, window: int | None, **capabilities: Capability) -> Candidate:
    return Candidate(
        name=name, provider="p", model=name, profile=Profile(context_window=window, capabilities=capabilities)
    )


POOL = (
    candidate("a", 512, tools=NO, json=NO, image=NO),
    candidate("b", 2048, tools=YES, json=NO),
    candidate("c", None, tools=NO, json=NO, image=NO),
)


def test_a_virtual_model_can_what_its_best_member_can() -> None:
    entry = catalogue({"auto": ("*",)}, POOL, 5)["auto"]
    assert (entry["id"], entry["object"], entry["created"], entry["owned_by"]) == ("auto", "model", 5, "interlock")
    facts = entry["interlock"]
    assert facts["candidates"] == ["a", "b", "c"]
    assert facts["capabilities"] == {"image": "unknown", "json": "no", "tools": "yes"}
    assert facts["context_window"] is None  # c's is unknown and may be the largest


def test_a_narrower_virtual_model_promises_less() -> None:
    facts = catalogue({"small": ("a",)}, POOL, 0)["small"]["interlock"]
    assert facts["candidates"] == ["a"]
    assert facts["capabilities"]["tools"] == "no"
    assert facts["context_window"] == 512


def test_every_candidate_is_a_model_too() -> None:
    entries = catalogue({"auto": ("*",)}, POOL, 0)
    assert list(entries) == ["auto", "a", "b", "c"]
    assert entries["b"]["interlock"]["virtual"] is False
    assert entries["b"]["interlock"]["context_window"] == 2048
