"""Every task: exact verifiers, scratchpads that lead to the answer, wordings without leaks, stable disjoint splits."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.pocket.tasks import SPLITS, TASKS, Example, Task, draw, split_of
from interlock.pocket.tasks import strings as s
from interlock.pocket.tasks.add import column_addition
from interlock.pocket.tasks.cups import replay
from interlock.pocket.tasks.facts import DOMAIN_SHARES, MIDDLE_LETTERS, facts_about, level_shares, table
from interlock.pocket.tasks.grid import walk

SHORT = [task for task in TASKS.values() if task.name != "recall_long"]
tasks = st.sampled_from(list(TASKS.values()))
seeds = st.integers(0, 2**32)


@st.composite
def examples(data: st.DrawFn, of: st.SearchStrategy[Task] = tasks) -> Example:
    task = data(of)
    level = data(st.sampled_from(task.levels))
    return task.example(Random(data(seeds)), level, data(st.integers(0, len(task.forms) - 1)))


@given(examples())
def test_the_answer_is_accepted_and_every_mutation_rejected(example: Example) -> None:
    answer = example.answer
    assert example.verify(answer)
    assert example.verify(f"  {answer}\n")
    mutants = {answer[:-1], answer + answer[-1], answer.swapcase() + "?", ""}
    mutants |= {
        answer[:i] + other + answer[i + 1 :] for i in range(len(answer)) for other in "0Z)" if other != answer[i]
    }
    assert not any(example.verify(mutant) for mutant in mutants - {answer})


@given(st.text(), examples())
def test_verify_never_raises(text: str, example: Example) -> None:
    assert example.verify(text) == (text.strip() == example.answer)


@given(tasks, seeds)
def test_the_same_seed_gives_the_same_example(task: Task, seed: int) -> None:
    level = task.levels[seed % len(task.levels)]
    assert task.example(Random(seed), level) == task.example(Random(seed), level)


def _final_answer(example: Example) -> str:
    """What the scratchpad alone says the answer is."""
    steps = [step for step in example.scratch.split(";") if step]
    match example.task:
        case "add" | "base7":
            carry = steps[-1][2]
            return ("1" if carry == "1" else "") + "".join(step[3] for step in reversed(steps))
        case "cups":
            return example.scratch[-1]
        case "grid":
            return example.scratch[-2:]
        case "bool":
            return steps[-1][-1]
        case "roman":
            return "".join(step[1:] for step in steps)
        case "clock":
            minute, hour = steps[0][:2], int(steps[1]) % 24
            return f"{hour:02}:{minute}"
        case "brackets":
            closer = dict(zip("([{<", ")]}>", strict=True))
            return "".join(closer[bracket] for bracket in reversed(example.scratch.split(",")[-1]))
        case "compose":
            *_, last = re.split(r" then | \| | > ", example.prompt)
            for key, step in {
                "first 3": lambda x: x[:3],
                "sort": s.sort,
                "shift": lambda x: s.caesar(x, 1),
                "reverse": s.reverse,
            }.items():
                if key in last:
                    return step(example.scratch)
    raise AssertionError(f"no replay for {example.task}")


@pytest.mark.parametrize("task", [t for t in SHORT if t.example(Random(0), t.levels[0]).scratch], ids=lambda t: t.name)
def test_the_scratchpad_leads_to_the_answer(task: Task) -> None:
    rng = Random(1)
    for level in task.levels:
        for _ in range(60):
            example = task.example(rng, level)
            assert _final_answer(example) == example.answer, example


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_column_addition_is_addition(a: int, b: int) -> None:
    width = max(len(str(a)), len(str(b)))
    assert column_addition(f"{a:0{width}}", f"{b:0{width}}", 10)[0] == str(a + b).rjust(width, "0")


@given(seeds)
def test_base7_addition_is_addition_in_base_seven(seed: int) -> None:
    example = TASKS["base7"].example(Random(seed), 4)
    _, a, b = example.prompt.split()
    assert int(a, 7) + int(b, 7) == int(example.answer, 7)


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1), st.integers(0, 26))
def test_string_operations_have_their_algebra(text: str, by: int) -> None:
    assert s.reverse(s.reverse(text)) == text
    assert s.sort(s.sort(text)) == s.sort(text) == s.sort(s.reverse(text))
    assert Counter(s.dedupe(text)) == Counter(set(text))
    assert s.caesar(s.caesar(text, by), 26 - by) == text
    assert s.rotate(s.rotate(text, by % len(text)), len(text) - by % len(text)) == text


def test_cups_and_grid_by_hand() -> None:
    assert replay("1", ["12", "35", "23", "31"]) == ["2", "2", "3", "1"]
    assert walk((0, 0), {(1, 1)}, "LDURU") == ["A1", "A1", "A2", "A2", "A3"]


@given(examples(st.just(TASKS["brackets"])))
def test_brackets_with_their_answer_are_balanced(example: Example) -> None:
    text = example.prompt.removeprefix(re.match(r"[A-Za-z :]*", example.prompt)[0])
    text = "".join(re.findall(r"[][(){}<>]", text)) + example.answer
    while text != (shorter := re.sub(r"\(\)|\[\]|\{\}|<>", "", text)):
        text = shorter
    assert text == ""
    assert len(example.answer) == example.level


@given(seeds, st.sampled_from(TASKS["bool"].levels))
def test_bool_agrees_with_python(seed: int, level: int) -> None:
    example = TASKS["bool"].example(Random(seed), level)
    expression = example.prompt.removeprefix("bool ")
    # Python's `!=` binds tighter than `not`; every inner operation is bracketed already, negations are not.
    expression = re.sub(r"not ([TF])", r"(not \1)", expression).replace("xor", "!=")
    assert eval(expression, {"T": True, "F": False}) == (example.answer == "T")


@given(examples(st.just(TASKS["recall_long"])))
def test_long_recall_is_answered_by_its_own_text(example: Example) -> None:
    for question, answer in ((example.prompt.split()[-1], example.answer), *example.turns):
        key = question.strip()
        assert re.findall(rf"\b{key}(\d)\b", example.prompt) == [answer]


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda t: t.name)
def test_wordings(task: Task) -> None:
    assert len(task.forms.paraphrases) >= 6
    assert len({task.forms[v] for v in range(len(task.forms))}) == len(task.forms)
    name = task.name.removesuffix("_long").removesuffix("7")
    names = {"facts": "code", "caesar": "caesar|shift", "dedupe": "dedupe|duplicate", "compose": "then"}.get(name, name)
    for variant in task.forms.variants("hidden"):
        assert not re.search(rf"\b({names})\b", task.forms[variant], re.IGNORECASE)


@pytest.mark.parametrize("task", SHORT, ids=lambda t: t.name)
def test_every_level_has_content_in_every_split(task: Task) -> None:
    rng = Random(2)
    for level in task.levels:
        for split in SPLITS:
            assert draw(task, rng, level, split).split == split


def test_all_wordings_of_one_problem_fall_on_one_side() -> None:
    for task in SHORT:
        if not task.memorised:
            seen = {task.example(Random(7), task.levels[-1], variant).split for variant in range(len(task.forms))}
            assert len(seen) == 1


@given(st.text())
def test_the_split_is_a_function_of_the_content(content: str) -> None:
    assert split_of(content) == split_of(content) in SPLITS


def test_the_split_does_not_move_between_versions() -> None:
    assert [split_of(f"add {n} 1") for n in range(24)].count("train") == 20
    assert split_of("cups 3: 12 45") == "train"


def test_split_shares() -> None:
    counts = Counter(split_of(f"sort {n}") for n in range(20_000))
    assert counts["train"] / 20_000 == pytest.approx(0.8, abs=0.01)
    assert counts["test"] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_unknown_level_and_wording_are_named() -> None:
    with pytest.raises(ValueError, match=r"'add' has no level 9; its levels are \(1, 2, 3, 4, 5, 6\)"):
        TASKS["add"].example(Random(0), 9)
    with pytest.raises(ValueError, match="no wording 99"):
        TASKS["add"].example(Random(0), 1, 99)
    with pytest.raises(ValueError, match="no facts about 'whale'"):
        facts_about("whale")


def test_the_fact_table() -> None:
    facts = [fact for quintile in table() for fact in quintile]
    assert len({fact.name for fact in facts}) == len(facts)
    assert Counter(fact.domain for fact in facts) == dict.fromkeys(DOMAIN_SHARES, len(facts) // len(DOMAIN_SHARES))
    assert [fact.frequency for fact in facts] == sorted((fact.frequency for fact in facts), reverse=True)
    assert sum(level_shares()) == pytest.approx(1)
    for quintile, middles in zip(table(), MIDDLE_LETTERS, strict=True):
        assert all(fact.name[1] in middles for fact in quintile)


def test_a_specialist_task_stays_in_its_domain() -> None:
    task = facts_about("comet")
    rng = Random(3)
    for level in task.levels:
        example = draw(task, rng, level)
        assert example.domain == "facts-comet"
        assert "comet" in example.prompt
