"""Outputs are recorded with the completion of their job and given to the jobs that use them. Keys
are published, and the state knows which content is referenced."""

from __future__ import annotations

from msgspec.structs import replace

from support.core import CLIENT, FIRST, Master, dag, picture, refusal, register, replay, results, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.handlers.files import files_for
from titan.core.state.content_references import apart_from_runs, of_run
from titan.core.state.state import State
from titan.model.dag import JobTemplate, Service
from titan.model.files import MAX_VERSIONS, PROGRAM, Published, StoredFile
from titan.model.states import JobState, Outcome, RunState

MAKE = JobTemplate(command="make", outputs=(("model", "out/m"), ("tool", "t")), retries=0)
USE = JobTemplate(command="use", inputs=(("in/m", "make", "model"), ("bin/t", "make", "tool")))
LEFT = (StoredFile("model", "a" * 64, 5), StoredFile("tool", "b" * 64, 6, PROGRAM))
KEY = "models/best"


def held(state: State) -> set[str]:
    return apart_from_runs(state).union(*[of_run(state, run) for run in state.runs.values()])


def made() -> Master:
    """Return a master on which `make` runs on worker 1, and `use` waits for it."""
    m = Master()
    m.see(register(), submit(dag({"make": "", "use": "make"}, {"make": MAKE, "use": USE})))
    return m


def test_outputs_of_a_job_are_recorded_and_given_to_its_children() -> None:
    m = made()
    decision = m.see(replace(succeeded(1, m.lease()), outputs=[LEFT]))
    (event,) = [e for e in decision.events if isinstance(e, ev.JobsCompleted)]
    assert event.outputs == [LEFT] and m.job().outputs == LEFT
    assert files_for(m.state, m.job(1)) == (StoredFile("in/m", "a" * 64, 5), StoredFile("bin/t", "b" * 64, 6, PROGRAM))
    assert held(m.state) == {"a" * 64, "b" * 64}
    assert picture(replay(m.events)) == picture(m.state)


def test_a_result_without_its_output_files_is_a_failure() -> None:
    for outputs in ([], [()], [LEFT[:1]]):
        m = made()
        m.see(replace(succeeded(1, m.lease()), outputs=outputs))
        assert m.states() == [JobState.FAILED, JobState.WAITING] and m.job().due > 0, "it is tried again"
        assert m.job().reason.startswith("its worker reported no output files")


def publish(key: str = KEY, hash_: str = "c", *, lease: int = 0, shared: bool = True, worker: int = 0) -> inputs.PublishRequested:
    return inputs.PublishRequested(CLIENT, 8, key, hash_ * 64, 3, 0, worker, lease, shared)


def test_keys_of_a_run_and_keys_for_all() -> None:
    m = made()
    mine, ours = publish(lease=m.lease(), worker=1, shared=False), publish(hash_="d")
    decision = m.see(mine, ours, at=2.0)
    assert decision.events == [
        ev.ArtifactPublished("r", KEY, Published("c" * 64, 3, 0, 2.0, "r/make"), 2.0),
        ev.ArtifactPublished("", KEY, Published("d" * 64, 3, 0, 2.0), 2.0),
    ]
    assert decision.effects == [
        fx.ReplyPublished(CLIENT, 8, f"r/{KEY}", [Published("c" * 64, 3, 0, 2.0, "r/make")]),
        fx.ReplyPublished(CLIENT, 8, KEY, [Published("d" * 64, 3, 0, 2.0)]),
    ]
    assert held(m.state) == {"c" * 64, "d" * 64}
    assert m.see(mine, at=3.0).events == []  # the request is repeated
    assert picture(replay(m.events)) == picture(m.state)


def test_the_newest_version_counts_and_few_older_ones_stay() -> None:
    m = Master()
    letters = "0123456789ab"
    for letter in (*letters, "0"):
        m.see(publish(hash_=letter))
    assert [v.hash[0] for v in m.state.published[KEY]] == [*letters[-MAX_VERSIONS + 1 :], "0"]


def test_invalid_publications_are_refused() -> None:
    m = made()
    assert "is not a valid key" in refusal(m.see(publish("../x")))[1]
    assert "a shared key must not begin with a run id" in refusal(m.see(publish("1hf7yat00c1s/x")))[1]
    assert "no longer current" in refusal(m.see(publish(lease=FIRST + 77, worker=1)))[1]
    assert "no longer current" in refusal(m.see(publish(lease=m.lease(), worker=9)))[1]
    m.see(publish())
    assert isinstance(m.see(inputs.UnpublishRequested(CLIENT, 8, KEY)).events[0], ev.ArtifactRemoved)
    assert "there is no shared key" in refusal(m.see(inputs.UnpublishRequested(CLIENT, 8, KEY)))[1]
    assert held(m.state) == set()


def test_the_publications_of_a_run_are_removed_with_the_run() -> None:
    m = made()
    m.see(publish(lease=m.lease(), worker=1, shared=False), inputs.CancelRequested(CLIENT, 6, "r", ""))
    m.see(inputs.HistoryKept(["r"]))
    assert not m.state.runs and held(m.state) == set()


def test_files_of_a_pattern_and_of_an_array_keep_their_names() -> None:
    part = JobTemplate(command="x", outputs=(("parts", "p/*.csv"),))
    join = JobTemplate(command="y", inputs=(("", "part[*]", "parts"), ("all", "part[#]", "parts")))
    m = Master()
    parents = {"part[0]": "", "part[1]": "", "join": "part[0] part[1]"}
    m.see(register(), submit(dag(parents, {"part[0]": part, "part[1]": part, "join": join})))
    for position, names in enumerate((("a", "b"), ("c",))):
        left = tuple(StoredFile(f"parts/{name}.csv", name * 64, 1, of="parts") for name in names)
        m.see(replace(succeeded(1, m.lease(position)), outputs=[left]))
    assert [file.name for file in files_for(m.state, m.job(2))] == [
        *("part[0]/p/a.csv", "part[0]/p/b.csv", "part[1]/p/c.csv"),
        *("all/0/a.csv", "all/0/b.csv", "all/1/c.csv"),
    ]
    assert picture(replay(m.events)) == picture(m.state)


def test_an_optional_input_is_absent_if_its_job_died() -> None:
    make = replace(MAKE, on_failure="continue")
    use = replace(USE, optional_inputs=(0, 1))
    m = Master()
    m.see(register(), submit(dag({"make": "", "use": "make"}, {"make": make, "use": use})))
    m.see(results(1, (m.lease(), Outcome.REFUSED)))
    assert m.states() == [JobState.DEAD, JobState.DISPATCHED] and files_for(m.state, m.job(1)) == ()


def test_two_inputs_that_bring_the_same_path_stop_the_job() -> None:
    part = JobTemplate(command="x", outputs=(("parts", "*.csv"),))
    join = JobTemplate(command="y", inputs=(("", "a", "parts"), ("", "b", "parts")))
    m = Master()
    m.see(register(), submit(dag({"a": "", "b": "", "join": "a b"}, {"a": part, "b": part, "join": join})))
    for position in range(2):
        left = (StoredFile("parts/x.csv", "a" * 64, 1, of="parts"),)
        m.see(replace(succeeded(1, m.lease(position)), outputs=[left]))
    assert m.job(2).state is JobState.DEAD
    assert m.job(2).reason == "inputs: 'x.csv' appears twice: give each input a folder of its own"
    assert picture(replay(m.events)) == picture(m.state)


def test_a_service_ends_when_the_last_job_that_needed_it_cannot_get_its_files() -> None:
    part = JobTemplate(command="x", outputs=(("parts", "*.csv"),))
    join = JobTemplate(command="y", inputs=(("", "a", "parts"), ("", "b", "parts")))
    service = JobTemplate(command="serve", kind="service", service=Service(health="none"))
    m = Master()
    jobs = {"a": "", "b": "", "s": "", "join": "a b s"}
    m.see(register(slots=3), submit(dag(jobs, {"a": part, "b": part, "s": service, "join": join})))
    m.see(inputs.ServicesSeen(1, [m.lease(2)], [1], [1.0], [1.0], [80], [0], [""], [0.0]), at=1.0)
    for position in range(2):
        left = (StoredFile("parts/x.csv", "a" * 64, 1, of="parts"),)
        m.see(replace(succeeded(1, m.lease(position)), outputs=[left]), at=2.0)
    assert m.states() == [JobState.COMPLETED, JobState.COMPLETED, JobState.COMPLETED, JobState.DEAD]
    assert m.run_state() is RunState.FAILED
