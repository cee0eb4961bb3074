"""People's tastes differ: a mixture of preference models, gated by context and moved online, beats one model for all.

1. Synthetic, truth known: four tastes, 20,000 pairs, a context that names the right taste in 70% of cases. One
   Bradley-Terry model has an error floor that data does not lower; mixture and gate come close to what the context
   allows; a new user is known after few comparisons. 2. With one taste only, the mixture does no harm.
3. Real answers of the embedded pool, 200 simulated users of four tastes (right, brief, worked out, cheap), 10% of whose
   choices are slips. 4. The same users, routed to the candidate whose answers they keep.

Accuracy is the expected share of choices foretold; users of 1, 3 and 4 are new, heads were fitted on others' pairs.
Source: MiCRo (arXiv 2505.24846), whose second stage is read as exponential weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...estimators.mixture_preference import Mixture, Taste, effective_heads, fit_mixture
from ...types import Array
from ..answers import Table, answer_all, showing
from ..metrics import over_seeds
from ..report import Figure, Report, Verdict
from . import Options
from .radar import knobbed, sizes

WIDTH, TASTES, CODE = 16, 4, 8
PAIRS, USERS, COMPARISONS = 20_000, 200, 30
POCKET_COMPARISONS, SLIPS, HINTED = 20, 0.1, 0.7
STRENGTH = 4.0


def sigmoid(logit: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logit)))


def foretold(chance: Array, believed: Array) -> float:
    """Expected share of choices foretold: chance that the first is kept, against what was believed of it."""
    return float(np.where(believed > 0.5, chance, 1.0 - chance).mean())


@dataclass(frozen=True)
class World:
    """Tastes (t, d), and the codes (t, c) of which a context shows one, blurred."""

    tastes: Array
    codes: Array
    slips: float = 0.0

    @classmethod
    def made(cls, rng: np.random.Generator) -> World:
        directions = rng.normal(size=(TASTES, WIDTH))
        return cls(STRENGTH * directions / np.linalg.norm(directions, axis=1, keepdims=True), codes(rng))

    def who(self, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
        return rng.integers(0, len(self.tastes), n)

    def contexts(self, who: NDArray[np.intp], rng: np.random.Generator) -> Array:
        hinted = np.where(rng.random(len(who)) < HINTED, who, rng.integers(0, len(self.tastes), len(who)))
        return self.codes[hinted] + rng.normal(0.0, 0.5, (len(who), self.codes.shape[1]))

    def chance(self, difference: Array, who: NDArray[np.intp]) -> Array:
        plain = sigmoid((difference * self.tastes[who]).sum(axis=-1))
        return self.slips + (1.0 - 2.0 * self.slips) * plain


def codes(rng: np.random.Generator) -> Array:
    return rng.normal(size=(TASTES, CODE))


def turned(difference: Array, kept: NDArray[np.bool_]) -> Array:
    """Differences as kept minus not kept."""
    return np.where(kept[:, None], difference, -difference)


def run(options: Options) -> Report:
    """Both halves for every seed, then the figures."""
    rows: list[dict[str, float]] = []
    curves: list[dict[str, list[float]]] = []
    with showing(options.console) as progress:
        bar = progress.add_task("synthetic tastes, then pocket answers", total=2 * len(options.seeds))
        for seed in options.seeds:
            row = synthetic(seed, options.scale)
            progress.advance(bar)
            folder = options.out.parent / "answers"
            tables = [
                answer_all(knobbed(seed, split, each), folder, progress, f"seed {seed}: {split}")
                for split, each in sizes(options.scale)
            ]
            more, curve = on_answers(tables[0], tables[1], seed, options.scale)
            rows.append(row | more)
            curves.append(curve)
            progress.advance(bar)
    return judge(rows, curves, options)


def synthetic(seed: int, scale: float) -> dict[str, float]:
    """Parts 1 and 2."""
    rng = np.random.default_rng(seed)
    world, n = World.made(rng), max(500, int(PAIRS * scale))

    def pairs(count: int) -> tuple[Array, Array, NDArray[np.intp]]:
        who, x = world.who(count, rng), rng.normal(size=(count, WIDTH))
        return turned(x, rng.random(count) < world.chance(x, who)), world.contexts(who, rng), who

    x, context, _ = pairs(4 * n)
    who = world.who(n, rng)
    test, shown = rng.normal(size=(n, WIDTH)), world.contexts(who, rng)
    chance = world.chance(test, who)

    def single(count: int) -> float:
        mixture = fit_mixture(x[:count], np.zeros((count, 0)), k=1)
        return foretold(chance, mixture.wins(test)[:, 0])

    gated = fit_mixture(x[:n], context[:n], k=TASTES, restarts=8, seed=seed)
    blind = fit_mixture(x[:n], np.zeros((n, 0)), k=TASTES, restarts=8, seed=seed)
    gap = (shown[:, None, :] - world.codes) ** 2
    near = np.exp(-0.5 * gap.sum(axis=2) / 0.25)
    posterior = HINTED * near / near.sum(axis=1, keepdims=True) + (1.0 - HINTED) / TASTES
    every = np.stack([world.chance(test, np.full(n, t)) for t in range(TASTES)], axis=1)
    row = {
        "single n/4": single(n // 4),
        "single n": single(n),
        "single 4n": single(4 * n),
        "mixture, no context": foretold(chance, blind.win(test, blind.weights(np.zeros((n, 0))))),
        "gate": foretold(chance, gated.win(test, gated.weights(shown))),
        "best from context": foretold(chance, (every * posterior).sum(axis=1)),
        "taste known": foretold(chance, chance),
    }
    return row | online(gated, world, rng, scale) | one_taste(seed, scale)


def online(mixture: Mixture, world: World, rng: np.random.Generator, scale: float) -> dict[str, float]:
    """Accuracy while an unseen user compares, from the uniform and from the gate's weights (plain and tempered)."""
    users = max(40, int(5 * USERS * scale))
    who = world.who(users, rng)
    context = world.contexts(who, rng)
    starts: dict[str, Callable[[int], Taste]] = {
        "uniform": lambda _: Taste(np.full(mixture.k, -np.log(mixture.k))),
        "gate": lambda u: Taste.from_context(mixture, context[u], temper=1.0),
        "tempered": lambda u: Taste.from_context(mixture, context[u]),
    }
    hit = {name: np.zeros((users, COMPARISONS)) for name in starts}
    for u in range(users):
        x = rng.normal(size=(COMPARISONS, WIDTH))
        chance = world.chance(x, np.full(COMPARISONS, who[u]))
        kept = (rng.random(COMPARISONS) < chance).astype(np.float64)
        for name, start in starts.items():
            taste = start(u)
            for t in range(COMPARISONS):
                hit[name][u, t] = foretold(chance[t : t + 1], mixture.win(x[t : t + 1], taste.weights))
                taste = taste.after(mixture, x[t], kept[t])
    spans = {"first 5": slice(0, 5), "6-15": slice(5, 15), "21-30": slice(20, 30)}
    return {f"{name}, {span}": float(hit[name][:, part].mean()) for name in starts for span, part in spans.items()}


def one_taste(seed: int, scale: float) -> dict[str, float]:
    """Part 2: everybody has the same taste."""
    rng = np.random.default_rng(1000 + seed)
    world, n = World.made(rng), max(500, int(PAIRS * scale))
    who, x, test = np.zeros(n, dtype=np.intp), rng.normal(size=(n, WIDTH)), rng.normal(size=(n, WIDTH))
    context, chance = world.contexts(world.who(n, rng), rng), world.chance(test, np.zeros(n, dtype=np.intp))
    x = turned(x, rng.random(n) < world.chance(x, who))
    single, mixture = (fit_mixture(x, context, k=k, restarts=4, seed=seed) for k in (1, TASTES))
    weights = mixture.weights(context)
    lost = foretold(chance, single.wins(test)[:, 0]) - foretold(chance, mixture.win(test, weights))
    return {"one taste: lost": lost, "one taste: effective heads": effective_heads(weights)}


NAMES = ("right", "brief", "worked", "cheap")
"""What a pocket answer shows, and the taste that goes by it first."""


def looks(table: Table, columns: Sequence[int], like: Table) -> Array:
    """What each answer shows (n, k, 4), in deviations of those of `like`."""

    def raw(of: Table) -> Array:
        thinks = np.array([float(name.endswith("t1")) for name in of.names])
        parts = of.quality, -np.log1p(of.tokens[:, :, 2]), np.tile(thinks, (len(of.quality), 1)), -np.log(of.cost)
        return np.stack(parts, axis=2)[:, columns]

    reference = raw(like).reshape(-1, len(NAMES))
    return np.asarray((raw(table) - reference.mean(axis=0)) / reference.std(axis=0))


def on_answers(train: Table, test: Table, seed: int, scale: float) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Parts 3 and 4 on one seed's answers; the curves are accuracy after each comparison."""
    rng = np.random.default_rng(seed)
    columns = [i for i, name in enumerate(train.names) if name.count("-") == 1]  # the generalists
    known, fresh = looks(train, columns, train), looks(test, columns, train)
    tastes = np.full((len(NAMES), len(NAMES)), 0.25) + 2.75 * np.eye(len(NAMES))
    tastes[3, 2] = -1.0  # who wants it cheap does not want the working
    world = World(tastes, codes(rng), SLIPS)
    users, turns = max(24, int(USERS * scale)), POCKET_COMPARISONS

    def pairs(of: Array, people: NDArray[np.intp], count: int) -> tuple[Array, Array]:
        """Differences (users, count, 4) of two candidates' answers to one prompt, and whether the first was kept."""
        row = rng.integers(0, len(of), (len(people), count))
        first = rng.integers(0, len(columns), (len(people), count))
        second = (first + rng.integers(1, len(columns), first.shape)) % len(columns)
        x = of[row, first] - of[row, second]
        return x, world.chance(x, np.repeat(people[:, None], count, axis=1))

    old = world.who(users, rng)
    old_x, old_chance = pairs(known, old, turns)
    flat = turned(old_x.reshape(-1, len(NAMES)), (rng.random(old_chance.shape) < old_chance).ravel())
    context = np.repeat(world.contexts(old, rng), turns, axis=0)
    one = fit_mixture(flat, context, k=1)
    mixture = fit_mixture(flat, context, k=len(NAMES), restarts=8, seed=seed)
    who = world.who(users, rng)
    hint = world.contexts(who, rng)
    seen, seen_chance = pairs(fresh, who, turns)
    kept = rng.random(seen_chance.shape) < seen_chance
    asked, chance = pairs(fresh, who, 100)
    profile = known.mean(axis=0)
    worth = np.einsum("nkd,td->tk", fresh, world.tastes) / len(fresh)
    accuracy = {arm: np.zeros((users, turns + 1)) for arm in ("global", "per user", "static", "gate", "gate + online")}
    regret = {arm: np.zeros(users) for arm in ("global", "gate + online")}
    prior = mixture.weights(context).mean(axis=0)
    for u in range(users):
        taste, gate = Taste.from_context(mixture, hint[u]), mixture.weights(hint[u : u + 1])[0]
        fixed = {
            "global": one.wins(asked[u])[:, 0],
            "static": mixture.win(asked[u], prior),
            "gate": mixture.win(asked[u], gate),
        }
        for t in range(turns + 1):
            own = turned(seen[u, :t], kept[u, :t])
            alone = fit_mixture(own, np.zeros((t, 0)), k=1).heads[0] if t else one.heads[0] * 0.0
            believed = fixed | {
                "per user": sigmoid(asked[u] @ alone),
                "gate + online": mixture.win(asked[u], taste.weights),
            }
            for arm, values in believed.items():
                accuracy[arm][u, t] = foretold(chance[u], values)
            if t < turns:
                taste = taste.after(mixture, seen[u, t], float(kept[u, t]))
        best = worth[who[u]]
        regret["global"][u] = best.max() - best[int((profile @ one.heads[0]).argmax())]
        regret["gate + online"][u] = best.max() - best[int(mixture.rank(profile, taste.weights).argmax())]
    oracle = foretold(chance, chance)
    curves = {arm: values.mean(axis=0).tolist() for arm, values in accuracy.items()}
    gap = oracle - curves["global"][10]
    row = {f"pocket {arm} at 10": values[10] for arm, values in curves.items()} | {"pocket oracle": oracle}
    row |= {f"closed by {arm}": (curves[arm][10] - curves["global"][10]) / gap for arm in ("gate + online", "per user")}
    row["regret / global's"] = float(regret["gate + online"].mean() / max(regret["global"].mean(), 1e-12))
    return row, curves | {"oracle": [oracle] * (turns + 1)}


def judge(rows: Sequence[Mapping[str, float]], curves: Sequence[Mapping[str, list[float]]], options: Options) -> Report:
    """Figures over seeds, the plot, and the verdicts."""
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def figure(name: str, values: Array, paper: str = "", wanted: str = "", passed: bool | None = None) -> Figure:
        mean, low, high = over_seeds(values)
        verdict: Verdict = "info" if passed is None else "pass" if passed else "short"
        return Figure(name=name, ours=mean, low=low, high=high, paper=paper, wanted=wanted, verdict=verdict)

    def at_least(name: str, values: Array, bound: float) -> Figure:
        return figure(name, values, wanted=f">= {bound:g}", passed=bool(values.mean() >= bound))

    def at_most(name: str, values: Array, bound: float) -> Figure:
        return figure(name, values, wanted=f"<= {bound:g}", passed=bool(values.mean() <= bound))

    c: Any = column
    figures = (
        at_most("one model for all: gain from 5k to 80k pairs", c["single 4n"] - c["single n/4"], 0.01),
        at_most("one model for all, 20k pairs", c["single n"], 0.65),
        at_most("mixture without context", c["mixture, no context"], 0.65),
        at_least("mixture and gate", c["gate"], 0.76),
        at_most("best possible from context - mixture and gate", c["best from context"] - c["gate"], 0.02),
        at_least("online from the gate, comparisons 6-15", c["gate, 6-15"], 0.84),
        at_most("taste known - online (tempered gate), 21-30", c["taste known"] - c["tempered, 21-30"], 0.02),
        figure("taste known - online (plain gate), 21-30", c["taste known"] - c["gate, 21-30"]),
        at_least("gate - uniform start, first 5", c["gate, first 5"] - c["uniform, first 5"], 0.03),
        figure("tempered gate - uniform start, first 5", c["tempered, first 5"] - c["uniform, first 5"]),
        at_most("one taste only: mixture loses", c["one taste: lost"], 0.005),
        figure("one taste only: effective heads", c["one taste: effective heads"]),
        at_least("pocket: gap closed at comparison 10, gate + online", c["closed by gate + online"], 0.7),
        at_most("pocket: gap closed at comparison 10, per-user model", c["closed by per user"], 0.4),
        at_most("pocket: routing regret / global router's", c["regret / global's"], 0.5),
        *(figure(name, values) for name, values in column.items() if name.startswith("pocket")),
    )
    return Report(
        name="micro",
        claim="a gated, online mixture of preference models beats one model for all people",
        figures=figures,
        seeds=options.seeds,
        plots=(draw(curves, options.out / "micro.png"),),
        notes=(
            "the paper's accuracy tables are on a 3B reward model's hidden states and are not comparable",
            "pocket answers have two styles, at once and worked out; none refuses, so the fourth taste is for low cost",
        ),
        details={"per_seed": [dict(row) for row in rows]},
    )


def draw(curves: Sequence[Mapping[str, list[float]]], path: Path) -> str:
    """Accuracy on real answers after each comparison, mean over seeds."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    for arm in curves[0]:
        axes.plot(np.mean([curve[arm] for curve in curves], axis=0), label=arm, ls="--" if arm == "oracle" else "-")
    axes.set(xlabel="the user's comparisons", ylabel="choices foretold", title="whose taste counts, on pocket answers")
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140, bbox_inches="tight")
    plt.close(figure)
    return str(path)
