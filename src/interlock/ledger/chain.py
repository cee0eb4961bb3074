"""The hash chain: what exactly is hashed, for rows, attachments, checkpoints and snapshots.

Every hash is SHA-256 over a tag that names the kind and version of the preimage, then fields of fixed size, then the
lengths of the variable fields (unsigned 32 bit), then those fields. All integers and floats are big-endian. So no two
different rows share a preimage, and a hash of one kind is never one of another.

    row         tag, hash of the previous row (32), seq (int64), at (float64), lengths, kind, decision id, tenant, body
    attachment  tag, salt (16), lengths, name, blob
    checkpoint  tag, mark of the previous checkpoint (32), seq (int64), at (float64), hash of the row at seq (32)
    snapshot    tag, seq (int64), at (float64), lengths, version, maker, state, trust

The first row follows `GENESIS`. A row's body holds the digests of its attachments and not their content; the salt goes
with the attachment, so once it is erased the digest that stays behind confirms no guess about what was there.

Source: Haber and Stornetta, "How to time-stamp a digital document", J. Cryptology 3 (1991).
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct

GENESIS = bytes(32)
SALT = 16  # bytes

_ROW = Struct(">qdIIII")
_ATTACHMENT = Struct(">II")
_CHECKPOINT = Struct(">qd")
_SNAPSHOT = Struct(">qdIIII")


def row_hash(prev: bytes, seq: int, at: float, kind: bytes, decision: bytes, tenant: bytes, body: bytes) -> bytes:
    sizes = _ROW.pack(seq, at, len(kind), len(decision), len(tenant), len(body))
    return sha256(b"".join((b"interlock.row.1\0", prev, sizes, kind, decision, tenant, body))).digest()


def attachment_digest(salt: bytes, name: bytes, blob: bytes) -> bytes:
    return sha256(
        b"".join((b"interlock.attachment.1\0", salt, _ATTACHMENT.pack(len(name), len(blob)), name, blob))
    ).digest()


def checkpoint_mark(prev: bytes, seq: int, at: float, row: bytes) -> bytes:
    return sha256(b"".join((b"interlock.checkpoint.1\0", prev, _CHECKPOINT.pack(seq, at), row))).digest()


def snapshot_mark(seq: int, at: float, version: bytes, maker: bytes, state: bytes, trust: bytes) -> bytes:
    sizes = _SNAPSHOT.pack(seq, at, len(version), len(maker), len(state), len(trust))
    return sha256(b"".join((b"interlock.snapshot.1\0", sizes, version, maker, state, trust))).digest()


def snapshot_version(seq: int, state: bytes) -> str:
    """The name of a policy state: the last row folded into it and the first twelve hex digits of its SHA-256."""
    return f"{seq}-{sha256(state).hexdigest()[:12]}"
