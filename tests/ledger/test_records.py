"""What is written down, and what is never."""

from __future__ import annotations

import math
import typing
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.errors import LedgerError
from interlock.ledger.records import QUOTING, STORED, Audit, decision_document, decode, document, encode
from interlock.types import Considered, Decision, Feedback, Outcome, Reason, Signal, Step, Usage


def structs(of: Any) -> set[type[msgspec.Struct]]:
    """A type and every struct that its fields mention, at any depth."""
    found: set[type[msgspec.Struct]] = set()
    if isinstance(of, type) and issubclass(of, msgspec.Struct):
        found.add(of)
        for hint in typing.get_type_hints(of).values():
            found |= structs(hint)
    for inner in typing.get_args(of):
        found |= structs(inner)
    return found


def fields() -> set[str]:
    reached = set().union(*(structs(record) for record in (Decision, Outcome, Feedback, Audit)))
    return {f"{struct.__name__}.{field}" for struct in reached for field in struct.__struct_fields__}


def test_every_field_is_declared_quoting_or_stored() -> None:
    """A new field of a recorded struct must be put into one of the two sets: does it quote the prompt or not?"""
    assert not fields() - QUOTING - STORED, "in neither set"
    assert not (QUOTING | STORED) - fields(), "no such field"
    assert not QUOTING & STORED, "in both"


def test_the_declaration_is_what_the_encoder_does(make: SimpleNamespace) -> None:
    """Every text field of every struct is filled with its own name; quoting ones must be absent from the bytes."""
    body = b"".join(encode(record).body for record in full())
    for name in fields():
        if name.encode() + b"!" in body:
            assert name in STORED, name
    stored_texts = {name for name in STORED if name.encode() + b"!" in body}
    assert {"Signal.value", "Reason.detail", "Outcome.error", "Feedback.source", "Audit.subject"} <= stored_texts
    attached = [a for record in full() for a in encode(record, payload=True).attachments]
    quotes = b"".join(a.blob for a in attached if a.name == "quotes")
    for name in QUOTING:
        assert name.encode() + b"!" in quotes


def full() -> list[Any]:
    reason = filled(Reason)
    considered = filled(Considered, reasons=(reason,))
    signal = filled(Signal, value="Signal.value!")
    return [
        filled(Decision, considered=(considered,), signals={"s": signal}, vector=np.ones(2, np.float32)),
        filled(Outcome, steps=(filled(Step, usage=Usage()),), usage=Usage()),
        filled(Feedback),
        filled(Audit, detail={}),
    ]


def filled(struct: Any, **given: Any) -> Any:
    values = dict(given)
    for name, hint in typing.get_type_hints(struct).items():
        if name not in values:
            texts = hint is str or str in typing.get_args(hint)
            values[name] = f"{struct.__name__}.{name}!" if texts else hint(1) if hint in (int, float, bool) else None
    return struct(**values)


def test_records_come_back_as_they_were(make: SimpleNamespace) -> None:
    audit = Audit(at=1.0, action="pin", subject="x", detail={"rows": [1]})
    for record in (make.decision(), make.outcome(), make.feedback(), audit):
        entry = encode(record, payload=True)
        back, attached = decode(entry.kind, entry.body, {a.name: a.blob for a in entry.attachments})
        if isinstance(record, Decision):  # signals come back in the order of their names
            record = msgspec.structs.replace(record, signals=dict(sorted(record.signals.items())))
        assert repr(back) == repr(record)
        assert set(attached) == {a.name for a in entry.attachments}


@given(order=st.permutations(["a", "b", "c", "d"]))
def test_equal_records_have_equal_bytes(order: list[str]) -> None:
    def audit(names: list[str]) -> bytes:
        return encode(Audit(at=1.0, action="x", subject="y", detail=dict.fromkeys(names, 1))).body

    assert audit(order) == audit(sorted(order))


def test_a_refusal_is_a_decision_for_nobody(make: SimpleNamespace) -> None:
    entry = encode(make.decision(chosen=None))
    assert entry.kind == "refusal"
    assert decode(entry.kind, entry.body)[0].chosen is None  # type: ignore[union-attr]


def test_fields_added_later_leave_old_rows_readable(make: SimpleNamespace) -> None:
    entry = encode(make.outcome())
    old = msgspec.msgpack.decode(entry.body)
    del old["record"]["ttft"], old["record"]["quality"]
    old["record"]["removed_since"] = 1
    assert decode("outcome", msgspec.msgpack.encode(old))[0] == make.outcome()


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", msgspec.msgpack.encode({"record": {}, "attached": {}})])
def test_a_garbled_body_is_an_error(body: bytes) -> None:
    for kind in ("decision", "outcome", "feedback", "audit"):
        with pytest.raises(LedgerError, match="not the body of a row of kind"):
            decode(kind, body)
    with pytest.raises(LedgerError, match="unknown kind"):
        decode("song", body)


def test_a_document_is_plain_json_without_quotes(make: SimpleNamespace) -> None:
    text = msgspec.json.encode(decision_document(make.decision())).decode()
    assert '"energy":null' in text
    assert '"grade":"but for access"' in text
    assert "EVIDENCE" not in text
    assert "EVIDENCE" in msgspec.json.encode(decision_document(make.decision(), quoting=True)).decode()
    assert "note" not in document(make.feedback())
    assert document(make.feedback(), quoting=True)["note"] == "NOTE"
    assert math.isnan(make.decision().considered[0].energy)
