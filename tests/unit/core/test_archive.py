"""Finished runs leave the state when the history has stored them."""

from __future__ import annotations

import pytest

from support.core import CLIENT, FIRST, Master, alike, cancel, dag, register, results, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.state import snapshot
from titan.core.state import state as core_state
from titan.core.state.state import State
from titan.model.dag import JobTemplate
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome

ONCE = JobTemplate(command="false", retries=0)


def finished(master: Master, run: str, key: str = "") -> None:
    master.see(submit(dag({"a": ""}), run=run, key=key))
    master.see(succeeded(1, *master.state.workers[1].held))


def test_only_a_finished_run_is_archived_and_all_its_jobs_leave_the_state() -> None:
    master = Master()
    master.see(register(slots=1), submit(alike("x y", ONCE), run="r", key="k"))
    assert master.see(inputs.HistoryKept(["r", "unknown"])).events == []
    master.see(results(1, (master.lease(0), Outcome.EXITED)), cancel("r"))
    assert master.states() == [JobState.DEAD, JobState.CANCELLED]
    assert master.see(inputs.HistoryKept(["r"]), at=9.0).events == [ev.RunArchived("r", 9.0)]
    assert not master.state.jobs and not master.state.runs and not master.state.dead and not master.state.keys


def test_a_run_may_be_archived_before_all_its_jobs_were_released() -> None:
    master = Master(Settings(prefetch=0, release_slice=1))
    master.see(submit(alike("a b c", ONCE), run="r"), cancel("r"))
    assert master.see(inputs.HistoryKept(["r"])).events[0] == ev.RunArchived("r", 0.0)
    assert not master.state.releasing


def test_the_key_of_an_archived_run_still_finds_it_also_after_a_restart() -> None:
    master = Master()
    master.see(register())
    finished(master, "r", "k")
    master.see(inputs.HistoryKept(["r"]))
    state = State(master.state.settings)
    snapshot.load(state, list(snapshot.dump(master.state)))
    state.reindex()
    master.state = state
    assert master.see(submit(dag({"b": ""}), run="s", key="k")) == ([], [fx.ReplySubmitted(CLIENT, 5, "r", 1)])


def test_keys_of_archived_runs_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titan.core.apply.runs.ARCHIVED_LIMIT", 2)
    assert core_state.ARCHIVED_LIMIT >= 10_000
    master = Master()
    master.see(register())
    for n in range(3):
        finished(master, f"r{n}", f"k{n}")
    master.see(inputs.HistoryKept(["r0", "r1", "r2"]))
    assert master.state.archived == {"k1": ("r1", 1), "k2": ("r2", 1)}


def test_numbers_of_jobs_are_not_given_out_again() -> None:
    master = Master()
    master.see(register())
    finished(master, "r")
    master.see(inputs.HistoryKept(["r"]))
    finished(master, "s")
    assert list(master.state.jobs) == [FIRST + 1]
