"""CEL expressions: what is wrong is found when they are loaded, and they mean what a truth table says."""

from __future__ import annotations

from typing import Any

import cel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.errors import ConfigError
from interlock.guards.expression import Expression, operands, tokenized

SCHEMA = {
    "signals": {"tokens": 0.0, "language": "", "task": "", "pii": False},
    "request": {"needs": [""], "hints": {}, "capabilities": {"tools": "", "json": ""}},
}

RIGHT = [
    "true",
    "signals.tokens > 400",
    "signals.tokens * 2.0 >= 400",
    "signals['tokens'] > 400.0",
    "signals.pii ? signals.tokens > 3.0 : signals.language in ['de', 'fr']",
    "!(signals.pii && !(signals.tokens > 3.0)) || !signals.pii == true",
    "has(request.hints.team) && request.hints.team == 'a'",
    "'team' in request.hints && request.hints['team'] == 'a'",
    "request.capabilities.tools != 'yes'",
    "request.needs.exists(need, need == 'tools' || need.startsWith('im'))",
    "size(request.needs) > 1 && signals.language.matches('^d.$')",
    'signals.task == "it\'s (not && over" // a comment || nothing',
    "has(signals.task) && signals.task != ''",
    "int(signals.tokens) / 2 == 200",
]

WRONG = {
    "signals.tokns > 4": "column 9: there is no signals.tokns; did you mean 'tokens'?",
    "signal.tokens > 4": "column 1: unknown name 'signal'; did you mean 'signals'?",
    "candidate.name == 'x'": "column 1: unknown name 'candidate'; known: request, signals",
    "signals.pii || signals.tokens > 'a'": "column 16: \"signals.tokens > 'a'\" compares a number with a string",
    "signals.pii && (true || signals.task == 4)": "column 25: 'signals.task == 4' compares a string with a number",
    "signals.tokens == null": "column 1: 'signals.tokens == null' compares a number with a null; ask with has(...)",
    "signals.language in [1, 2]": "column 1: 'signals.language in [1, 2]' compares a string with a number",
    "signals.tokens * 2 > 400": "column 1: 'signals.tokens * 2': the types do not fit; numbers here are doubles",
    "request.needs.exists(n, n > 4)": "column 1: 'request.needs.exists(n, n > 4)': the types do not fit",
    "request.hints.team == 'a'": "column 15: request.hints.team may be absent, so ask first: `has(request.hints.team)",
    "request.hints['team'] == 'a'": "column 15: request.hints.team may be absent",
    "request.capabilities.tool != 'yes'": "`has(request.capabilities.tool) && ...`; did you mean 'tools'?",
    "signals['tokns'] > 4.0": "column 1: \"signals['tokns']\": there is no key 'tokns'",
    "signals.language.startWith('d')": "column 18: there is no function 'startWith'; did you mean 'startsWith'?",
    "signals.language": "column 1: 'signals.language' is a string, but must be true or false",
    "signals.pii && 1": "column 16: '1' is a number, but must be true or false",
    "signals": "column 1: 'signals' is a map, but must be true or false",
    "signals.language.matches('(')": "unclosed group",
    "signals.tokens >": "column 17: not CEL: mismatched input '<EOF>'",
    "signals.pii &&\n  signals.taks == 'x'": "line 2, column 11: there is no signals.taks; did you mean 'task'?",
    "signals.pii &&\n ] true": "line 2, column 2: not CEL: extraneous input ']'",
    "": "column 1: not CEL",
}


@pytest.mark.parametrize("source", RIGHT)
def test_right_expressions_load(source: str) -> None:
    assert Expression(source, SCHEMA).source == source


@pytest.mark.parametrize("source", WRONG)
def test_each_mistake_is_found_at_load_with_its_position(source: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Expression(source, SCHEMA, "guards.rules.r.when")
    assert caught.value.path == "guards.rules.r.when"
    assert WRONG[source] in caught.value.problem
    assert "\n" not in caught.value.problem


def test_what_an_expression_reads_is_known() -> None:
    assert Expression("signals.pii && has(request.hints.x)", SCHEMA).reads == {"signals": {"pii"}, "request": {"hints"}}
    assert Expression("'pii' in signals", SCHEMA).reads == {"signals": set(SCHEMA["signals"])}


def evaluate(source: str, **signals: Any) -> bool:
    return Expression(source, SCHEMA).holds(cel.Context({"signals": signals, "request": {}}))


def test_what_is_absent_cannot_be_evaluated_unless_the_other_side_settles_it() -> None:
    with pytest.raises(KeyError, match="task"):
        evaluate("signals.task == 'math'", pii=True)
    with pytest.raises(KeyError, match="task"):
        evaluate("!(signals.task == 'math') && signals.pii", pii=True)
    assert evaluate("signals.task == 'math' || signals.pii", pii=True)
    assert not evaluate("signals.task == 'math' && signals.pii", pii=False)
    assert not evaluate("has(signals.task) && signals.task == 'math'", pii=True)


leaves = st.sampled_from(
    [
        ("signals.pii", lambda s: s["pii"]),
        ("signals.tokens > 400", lambda s: s["tokens"] > 400),
        ("(signals.tokens <= 8.5)", lambda s: s["tokens"] <= 8.5),
        ("signals.language == 'de'", lambda s: s["language"] == "de"),
        ('signals.task in ["math", "&& ||"]', lambda s: s["task"] in ("math", "&& ||")),
        ("!(signals.language != 'fr')", lambda s: s["language"] == "fr"),
    ]
)


def combined(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    two = st.tuples(children, children)
    return st.one_of(
        two.map(lambda t: (f"({t[0][0]} && {t[1][0]})", lambda s: t[0][1](s) and t[1][1](s))),
        two.map(lambda t: (f"({t[0][0]}\n|| {t[1][0]})", lambda s: t[0][1](s) or t[1][1](s))),
        children.map(lambda c: (f"!({c[0]})", lambda s: not c[1](s))),
        st.tuples(children, children, children).map(
            lambda t: (
                f"(({t[0][0]}) ? ({t[1][0]}) : ({t[2][0]}))",
                lambda s: t[1][1](s) if t[0][1](s) else t[2][1](s),
            )
        ),
    )


trees = st.recursive(leaves, combined, max_leaves=8)
readings = st.fixed_dictionaries(
    {
        "pii": st.booleans(),
        "tokens": st.sampled_from([0.0, 8.5, 400.0, 401.0, 1e9]),
        "language": st.sampled_from(["de", "fr", ""]),
        "task": st.sampled_from(["math", "&& ||", "other"]),
    }
)


@given(trees, st.lists(readings, min_size=1, max_size=8))
@settings(max_examples=250, deadline=None)
def test_random_rule_trees_equal_a_truth_table(tree: Any, rows: list[dict[str, Any]]) -> None:
    source, truth = tree
    expression = Expression(source, SCHEMA)
    for row in rows:
        assert expression.holds(cel.Context({"signals": row, "request": {}})) is truth(row)


@given(trees, st.integers(0, 7))
@settings(max_examples=150, deadline=None)
def test_a_mistake_is_found_wherever_in_the_tree_it_stands(tree: Any, at: int) -> None:
    source = tree[0]
    places = [i for i in range(len(source)) if source.startswith("signals.pii", i)]
    if places:
        place = places[at % len(places)]
        broken = source[:place] + "signals.tokens == 'x'" + source[place + len("signals.pii") :]
        with pytest.raises(ConfigError, match="compares a number with a string") as caught:
            Expression(broken, SCHEMA)
        line, column = broken.count("\n", 0, place) + 1, place - broken.rfind("\n", 0, place)
        where = f"line {line}, column {column}" if "\n" in broken else f"column {column}"
        assert caught.value.problem.startswith(where + ":")


def test_operands_are_split_outside_brackets_and_strings_only() -> None:
    source = "a && ('x || y' == b.f(c || d)) || !(e ? g : h[{'k': i && j}])"
    texts = [source[part[0].at : part[-1].at + len(part[-1].text)] for part in operands(tokenized(source))]
    assert texts == ["a", "'x || y' == b.f(c || d)", "e", "g", "h[{'k': i && j}]"]
