"""The circuit breaker: its states, its probes, and what it must never do."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from interlock.guards import Board

POOL = ("a", "b", "c", "d")
FAILED, LIMITED = "provider_timeout", "provider_rate_limited"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def board(clock: Clock, **options: float) -> Board:
    made = Board(failures=2, pause=10.0, probes=2, jitter=0.0, clock=clock, **options)  # type: ignore[arg-type]
    made.register(POOL)
    return made


def call(of: Board, name: str, error: str | None, retry_after: float | None = None) -> bool:
    begun = of.begin(name)
    if begun:
        of.end(name, error, 0.1, retry_after)
    return begun


def test_failures_open_it_time_half_opens_it_and_probes_close_it() -> None:
    clock = Clock()
    of = board(clock)
    assert call(of, "a", FAILED)
    assert of.state("a") == "closed"
    assert call(of, "a", FAILED)
    assert of.state("a") == "open"
    assert not call(of, "a", None)
    clock.now = 10.0
    assert of.state("a") == "half_open"
    assert call(of, "a", None)
    assert of.state("a") == "half_open"
    assert call(of, "a", None)
    assert of.state("a") == "closed"


def test_a_failed_probe_opens_it_for_longer() -> None:
    clock = Clock()
    of = board(clock)
    for _ in range(2):
        call(of, "a", FAILED)
    clock.now = 10.0
    call(of, "a", FAILED)
    clock.now = 29.0
    assert of.state("a") == "open"
    clock.now = 30.0
    assert of.state("a") == "half_open"


def test_only_so_many_probes_at_once() -> None:
    clock = Clock()
    of = board(clock)
    for _ in range(2):
        call(of, "a", FAILED)
    clock.now = 10.0
    assert of.begin("a")
    assert of.begin("a")
    assert not of.begin("a")
    of.end("a", LIMITED, 0.1)  # neutral, but the slot is free again
    clock.now = 10.1
    assert of.state("a") == "half_open"
    assert of.begin("a")


def test_a_retry_after_is_honoured_and_capped() -> None:
    clock = Clock()
    of = board(clock, longest_rest=60.0)
    call(of, "a", LIMITED, retry_after=3600.0)
    assert of.state("a") == "closed"
    assert not of.begin("a")
    clock.now = 60.0
    assert of.begin("a")


def test_being_limited_is_neither_success_nor_failure() -> None:
    clock = Clock()
    of = board(clock)
    call(of, "a", FAILED)
    call(of, "a", LIMITED, retry_after=0.0)
    assert of.state("a") == "closed"
    call(of, "a", FAILED)
    assert of.state("a") == "open"


class Breakers(RuleBasedStateMachine):
    """Random calls that overlap, in any order, with time passing."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.board = board(self.clock)
        self.begun: list[str] = []

    @initialize(share=st.sampled_from([0.25, 0.5, 0.75]))
    def choose_share(self, share: float) -> None:
        self.board.ejectable = share

    @rule(name=st.sampled_from(POOL))
    def begin(self, name: str) -> None:
        admitted = self.board.admits(name)
        assert self.board.begin(name) == admitted
        if admitted:
            self.begun.append(name)

    @rule(data=st.data(), error=st.sampled_from([None, FAILED, FAILED, LIMITED, "cancelled"]))
    def end(self, data: st.DataObject, error: str | None) -> None:
        if self.begun:
            name = self.begun.pop(data.draw(st.integers(0, len(self.begun) - 1)))
            self.board.end(name, error, 0.1, 1.0 if error == LIMITED else None)

    @rule(seconds=st.floats(0.1, 40))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def never_more_open_than_the_capped_share(self) -> None:
        opened = sum(circuit.opened for circuit in self.board.circuits.values())
        assert opened <= max(1, int(self.board.ejectable * len(POOL)))

    @invariant()
    def probe_slots_never_leak(self) -> None:
        for name, circuit in self.board.circuits.items():
            assert 0 <= circuit.probing <= self.begun.count(name)


TestBreakers = Breakers.TestCase
TestBreakers.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
