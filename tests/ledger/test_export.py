"""Out and in again: the same rows, the same hashes; a damaged or cut export is refused."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.errors import LedgerCorrupt, LedgerError
from interlock.ledger import Ledger, Reading, verify
from interlock.ledger.export import export, import_export, read_export

Fill = Callable[[Ledger, int], None]


@pytest.fixture
def exported(ledger: Ledger, fill: Fill) -> list[bytes]:
    fill(ledger, 20)
    ledger.forget(decision="il-4")
    out = io.BytesIO()
    assert export(ledger, out) == ledger.seq
    return out.getvalue().splitlines(keepends=True)


def test_an_export_becomes_the_same_ledger(tmp_path: Path, ledger: Ledger, exported: list[bytes]) -> None:
    copy = tmp_path / "copy.db"
    assert import_export(exported, copy) == ledger.seq
    assert verify(copy).hash == verify(ledger.place).hash
    reading = Reading(copy)
    assert list(reading.rows()) == list(ledger.rows())
    seqs = [row.seq for row in ledger.rows()]
    assert reading.attachments(seqs) == ledger.attachments(seqs)
    assert [file.name for file in tmp_path.iterdir() if "partial" in file.name] == []
    with pytest.raises(LedgerError, match="there is a file already"):
        import_export(exported, copy)


def test_other_tools_can_read_it(exported: list[bytes]) -> None:
    rows = [json.loads(line) for line in exported[1:]]
    assert rows[0]["record"]["considered"][1]["reasons"][0]["code"] == "denied"
    assert rows[0]["record"]["considered"][0]["energy"] is None


def test_any_flipped_byte_of_what_is_hashed_is_located(exported: list[bytes], tmp_path: Path) -> None:
    dice = random.Random(3)
    for _ in range(40):
        seq = dice.randrange(1, len(exported))
        line = json.loads(exported[seq])
        column = dice.choice(["seq", "at", "kind", "decision", "tenant", "body", "prev", "hash"])
        if isinstance(line[column], str):
            text = line[column]
            at = dice.randrange(len(text)) if text else 0
            line[column] = text[:at] + ("A" if text[at : at + 1] != "A" else "B") + text[at + 1 :]
        else:
            line[column] += 1
        changed = [*exported[:seq], json.dumps(line).encode(), *exported[seq + 1 :]]
        with pytest.raises(LedgerCorrupt) as caught:
            import_export(changed, tmp_path / "bad.db")
        assert caught.value.seq == seq
        assert not (tmp_path / "bad.db").exists()


def test_a_cut_export_is_refused(exported: list[bytes], ledger: Ledger) -> None:
    with pytest.raises(LedgerCorrupt, match="should end with row"):
        list(read_export(exported[:-3]))
    with pytest.raises(LedgerCorrupt, match="missing from the export"):
        list(read_export([*exported[:5], *exported[6:]]))
    with pytest.raises(LedgerError, match="not an export"):
        list(read_export(exported[1:]))
    with pytest.raises(LedgerError, match="not an export"):
        list(read_export([]))


def test_a_selection_can_be_read_but_not_imported(ledger: Ledger, fill: Fill, tmp_path: Path) -> None:
    fill(ledger, 10)
    out = io.BytesIO()
    count = export(ledger, out, tenant="acme", kind="decision")
    assert count == len(out.getvalue().splitlines()) - 1 == 5
    with pytest.raises(LedgerError, match="only a whole one"):
        import_export(out.getvalue().splitlines(), tmp_path / "bad.db")
