"""The evidence about candidates as a graph: models, families, tasks, domains and prompts, joined by what was measured.

Nodes carry a text and a vector in the space of prompts. Edges model-task and model-query carry a score, relative to
what the other models got there; model-family, task-domain and task-query say what belongs together. What is missing is
an absent edge, never a zero.

Source: RouteProfile (arXiv 2605.00180); propagation: Kipf & Welling (arXiv 1609.02907) and SGC (arXiv 1902.07153).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from ..types import Array

Kind = Literal["model", "family", "task", "domain", "query"]
KINDS: tuple[Kind, ...] = ("family", "task", "domain", "query")
"""Kinds of nodes that can be evidence about a model."""

Encode = Callable[[Sequence[str]], Array]
"""Texts -> vectors (n, d) in the space of the prompts' vectors."""


class Card(NamedTuple):
    """What a provider says of a model. A silent upgrade is another model: put the version into the name."""

    name: str
    description: str
    family: str = ""


class Node(NamedTuple):
    kind: Kind
    name: str
    text: str


@dataclass
class EvidenceGraph:
    """Grows by what becomes known. Names of one kind are unique; adding a node again keeps the first.

    `most` prompts a model are kept, a uniform sample of all (reservoir).
    """

    encode: Encode
    most: int = 2000
    seed: int = 0
    nodes: list[Node] = field(default_factory=list)
    _at: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)
    _vectors: dict[int, Array] = field(default_factory=dict, repr=False)
    _joined: dict[tuple[Kind, Kind], dict[tuple[int, int], float]] = field(
        default_factory=lambda: defaultdict(dict), repr=False
    )
    _outcomes: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _offered: dict[int, int] = field(default_factory=lambda: defaultdict(int), repr=False)

    def add_model(self, card: Card) -> None:
        at = self._node("model", card.name, card.description)
        if card.family:
            self._join(at, self._node("family", card.family, card.family), 1.0)

    def add_task(self, name: str, text: str = "", domain: str = "") -> None:
        at = self._node("task", name, text or name)
        if domain:
            self._join(at, self._node("domain", domain, domain), 1.0)

    def add_result(self, model: str, task: str, score: float) -> None:
        """A benchmark's score in [0, 1]. Scores of different tasks are only ever compared within their task."""
        self.add_task(task)
        self._join(self._model(model), self._at["task", task], _checked(score))

    def add_outcome(self, model: str, query: str, vector: Array, score: float, task: str = "", text: str = "") -> None:
        """How a model did on one prompt: its id, its vector (d,), the score in [0, 1]."""
        at, score = self._model(model), _checked(score)
        if not np.isfinite(vector).all():
            raise ValueError(f"query {query!r}: its vector is not finite")
        kept, self._offered[at] = self._outcomes[at], self._offered[at] + 1
        place = len(kept)
        if place >= self.most:
            place = int(np.random.default_rng((self.seed, at, self._offered[at])).integers(self._offered[at]))
            if place >= self.most:
                return
        node = self._node("query", query, text)
        self._vectors[node] = np.asarray(vector, dtype=np.float64)
        if task:
            self.add_task(task)
            self._join(self._at["task", task], node, 1.0)
        if place < len(kept):
            self._joined["model", "query"].pop((at, kept[place]), None)
            kept[place] = node
        else:
            kept.append(node)
        self._join(at, node, score)

    def models(self) -> list[str]:
        return [node.name for node in self.nodes if node.kind == "model"]

    def features(self) -> Array:
        """The vectors of all nodes (nodes, d): a prompt's own, a task's the mean of its prompts, else of its text."""
        texts = [i for i, node in enumerate(self.nodes) if i not in self._vectors]
        out: dict[int, Array] = dict(self._vectors)
        members: dict[int, list[int]] = defaultdict(list)
        for task, node in self._joined["task", "query"]:
            members[task].append(node)
        encoded = self.encode([self.nodes[i].text or self.nodes[i].name for i in texts]) if texts else ()
        for i, vector in zip(texts, encoded, strict=True):
            out[i] = np.mean([self._vectors[q] for q in members[i]], axis=0) if members[i] else vector
        return np.stack([out[i] for i in range(len(self.nodes))])

    def evidence(self, model: str, kinds: Collection[Kind] = KINDS) -> list[tuple[Node, float]]:
        """What speaks for (above 0) and against a model: its neighbours with their relative scores, strongest first."""
        at = self._model(model)
        found = [
            (self.nodes[other], weight)
            for kind in kinds
            for (one, other), weight in self.relative(kind).items()
            if one == at
        ]
        return sorted(found, key=lambda pair: -abs(pair[1]))

    def relative(self, kind: Kind) -> dict[tuple[int, int], float]:
        """Edges model-`kind`: scores less the mean of the models that were measured there; 1 for a family."""
        edges = self._joined.get(("model", kind), {})
        if kind == "family":
            return dict(edges)
        by_other: dict[int, list[float]] = defaultdict(list)
        for (_, other), score in edges.items():
            by_other[other].append(score)
        return {pair: score - float(np.mean(by_other[pair[1]])) for pair, score in edges.items()}

    def adjacency(self, kinds: Collection[Kind] = KINDS, *, signed: bool = True) -> dict[tuple[Kind, Kind], Any]:
        """A sparse symmetric matrix (nodes, nodes) for each kind of edge between models and nodes of `kinds`.

        Signed, a score's edge weighs what `relative` says; unsigned, its min-max place among all of its kind.
        """
        from scipy.sparse import coo_array

        size, out = len(self.nodes), {}
        for (one, other), edges in self._joined.items():
            if not edges or any(kind not in ("model", *kinds) for kind in (one, other)):
                continue
            weights = self.relative(other) if one == "model" and signed else edges
            rows, columns = np.array(list(weights)).T
            values = np.array(list(weights.values()))
            if one == "model" and other != "family" and not signed:
                values = (values - values.min()) / max(float(np.ptp(values)), 1e-12)
            half = coo_array((values, (rows, columns)), shape=(size, size)).tocsr()
            out[one, other] = half + half.T
        return out

    def propagate(
        self,
        k: int = 2,
        *,
        kinds: Collection[Kind] = KINDS,
        norm: Literal["sym", "row"] = "sym",
        signed: bool = True,
        features: Array | None = None,
    ) -> Array:
        """Vectors of the models (models, d) after k rounds in which every node takes over its neighbours' mean.

        Kinds of edges are normalised each for itself and then averaged. A node without neighbours keeps its own vector,
        so that one without evidence is neither zero nor NaN.
        """
        x = self.features() if features is None else features
        steps = [normalised(matrix, norm) for matrix in self.adjacency(kinds, signed=signed).values()]
        for _ in range(k):
            x = spread(steps, x)
        return x[[i for i, node in enumerate(self.nodes) if node.kind == "model"]]

    def _model(self, name: str) -> int:
        if ("model", name) not in self._at:
            raise ValueError(f"no model {name!r} in the graph: add_model it first")
        return self._at["model", name]

    def _node(self, kind: Kind, name: str, text: str) -> int:
        if (kind, name) not in self._at:
            self._at[kind, name] = len(self.nodes)
            self.nodes.append(Node(kind, name, text))
        return self._at[kind, name]

    def _join(self, one: int, other: int, weight: float) -> None:
        self._joined[self.nodes[one].kind, self.nodes[other].kind][one, other] = weight


def normalised(matrix: Any, norm: str) -> Any:
    """D^-1/2 A D^-1/2, or D^-1 A, with D the sums of absolute weights."""
    from scipy.sparse import diags_array

    degree = np.asarray(abs(matrix).sum(axis=1)).ravel()
    inverse = np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0)
    if norm == "row":
        return diags_array(inverse) @ matrix
    return diags_array(np.sqrt(inverse)) @ matrix @ diags_array(np.sqrt(inverse))


def spread(steps: Sequence[Any], x: Array) -> Array:
    """One round: the mean over kinds of edges of what arrives; nodes that nothing reaches stay as they are."""
    arrived, kinds = np.zeros_like(x), np.zeros(len(x))
    for step in steps:
        arrived += step @ x
        kinds += np.asarray(abs(step).sum(axis=1)).ravel() > 0
    reached = kinds > 0
    out = x.copy()
    out[reached] = arrived[reached] / kinds[reached, None]
    return out


def _checked(score: float) -> float:
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"score {score:g}, expected one in [0, 1]")
    return float(score)
