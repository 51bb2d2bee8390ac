"""A restored home issues the same terms again. Attempts of the other history must not be taken for
attempts of this one."""

from __future__ import annotations

from msgspec.structs import replace

from support.core import alike, booted, register, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.handlers.fencing import TERM_LEAP, TERMS_AHEAD, TERMS_HEARD
from titan.core.invariants import check
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.core.step import Decision, step
from titan.model.dag import JobTemplate
from titan.model.states import JobState

TRUE = JobTemplate(command="true")


class Home:
    """A state that can be copied and started again, like a home."""

    def __init__(self, state: State | None = None) -> None:
        self.state = state or State()
        self.now = 100.0

    def boot(self, draw: str, *, copied: str = "") -> Decision:
        return self.see(booted(self.state, draw=draw, copied=copied))

    def see(self, *inputs: inputs.Input) -> Decision:
        self.now += 1.0
        decision = step(self.state, self.now, inputs)
        check(self.state)
        return decision

    def copy(self) -> Home:
        state = State()
        snapshot.load(state, snapshot.dump(self.state))
        state.reindex()
        made = Home(state)
        made.now = self.now
        return made

    def states(self) -> list[JobState]:
        return [job.state for job in self.state.jobs.values()]

    def raised(self, decision: Decision) -> ev.TermRaised | None:
        return next((e for e in decision.events if isinstance(e, ev.TermRaised)), None)


def holding(*leases: int, draw: str, name: str = "w1", slots: int = 2) -> inputs.WorkerRegistered:
    return replace(register(name, slots=slots, held=dict.fromkeys(leases, 1.0)), draws=(draw,), draw_of=[0] * len(leases))


def run_in_both_pasts() -> tuple[Home, int]:
    """Return a restarted copy of a home, and the lease that worker w1 still holds. The original
    home issued this lease in its last term."""
    home = Home()
    home.boot("a")
    copy = home.copy()
    home.boot("b")
    home.see(holding(draw="b"))
    home.see(submit(alike("lost", TRUE), run="first"))
    lease = home.state.jobs[2 << 32].lease
    assert lease == 2 << 32
    copy.boot("c")
    return copy, lease


def test_the_result_of_another_past_is_not_taken_for_a_job_of_this_one() -> None:
    home, lease = run_in_both_pasts()
    home.see(submit(alike("kept", TRUE), run="second"))
    decision = home.see(holding(lease, draw="b"))
    raised = home.raised(decision)
    assert raised is not None and (raised.term, raised.heard) == (3, 2) and "restored" in raised.notice
    assert fx.SendStop(1, [lease]) in decision.effects
    job = next(iter(home.state.jobs.values()))
    assert job.lease >> 32 == 3, "new leases have a term that no worker knows"
    home.see(succeeded(1, lease))
    assert home.states() == [JobState.DISPATCHED]
    home.see(succeeded(1, job.lease))
    assert home.states() == [JobState.COMPLETED]


def test_jobs_of_a_raised_term_have_numbers_of_their_own() -> None:
    home, lease = run_in_both_pasts()
    home.see(holding(lease, draw="b"))
    home.see(submit(alike("kept", TRUE), run="second"))
    assert list(home.state.jobs) == [3 << 32]


def test_a_term_that_this_home_never_had_is_passed() -> None:
    home, _ = run_in_both_pasts()
    raised = home.raised(home.see(holding(9 << 32 | 4, draw="z")))
    assert raised is not None and raised.term == 10 == home.state.term
    assert home.state.notices[-1][1] == raised.notice


def test_a_proof_of_another_history_is_noted_once() -> None:
    home, lease = run_in_both_pasts()
    assert home.raised(home.see(holding(lease, draw="b")))
    again = replace(inputs.WorkerBeat(1, [lease], [1.0]), draws=("b",), draw_of=[0])
    assert home.raised(home.see(again)) is None
    assert len(home.state.notices) == 1


def test_an_attempt_whose_lease_equals_a_foreign_one_is_lost_and_retried() -> None:
    """The worker ignored the dispatch, because it already held a lease of this number."""
    home, lease = run_in_both_pasts()
    home.see(holding(draw=""))
    home.see(submit(alike("kept", TRUE), run="second"))
    job = home.state.jobs[2 << 32]
    assert job.lease == lease
    home.see(replace(inputs.WorkerBeat(1, [lease], [1.0]), draws=("b",), draw_of=[0]))
    assert job.lease == 3 << 32 and job.attempt == 2


def test_a_lease_under_the_draw_of_this_home_goes_on_and_one_without_a_draw_too() -> None:
    for draw in ("a", ""):
        home = Home()
        home.boot("a")
        home.see(holding(draw=""))
        home.see(submit(alike("x", TRUE)))
        job = home.state.jobs[1 << 32]
        home.boot("b")
        assert home.raised(home.see(holding(job.lease, draw=draw))) is None
        home.see(succeeded(1, job.lease))
        assert job.state is JobState.COMPLETED


def test_a_home_that_is_known_to_be_a_copy_leaps() -> None:
    home = Home()
    home.boot("a")
    decision = home.boot("b", copied="it is a copy")
    assert decision.events == [ev.MasterStarted(2 + TERM_LEAP, "c", home.now, "b", "it is a copy")]
    assert home.state.notices == [(home.now, "it is a copy")]


def test_nonsense_raises_no_term() -> None:
    home = Home()
    home.boot("a")
    for lease in (-1, (TERMS_AHEAD + 2) << 32, 1 << 62):
        assert home.raised(home.see(holding(lease, draw="b"))) is None
    assert home.state.term == 1


def test_a_worker_that_claims_ever_higher_terms_cannot_use_up_the_numbers() -> None:
    home = Home()
    home.boot("a")
    for _ in range(TERMS_HEARD // TERMS_AHEAD + 10):
        home.see(holding((home.state.term + TERMS_AHEAD) << 32, draw="b"))
    assert home.state.term <= TERMS_HEARD + 1
    home.boot("c")
    home.see(holding(draw="c"), submit(alike("x", TRUE)))
    assert all(job.lease < 1 << 63 for job in home.state.jobs.values())


def test_draws_of_terms_that_matter_survive_a_snapshot_and_others_are_forgotten() -> None:
    home = Home()
    home.boot("d1")
    home.see(holding(draw=""))
    home.see(submit(alike("x", TRUE)))
    for term in range(2, 40):
        home.boot(f"d{term}")
    assert home.copy().state.draws == home.state.draws
    assert next(iter(home.state.draws)) == 1
    assert len(home.state.draws) <= 18
