"""The circuit breaker: its states, its probes, and what it must never do."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from interlock import errors
from interlock.execution.calls import CANCELLED
from interlock.guards import Board
from interlock.guards.health import NEUTRAL

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


def test_a_late_call_is_not_taken_for_a_probe() -> None:
    clock = Clock()
    of = board(clock)
    assert of.begin("a")  # begins while closed, and ends much later
    for _ in range(2):
        call(of, "a", FAILED)
    clock.now = 10.0
    assert of.begin("a")
    assert of.begin("a")
    of.end("a", FAILED, 10.0)
    assert of.state("a") == "half_open"
    assert not of.begin("a"), "both probes are still under way"


def test_the_pause_is_jittered_around_its_length() -> None:
    for draw, seconds in ((0.0, 7.0), (0.5, 10.0), (0.999999, 13.0)):
        clock = Clock()
        of = Board(failures=1, pause=10.0, jitter=0.3, clock=clock, draw=lambda draw=draw: draw)
        of.register(POOL)
        call(of, "a", FAILED)
        clock.now = seconds - 0.01
        assert of.state("a") == "open"
        clock.now = seconds + 0.01
        assert of.state("a") == "half_open"


def test_the_pause_grows_to_a_limit_and_starts_afresh_after_recovery() -> None:
    clock = Clock()
    of = board(clock, longest=25.0)
    lengths = []
    call(of, "a", FAILED)
    for _ in range(4):
        call(of, "a", FAILED)
        lengths.append(of.circuits["a"].until - clock.now)
        clock.now = of.circuits["a"].until
    assert lengths == [10.0, 20.0, 25.0, 25.0]
    for _ in range(2):
        call(of, "a", None)
    for _ in range(2):
        call(of, "a", FAILED)
    assert of.circuits["a"].until - clock.now == 10.0


@pytest.mark.parametrize(("share", "most"), [(0.0, 0), (0.1, 1), (0.5, 2), (0.74, 2), (1.0, 4)])
def test_at_most_a_share_of_the_pool_is_ejected(share: float, most: int) -> None:
    of = board(Clock(), ejectable=share)
    for _ in range(5):
        for name in POOL:
            call(of, name, FAILED)
    assert sum(of.state(name) == "open" for name in POOL) == most


def test_what_failed_while_no_more_could_be_ejected_opens_when_there_is_room() -> None:
    clock = Clock()
    of = board(clock, ejectable=0.25)
    for _ in range(5):
        call(of, "a", FAILED)
        call(of, "b", FAILED)
    assert (of.state("a"), of.state("b")) == ("open", "closed")
    clock.now = 10.0
    for _ in range(2):
        call(of, "a", None)
    call(of, "b", FAILED)
    assert (of.state("a"), of.state("b")) == ("closed", "open")


def test_a_reload_keeps_the_circuits_of_candidates_that_stay() -> None:
    of = board(Clock())
    assert of.begin("b")
    for _ in range(2):
        call(of, "a", FAILED)
    of.register(["a", "new"])
    assert of.state("a") == "open"
    of.end("b", FAILED, 1.0)  # its candidate is gone
    assert set(of.circuits) == {"a", "new"}


def test_every_neutral_code_is_an_error_that_exists() -> None:
    codes = {value.code for value in vars(errors).values() if isinstance(value, type) and hasattr(value, "code")}
    assert {*codes, CANCELLED} >= NEUTRAL


class Breakers(RuleBasedStateMachine):
    """Random calls that overlap and end in any order. The model knows of each call whether it is a probe."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.board = board(self.clock)
        self.begun: list[tuple[str, bool]] = []

    @initialize(share=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
    def choose_share(self, share: float) -> None:
        self.board.ejectable = share

    @rule(name=st.sampled_from(POOL))
    def begin(self, name: str) -> None:
        admitted, state = self.board.admits(name), self.board.state(name)
        assert self.board.begin(name) == admitted
        assert not (admitted and state == "open")
        if admitted:
            self.begun.append((name, state == "half_open"))

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), error=st.sampled_from([None, FAILED, FAILED, LIMITED, "cancelled"]))
    def end(self, data: st.DataObject, error: str | None) -> None:
        name, _ = self.begun.pop(data.draw(st.integers(0, len(self.begun) - 1)))
        before = (self.board.circuits[name].opened, self.board.circuits[name].failures)
        self.board.end(name, error, 0.1, 1.0 if error == LIMITED else None)
        if error in NEUTRAL:
            assert (self.board.circuits[name].opened, self.board.circuits[name].failures) == before

    @rule(seconds=st.floats(0.1, 40))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def never_more_open_than_the_capped_share(self) -> None:
        opened = sum(circuit.opened for circuit in self.board.circuits.values())
        assert opened <= (max(1, int(self.board.ejectable * len(POOL))) if self.board.ejectable else 0)

    @invariant()
    def every_call_is_counted_and_slots_never_leak(self) -> None:
        for name, circuit in self.board.circuits.items():
            under_way = [probe for called, probe in self.begun if called == name]
            assert circuit.ordinary + circuit.probing == len(under_way)
            assert circuit.probing <= self.board.probes

    @invariant()
    def never_more_probes_than_slots(self) -> None:
        for name in POOL:
            assert sum(probe for called, probe in self.begun if called == name) <= self.board.probes

    def teardown(self) -> None:
        """Once everything has ended and time has passed, every candidate may be called again."""
        for name, _ in self.begun:
            self.board.end(name, None, 0.1)
        self.clock.now += 1e6
        assert all(self.board.admits(name) for name in POOL)
        assert all(circuit.probing == circuit.ordinary == 0 for circuit in self.board.circuits.values())


TestBreakers = Breakers.TestCase
TestBreakers.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def in_two_domains(clock: Clock) -> Board:
    of = board(clock, park=60.0, longest_park=200.0)
    of.register({"a": "first", "b": "first", "c": "second", "d": "second"})
    return of


def test_a_used_up_quota_rests_whoever_shares_it() -> None:
    clock = Clock()
    of = in_two_domains(clock)
    assert call(of, "a", LIMITED, 20.0)
    assert [of.resting(name) for name in POOL] == [20.0, 20.0, 0.0, 0.0]
    assert call(of, "c", LIMITED, -5.0)
    assert of.admits("d")


def test_a_shorter_rest_does_not_end_a_longer_one() -> None:
    clock = Clock()
    of = in_two_domains(clock)
    assert of.begin("a")
    assert call(of, "b", LIMITED, 20.0)
    of.end("a", LIMITED, 0.1, 1.0)
    assert of.resting("a") == 20.0


def test_an_empty_account_parks_its_domain_until_probes_succeed() -> None:
    clock = Clock()
    of = in_two_domains(clock)
    assert call(of, "a", "provider_out_of_funds")
    assert [of.admits(name) for name in POOL] == [False, False, True, True]
    assert of.wait("b") == 60.0
    clock.now = 60.0
    assert call(of, "b", "provider_out_of_funds")
    assert of.wait("a") == of.wait("b") == 120.0
    clock.now = 180.0
    for _ in range(2):
        assert call(of, "a", None)
    assert (of.state("a"), of.state("b")) == ("closed", "half_open")


def test_parking_grows_to_its_cap_and_calls_under_way_do_not_lengthen_it() -> None:
    clock = Clock()
    of = in_two_domains(clock)
    assert of.begin("a")
    assert of.begin("a")
    for _ in range(2):
        of.end("a", "provider_out_of_funds", 0.1)
    assert of.wait("a") == 60.0
    for longest in (120.0, 200.0, 200.0):
        clock.now += of.wait("a")
        assert call(of, "a", "provider_out_of_funds")
        assert of.wait("a") == longest
