"""What a ledger row says, and how it is written down.

A row's body is MessagePack of `Body`: the record, and the digest of each attachment. MessagePack keeps NaN (an estimate
nobody could make), struct fields stand in the order of their declaration and mapping keys are sorted, so equal records
have equal bytes. Fields added later, with defaults, leave old rows readable.

Text that quotes the prompt never enters a body. It is dropped, or, when the configuration says `payload`, kept as an
attachment beside the row, from where it can be erased without breaking the chain.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
import numpy as np

from ..errors import LedgerError
from ..types import NUMBERS, Considered, Decision, Feedback, Outcome, Reason, Request, Signal, Slate, Vector
from .chain import SALT, attachment_digest

QUOTING = frozenset({"Signal.evidence", "Feedback.note"})
"""The fields that may quote the prompt: never in a body; in the attachment `quotes` when payload is kept."""

STORED = frozenset(
    f"{struct}.{field}"
    for struct, fields in {
        "Decision": "id at tenant session model considered chosen policy snapshot config seed degraded key reserved"
        " writer signals vector seconds",
        "Considered": "candidate reasons quality quality_std cost latency energy utility probability",
        "Reason": "guard code detail remedy",
        "Signal": "name value confidence seconds",
        "Outcome": "decision at candidate steps usage cost latency ttft energy finish error quality",
        "Step": "candidate why error usage cost seconds confidence began similarity",
        "Usage": "input output cached reasoning cache_write",
        "Feedback": "decision at score source tenant revoked",
        "Audit": "at action subject detail",
    }.items()
    for field in fields.split()
)
"""Every other field of a record. The vector is stored too, but as an attachment: text can be guessed from it."""

NO_VECTOR: Vector = np.zeros(0, np.float32)


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator did: `action` (erase, pin, resume, key.create ...), to what, in which detail."""

    at: float
    action: str
    subject: str
    detail: Mapping[str, Any] = msgspec.field(default_factory=dict)


Record = Decision | Outcome | Feedback | Audit
T = TypeVar("T")


class Columns(msgspec.Struct, frozen=True):
    """A decision's `considered`, column by column: `numbers` is (k, 7) float64, little-endian (see types.Slate)."""

    names: tuple[str, ...]
    reasons: tuple[tuple[Reason, ...], ...]
    numbers: bytes


class Body(msgspec.Struct, Generic[T], frozen=True, omit_defaults=True):
    """`attached` maps the name of an attachment to its digest (see chain.py). Only decisions have `considered`, which
    is then left out of the record itself.
    """

    record: T
    attached: dict[str, bytes]
    considered: Columns | None = None


class Attachment(msgspec.Struct, frozen=True, gc=False):
    """`name` is vector (float32, little-endian), prompt (JSON), answer (UTF-8) or quotes (MessagePack mapping)."""

    name: str
    salt: bytes
    blob: bytes


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A record ready to be chained: the columns of its row but for seq, prev and hash, and its attachments."""

    kind: str
    at: float
    decision: str
    tenant: str
    body: bytes
    attachments: tuple[Attachment, ...] = ()


def encode(record: Record, request: Request | None = None, answer: str | None = None, payload: bool = False) -> Entry:
    """The row of a record. The prompt (from `request`), the `answer` and quotes are kept only when `payload`.

    Raises LedgerError when the record cannot be written down: an `at` that is not finite, a value of an unknown type.
    """
    if not math.isfinite(record.at):
        raise LedgerError(f"a {type(record).__name__} has at={record.at}; it must be seconds since the epoch")
    blobs: dict[str, bytes] = {}
    decision, tenant = "", ""
    if isinstance(record, Decision):
        kind, decision, tenant = "refusal" if record.chosen is None else "decision", record.id, record.tenant
        if record.vector.size:
            blobs["vector"] = np.ascontiguousarray(record.vector, "<f4").tobytes()
    elif isinstance(record, Outcome):
        kind, decision = "outcome", record.decision
    elif isinstance(record, Feedback):
        kind, decision, tenant = "feedback", record.decision, record.tenant
    else:
        kind = "audit"
    if "\0" in decision or "\0" in tenant:
        raise LedgerError(f"a {kind} names {decision + tenant!r}; PostgreSQL cannot hold a NUL, so no ledger does")
    bare, quotes = unquoted(record)
    considered = None
    if isinstance(bare, Decision):
        considered, bare = _columns(bare.considered), msgspec.structs.replace(bare, considered=())
    if payload:
        if request is not None and request.messages:
            blobs["prompt"] = msgspec.json.encode(request.messages)
        if answer:
            blobs["answer"] = answer.encode()
        if quotes:
            blobs["quotes"] = _ENCODER.encode(quotes)
    attachments = tuple(Attachment(name, os.urandom(SALT), blob) for name, blob in blobs.items())
    attached = {a.name: attachment_digest(a.salt, a.name.encode(), a.blob) for a in attachments}
    try:
        body = _ENCODER.encode(Body(bare, attached, considered))
    except (TypeError, ValueError, OverflowError) as error:
        raise LedgerError(f"{kind} {decision} cannot be written down: {error}") from error
    return Entry(kind, record.at + 0.0, decision, tenant, body, attachments)


def unquoted(record: Record) -> tuple[Record, dict[str, str]]:
    """The record without its `QUOTING` fields and vector, and what those fields said by name of signal or field."""
    if isinstance(record, Decision):
        quotes = {name: signal.evidence for name, signal in record.signals.items() if signal.evidence}
        signals: Mapping[str, Signal] = record.signals
        if quotes:
            replace = msgspec.structs.replace
            signals = {name: replace(s, evidence="") if s.evidence else s for name, s in signals.items()}
        return msgspec.structs.replace(record, signals=signals, vector=NO_VECTOR), quotes
    if isinstance(record, Feedback) and record.note:
        return msgspec.structs.replace(record, note=""), {"note": record.note}
    return record, {}


def decode(kind: str, body: bytes, blobs: Mapping[str, bytes] | None = None) -> tuple[Record, dict[str, bytes]]:
    """The record of a row and the digests of its attachments; with `blobs`, vector and quotes are put back in place.

    Raises LedgerError when the body is not one of this kind.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise LedgerError(f"unknown kind of row {kind!r}")
    try:
        found = decoder.decode(body)
        record = found.record if found.considered is None else _with_slate(found.record, found.considered)
        record = requoted(record, blobs) if blobs else record
    except (msgspec.MsgspecError, ValueError) as error:
        raise LedgerError(f"not the body of a row of kind {kind}: {error}") from error
    return record, found.attached


def requoted(record: Record, blobs: Mapping[str, bytes]) -> Record:
    """The inverse of `unquoted`, as far as the attachments are still there."""
    quotes: dict[str, str] = msgspec.msgpack.decode(blobs["quotes"], type=dict[str, str]) if "quotes" in blobs else {}
    replace = msgspec.structs.replace
    if isinstance(record, Decision):
        signals = {n: replace(s, evidence=quotes[n]) if n in quotes else s for n, s in record.signals.items()}
        return replace(record, signals=signals, vector=vector_of(blobs.get("vector", b"")))
    return replace(record, note=quotes.get("note", "")) if isinstance(record, Feedback) else record


def vector_of(blob: bytes) -> Vector:
    """The vector attachment as float32, shape (d,)."""
    return np.frombuffer(blob, "<f4").astype(np.float32, copy=False)


def document(record: Record, quoting: bool = False) -> dict[str, Any]:
    """A record as plain data for JSON: no vector, NaN as None, and no `QUOTING` field unless asked for."""
    plain: dict[str, Any] = msgspec.to_builtins(unquoted(record)[0] if not quoting else record, enc_hook=_plain)
    plain.pop("vector", None)
    for name in () if quoting else ("note",):
        plain.pop(name, None)
    for signal in plain.get("signals", {}).values():
        if not signal["evidence"]:
            del signal["evidence"]
    return {name: _finite(value) for name, value in plain.items()}


def decision_document(decision: Decision, quoting: bool = False) -> dict[str, Any]:
    """`document` of a decision, with what is derived: its probability, and each candidate's grade."""
    plain = document(decision, quoting)
    for row, considered in zip(plain["considered"], decision.considered, strict=True):
        row["grade"] = considered.grade
    return plain | {"probability": decision.probability}


def _columns(considered: Sequence[Considered]) -> Columns:
    slate = Slate.of(considered)
    return Columns(tuple(slate.names), tuple(slate.reasons), slate.numbers.astype("<f8").tobytes())


def _with_slate(decision: Decision, columns: Columns) -> Decision:
    """Raises ValueError when the columns do not fit together."""
    numbers = np.frombuffer(columns.numbers, "<f8").reshape(len(columns.names), len(NUMBERS))
    if len(columns.reasons) != len(columns.names):
        raise ValueError(f"{len(columns.names)} candidates with {len(columns.reasons)} lists of reasons")
    return msgspec.structs.replace(decision, considered=Slate(columns.names, columns.reasons, numbers))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, Slate) else None


def _write_special(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return None  # the vector is an attachment
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a type of the ledger")


def _read_special(kind: Any, value: Any) -> Any:
    return NO_VECTOR


_KINDS = {"decision": Decision, "refusal": Decision, "outcome": Outcome, "feedback": Feedback, "audit": Audit}
_ENCODER = msgspec.msgpack.Encoder(order="deterministic", enc_hook=_write_special)
_DECODERS: dict[str, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(Body[of], dec_hook=_read_special)  # type: ignore[valid-type]
    for kind, of in _KINDS.items()
}
KINDS = tuple(_DECODERS)
