"""Train the packaged task and difficulty heads on the packaged encoder. Needs scipy and pyarrow.

    python scripts/train_heads.py --outcomes FOLDER        (holds queries.parquet and outcomes.parquet)

Only tables under MIT or Apache-2.0 are read for training. Classes that no such table holds are taught by generated
requests, and judged on templates and words that training has not seen; the prompts of the pocket tasks come from their
training split and are judged on their test split. Data sets that training never sees are judged as well: the classes
carry over to plain requests, but less to formats unlike any here (long articles, wrapped benchmarks). Writes
heads.safetensors and its figures, heads.json.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import erf, sqrt
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from requests_by_template import TEMPLATES, WORDS, requests
from safetensors.numpy import save_file
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, logsumexp
from scipy.stats import spearmanr

from interlock.encoder import DATA
from interlock.pocket.tasks import TASKS, draw
from interlock.signals.base import Reading
from interlock.signals.difficulty import WITHIN
from interlock.signals.embedding import Embedding
from interlock.signals.heads import features
from interlock.signals.structure import Structure
from interlock.types import Message, Request

Matrix = NDArray[np.float64]

BY_TASK = {
    "arc_challenge": "science", "openbook_qa": "science", "gpqa": "science", "mbpp": "code", "human_eval": "code",
    "crux": "code", "LiveCodeBench": "code", "winogrande": "commonsense", "commonsense_qa": "commonsense",
    "gsm8k": "math", "gsm": "math", "math": "math", "math-l5": "math", "agentverse-mgsm": "math",
    "agentverse-logicgrid": "reasoning", "commongen": "writing", "natural_qa": "knowledge", "trivia_qa": "knowledge",
}  # fmt: skip
BY_FAMILY = {"algebra": "math", "arithmetic": "math", "geometry": "math", "code": "code"}
"""Families of reasoning_gym; all others are `reasoning`."""

MATH = ("algebra", "mathematics", "statistics")
SCIENCE = (
    "physics", "chemistry", "biology", "anatomy", "astronomy", "medicine", "genetics", "virology", "nutrition",
    "clinical", "engineering", "computer", "machine_learning", "aging",
)  # fmt: skip
ELSEWHERE = {
    ("greenserv", "gsm8k"): "math", ("greenserv", "winogrande"): "commonsense", ("routerdc7", "humaneval"): "code",
    ("routerdc7", "mbpp"): "code", ("routerdc7", "arc_easy"): "science", ("routerdc7", "gsm8k"): "math",
    ("routerarena", "LiveCodeBench"): "code", ("routerarena", "MathQA"): "math", ("routerarena", "AsDiv"): "math",
    ("routerarena", "MMLUPro_math"): "math", ("routerarena", "MMLUPro_physics"): "science",
    ("routerarena", "MMLUPro_chemistry"): "science", ("routerarena", "MMLUPro_biology"): "science",
    ("routerarena", "MMLUPro_engineering"): "science", ("routerarena", "MMLUPro_history"): "humanities",
    ("routerarena", "MMLUPro_law"): "humanities", ("routerarena", "MMLUPro_psychology"): "humanities",
    ("routerarena", "QANTA_History"): "humanities", ("routerarena", "WMT19"): "translation",
    ("greenserv", "cnn_dailymail"): "extraction", ("bfcl", ""): "tool_use",
}  # fmt: skip
"""Data sets that training never sees, for judging only: how far the classes carry over to other formats."""

WRAPPERS = (
    "Please answer the following question.\n\nQuestion: {}\nAnswer:", "{}\n\nThink step by step.", "Question: {}",
    "Read the text below and do what it asks. Keep it within three sentences.\n\nContext: None\n\n{}",
    "Choose the correct answer. Give one letter.\n{}\nOptions:\nA. yes\nB. no\nC. both\nD. neither\nAnswer:",
    "{}\n\nProvide your final answer in \\boxed{{X}}.", "Hello! Could you help me with this? {} Thanks!",
    "You are a helpful assistant.\n\nUser: {}\nAssistant:",
    "{}\n\nReply in JSON with the fields \"reasoning\" and \"answer\".",
)  # fmt: skip
"""The task stays the same in any wrapper; training prompts are wrapped so that the head does not learn formats."""

DIFFICULTY_TABLES = ("routerbench", "llmrouter9", "zeroeval", "reasoning_gym")


@dataclass(frozen=True)
class Labelled:
    prompt: str
    label: str
    source: str
    held_out: bool


def class_of(dataset: str, task: str) -> str | None:
    """The class of a row of the outcome tables, or None where the table does not tell."""
    if dataset == "reasoning_gym":
        return BY_FAMILY.get(task.split("/")[0], "reasoning")
    if task.startswith("mmlu:"):
        subject = task.removeprefix("mmlu:")
        if any(part in subject for part in MATH):
            return "math"
        if subject in ("miscellaneous", "formal_logic", "logical_fallacies", "global_facts"):
            return None
        return "science" if any(part in subject for part in SCIENCE) else "humanities"
    if task.startswith("WMT19"):
        return "translation"
    return BY_TASK.get(task)


def held(prompt: str) -> bool:
    """A fifth of all prompts, by content, so a prompt that stands in two tables is on one side only."""
    return zlib.crc32(" ".join(prompt.lower().split()).encode()) % 5 == 0


def labelled(rows: Sequence[dict[str, str]], rng: Random) -> Iterator[Labelled]:
    for row in rows:
        label = class_of(row["dataset"], row["task"]) if row["dataset"] in (*DIFFICULTY_TABLES, "routellm") else None
        if label:
            yield Labelled(row["prompt"], label, row["dataset"], held(row["prompt"]))
    for part in (0, 1):
        words = {slot: entries[part::2] for slot, entries in WORDS.items()}
        forms = {
            name: tuple(t for i, t in enumerate(texts) if (i % 3 == 2) == bool(part))
            for name, texts in TEMPLATES.items()
        }
        for prompt, label in requests(rng, 900 if part else 3_600, words, forms):
            yield Labelled(prompt, label, "generated", bool(part))
    for task in TASKS.values():
        for split, most in (("train", 420), ("test", 120)):
            for _ in range(most):
                example = draw(task, rng, rng.choice(task.levels), "train" if task.memorised else split)  # type: ignore[arg-type]
                label = "recall" if task.name == "recall_long" else task.name
                yield Labelled(example.prompt, f"pocket_{label}", "pocket", split == "test")


def inputs(prompts: Sequence[str]) -> Matrix:
    """(n, d + 1) what the heads see of each prompt."""
    embedding, structure, seen = Embedding(), Structure(), dict[str, Reading]()
    asked = [Request(messages=(Message("user", prompt),)) for prompt in prompts]
    return np.stack([features(embedding.read(r, seen), structure.read(r, seen)) for r in asked]).astype(np.float64)


def reformatted(examples: Sequence[Labelled], x: Matrix, rng: Random) -> tuple[Matrix, NDArray[np.intp]]:
    """More rows for the open classes, and which examples they stand for: wrapped prompts, and structure swapped.

    Each data set has its own format; a row with the structure of another prompt says that what is asked decides.
    """
    general = [i for i, example in enumerate(examples) if example.source != "pocket" and not example.held_out]
    wrapped = inputs([rng.choice(WRAPPERS).format(examples[i].prompt) for i in general])
    swapped = np.vstack((x[general], wrapped))
    others = np.random.default_rng(rng.getrandbits(32)).permutation(len(swapped))
    swapped[:, -1 - len(Structure.columns) : -1] = swapped[others][:, -1 - len(Structure.columns) : -1]
    return np.vstack((wrapped, swapped)), np.array(general * 3)


def fit_task(x: Matrix, y: NDArray[np.intp], classes: int, penalty: float) -> Matrix:
    """(d + 1, classes) weights of a class-balanced multinomial logistic regression; the bias is not penalised."""
    balance = (len(y) / classes / np.bincount(y, minlength=classes))[y]
    target = np.eye(classes)[y]

    def loss(flat: Matrix) -> tuple[float, Matrix]:
        weights = flat.reshape(-1, classes)
        log_p = log_softmax(x @ weights, axis=1)
        slope = x.T @ ((np.exp(log_p) - target) * balance[:, None]) / len(y)
        kept = np.vstack((weights[:-1], np.zeros(classes)))
        value = -(balance * log_p[np.arange(len(y)), y]).mean() + penalty * (kept**2).sum() / 2
        return float(value), (slope + penalty * kept).ravel()

    return np.asarray(
        minimize(loss, np.zeros(x.shape[1] * classes), jac=True, method="L-BFGS-B", options={"maxiter": 400}).x
    ).reshape(-1, classes)


def temperature(logits: Matrix, y: NDArray[np.intp]) -> float:
    """The divisor of the logits that makes their probabilities most likely on unseen prompts."""

    def loss(log_t: float) -> float:
        scaled = logits / np.exp(log_t)
        return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(y)), y]).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 2), method="bounded").x))


def calibration_error(confidence: Matrix, correct: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten equal bins."""
    bins = np.minimum((confidence * 10).astype(int), 9)
    return float(
        sum(abs(confidence[bins == b].mean() - correct[bins == b].mean()) * (bins == b).mean() for b in set(bins))
    )


def elsewhere(rows: Sequence[dict[str, str]]) -> dict[str, tuple[list[str], str]]:
    """Up to 300 prompts and the class of each entry of `ELSEWHERE`, without prompts that training may have seen."""
    found: dict[str, tuple[list[str], str]] = {}
    for (dataset, task), label in ELSEWHERE.items():
        chosen = [r["prompt"] for r in rows if r["dataset"] == dataset and r["task"].startswith(task)]
        unseen = [prompt for prompt in chosen if held(prompt) or dataset != "routerdc7"]
        found[f"{dataset} {task}".strip()] = (unseen[:300], label)
    return found


def train_task(
    examples: Sequence[Labelled], x: Matrix, rows: Sequence[dict[str, str]], seed: int
) -> tuple[tuple[str, ...], Matrix, dict[str, object]]:
    classes = tuple(sorted({e.label for e in examples}, key=lambda name: (name.startswith("pocket_"), name)))
    y = np.array([classes.index(e.label) for e in examples])
    test = np.array([e.held_out for e in examples])
    tune = ~test & (np.random.default_rng(seed).random(len(y)) < 0.1)
    fit = ~test & ~tune
    more, origin = reformatted(examples, x, Random(seed))
    kept = fit[origin]
    weights = fit_task(
        np.vstack((x[fit], more[kept])), np.concatenate((y[fit], y[origin[kept]])), len(classes), penalty=3e-5
    )
    weights /= temperature(x[tune] @ weights, y[tune])
    p = np.exp(log_softmax(x[test] @ weights, axis=1))
    right = p.argmax(1) == y[test]
    sources = np.array([e.source for e in examples])[test]
    card = {
        "classes": list(classes),
        "trained_on": int(fit.sum()),
        "held_out": int(test.sum()),
        "accuracy": round(float(right.mean()), 4),
        "accuracy_by_source": {s: round(float(right[sources == s].mean()), 4) for s in sorted(set(sources))},
        "recall_by_class": {c: round(float(right[y[test] == i].mean()), 3) for i, c in enumerate(classes)},
        "calibration_error": round(calibration_error(p.max(1), right), 4),
        "accuracy_elsewhere": {
            name: [
                round(float(((inputs(prompts) @ weights).argmax(1) == classes.index(label)).mean()), 3),
                len(prompts),
            ]
            for name, (prompts, label) in elsewhere(rows).items()
            if prompts
        },
    }
    return classes, weights, card


@dataclass(frozen=True)
class Ridge:
    weights: Matrix
    precision: Matrix
    noise: float

    def confidence(self, x: Matrix) -> Matrix:
        spread = self.noise * np.sqrt(1 + np.einsum("ni,ij,nj->n", x, self.precision, x))
        return np.array([erf(WITHIN / (s * sqrt(2))) for s in spread])


def fit_ridge(x: Matrix, y: Matrix, penalty: float) -> Ridge:
    precision = np.linalg.inv(x.T @ x + penalty * np.eye(x.shape[1]))
    weights = precision @ (x.T @ y)
    freedom = len(y) - float(np.trace(precision @ (x.T @ x)))
    return Ridge(weights, precision, float(np.sqrt(((y - x @ weights) ** 2).sum() / freedom)))


def spearman(a: Matrix, b: Matrix) -> float:
    return float(spearmanr(a, b).statistic)


def train_difficulty(rows: Sequence[dict[str, str]], scores: dict[str, float]) -> tuple[Ridge, dict[str, object]]:
    rows = [row for row in rows if row["dataset"] in DIFFICULTY_TABLES and row["query_id"] in scores]
    x = inputs([row["prompt"] for row in rows])
    y = np.array([1 - scores[row["query_id"]] for row in rows])
    test, tables = np.array([held(row["prompt"]) for row in rows]), np.array([row["dataset"] for row in rows])
    model = fit_ridge(x[~test], y[~test], penalty=3.0)
    guess = np.clip(x @ model.weights, 0, 1)
    near = np.abs(guess - y) < WITHIN
    left_out = {}
    for table in DIFFICULTY_TABLES:
        other = fit_ridge(x[tables != table], y[tables != table], penalty=3.0)
        left_out[table] = round(spearman(x[tables == table] @ other.weights, y[tables == table]), 3)
    unexplained = ((guess - y)[test] ** 2).sum() / ((y[test] - y[~test].mean()) ** 2).sum()
    card = {
        "trained_on": int((~test).sum()),
        "held_out": int(test.sum()),
        "r2": round(float(1 - unexplained), 3),
        "spearman": round(spearman(guess[test], y[test]), 3),
        "spearman_within": {
            t: round(spearman(guess[test & (tables == t)], y[test & (tables == t)]), 3) for t in DIFFICULTY_TABLES
        },
        "spearman_table_left_out": left_out,
        "confidence_mean": round(float(model.confidence(x[test]).mean()), 3),
        "confidence_observed": round(float(near[test].mean()), 3),
        "calibration_error": round(calibration_error(model.confidence(x[test]), near[test]), 4),
    }
    return model, card


def main() -> None:
    import pyarrow.parquet as pq

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--outcomes", type=Path, required=True, help="folder with queries.parquet and outcomes.parquet")
    parser.add_argument("--out", type=Path, default=DATA)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    rows = pq.read_table(args.outcomes / "queries.parquet").to_pylist()
    outcomes = pq.read_table(args.outcomes / "outcomes.parquet", columns=["query_id", "score"])
    grouped = outcomes.group_by("query_id").aggregate([("score", "mean"), ("score", "count")]).to_pylist()
    scores = {row["query_id"]: row["score_mean"] for row in grouped if row["score_count"] >= 5}
    examples = list(labelled(rows, Random(args.seed)))
    print(f"{len(examples)} labelled prompts, {len(scores)} scored ones")
    classes, weights, task_card = train_task(examples, inputs([e.prompt for e in examples]), rows, args.seed)
    ridge, difficulty_card = train_difficulty(rows, scores)
    save_file(
        {
            "task": weights.astype(np.float16),
            "difficulty": ridge.weights.astype(np.float32),
            "precision": ridge.precision.astype(np.float32),
        },
        args.out / "heads.safetensors",
        {"classes": json.dumps(classes), "noise": repr(ridge.noise)},
    )
    card = {"seed": args.seed, "task": task_card, "difficulty": difficulty_card}
    (args.out / "heads.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card, indent=1))


if __name__ == "__main__":
    main()
