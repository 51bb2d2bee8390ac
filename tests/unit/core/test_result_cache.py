"""Jobs with caching: the result of an earlier job with the same key is reused, without a worker."""

from __future__ import annotations

import msgspec

from support.core import FIRST, Master, alike, completed, dag, picture, register, replay, results, submit, succeeded
from titan.core import effects as fx
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.handlers import result_cache
from titan.core.state import content_references as references
from titan.core.state.state import Job
from titan.master.views import job_row, run_row
from titan.model.dag import Cache, DagSpec, JobTemplate, Service
from titan.model.files import StoredFile
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome, RunState
from titan.model.values import RETURNED_AT, by_content

CACHED = JobTemplate(command="sort", retries=0, cache=Cache())
FILE = StoredFile("out", "a" * 64, 700)
DAY_S = 86_400.0


def cluster(settings: Settings | None = None) -> Master:
    master = Master(settings or Settings(prefetch=0, loss_s=1e9))
    master.see(register(slots=8), at=1.0)
    return master


def job(master: Master, run: str, name: str = "a") -> Job:
    number = master.state.find(master.state.runs[run], name)
    assert number is not None
    return master.state.jobs[number]


def end(master: Master, run: str, name: str = "a", *, at: float, value: bytes = b"", files: tuple[StoredFile, ...] = ()) -> None:
    """Worker 1 reports that a job succeeded."""
    report = succeeded(1, job(master, run, name).lease)
    master.see(msgspec.structs.replace(report, values=[value], outputs=[files] if files else []), at=at)


def ran(master: Master, spec: DagSpec, run: str, *, at: float, value: bytes = b"j1") -> None:
    """A run of one job, from its submission to its end."""
    master.see(submit(spec, run=run, key=run), at=at)
    assert job(master, run).state is JobState.DISPATCHED, f"{run} reused a result"
    end(master, run, at=at + 1.0, value=value)


def reuses(master: Master, spec: DagSpec, run: str, *, at: float) -> str:
    """Submit a run of one job, and return the job whose result it reused; "" if it runs."""
    master.see(submit(spec, run=run, key=run), at=at)
    return job(master, run).cached_from


ONE = alike("a", CACHED)


def test_the_events_of_a_miss_and_of_a_hit() -> None:
    master = cluster()
    events, _ = master.see(submit(ONE, run="r1"), at=1.0)
    key = result_cache.key_of(master.state, master.job())
    assert events[1:] == [
        ev.JobsQueued([FIRST], 1.0),
        ev.CacheMissed([FIRST], [key], 1.0),
        ev.JobsDispatched(1, [FIRST], FIRST, 1.0),
    ]
    events, _ = master.see(succeeded(1, FIRST), at=3.0)
    assert events[:2] == [completed(1, [FIRST], 3.0), ev.ResultsCached([FIRST], [key], 3.0)]
    events, effects = master.see(submit(ONE, run="r2", key="2"), at=4.0)
    assert events[1:] == [
        ev.JobsQueued([FIRST + 1], 4.0),
        ev.JobsReused([FIRST + 1], [key], ["r1/a"], 4.0),
        ev.RunFinished("r2", RunState.COMPLETED, 4.0),
    ]
    assert not any(isinstance(effect, fx.SendDispatch) for effect in effects)
    assert picture(replay(master.events)) == picture(master.state)


def test_the_value_and_the_files_are_those_of_the_earlier_job() -> None:
    master = cluster()
    spec = alike("a", msgspec.structs.replace(CACHED, outputs=(("out", "out.txt"),)))
    master.see(submit(spec, run="r1"), at=2.0)
    end(master, "r1", at=3.0, value=b"j[1]", files=(FILE,))
    assert reuses(master, spec, "r2", at=9.0) == "r1/a"
    reused = job(master, "r2")
    assert (reused.value, reused.outputs, reused.attempt, reused.exit_code) == (b"j[1]", (FILE,), 0, 0)
    row = job_row(master.state, reused)
    assert (row.reason, row.cached_from, row.finished_at, row.worker) == ("cached from r1/a", "r1/a", 9.0, "")
    assert run_row(master.state.runs["r2"]).reused == 1 and run_row(master.state.runs["r1"]).reused == 0


def test_a_chain_of_known_jobs_completes_in_one_turn() -> None:
    names = [f"j{i}" for i in range(50)]
    spec = dag({name: names[i - 1] if i else "" for i, name in enumerate(names)}, dict.fromkeys(names, CACHED))
    spec = msgspec.structs.replace(spec, args=[(name,) for name in names])
    master = cluster()
    master.see(submit(spec, run="r1"), at=2.0)
    for i, name in enumerate(names):
        end(master, "r1", name, at=3.0 + i)
    master.see(submit(spec, run="r2", key="2"), at=99.0)
    assert master.run_state("r2") is RunState.COMPLETED and master.state.runs["r2"].reused == 50
    assert picture(replay(master.events)) == picture(master.state)


def test_a_job_behind_a_job_with_another_result_runs() -> None:
    spec = dag({"a": "", "b": "a"}, {"a": msgspec.structs.replace(CACHED, cache=None), "b": CACHED})
    master = cluster()
    for run, value in (("r1", b"j1"), ("r2", b"j2")):
        master.see(submit(spec, run=run, key=run), at=master.now + 1.0)
        end(master, run, "a", at=master.now + 1.0, value=value)
        assert job(master, run, "b").state is JobState.DISPATCHED
        end(master, run, "b", at=master.now + 1.0)
    master.see(submit(spec, run="r3", key="r3"), at=20.0)
    end(master, "r3", "a", at=21.0, value=b"j1")
    assert job(master, "r3", "b").cached_from == "r1/b"


def test_jobs_of_an_array_have_keys_of_their_own() -> None:
    spec = msgspec.structs.replace(alike("p[0] p[1]", CACHED), args=[("0",), ("1",)])
    master = cluster()
    master.see(submit(spec, run="r1"), at=2.0)
    for name in ("p[0]", "p[1]"):
        end(master, "r1", name, at=3.0, value=f'j"{name}"'.encode())
    more = msgspec.structs.replace(alike("p[0] p[1] p[2]", CACHED), args=[("new",), ("0",), ("1",)])
    master.see(submit(more, run="r2", key="2"), at=4.0)
    assert [job(master, "r2", f"p[{i}]").cached_from for i in range(3)] == ["", "r1/p[0]", "r1/p[1]"]


def test_a_handler_that_is_not_needed_and_a_job_that_goes_on() -> None:
    jobs = {"a": "", "h": "a", "z": "a"}
    spec = dag(jobs, {"a": CACHED, "h": JobTemplate(command="x", kind="handler"), "z": JobTemplate(command="z")})
    master = cluster()
    ran(master, ONE, "r1", at=2.0)
    master.see(submit(spec, run="r2", key="2"), at=4.0)
    states = {name: job(master, "r2", name).state for name in jobs}
    assert states == {"a": JobState.COMPLETED, "h": JobState.CANCELLED, "z": JobState.DISPATCHED}


SERVICE = JobTemplate(command="serve", kind="service", service=Service(health="none"))


def test_a_service_ends_when_the_last_job_that_needed_it_reused_a_result() -> None:
    spec = dag({"s": "", "slow": "", "a": "s slow"}, {"s": SERVICE, "a": CACHED})
    master = cluster()
    for run in ("r1", "r2"):
        at = master.now + 1.0
        master.see(submit(spec, run=run, key=run), at=at)
        lease = job(master, run, "s").lease
        master.see(inputs.ServicesSeen(1, [lease], [1], [at], [at], [80], [0], [""], [0.0]), at=at)
        end(master, run, "slow", at=at + 1.0)
        if run == "r1":
            end(master, run, "a", at=at + 2.0)
    assert job(master, "r2", "a").cached_from == "r1/a"
    assert job(master, "r2", "s").state is JobState.COMPLETED and master.run_state("r2") is RunState.COMPLETED
    assert picture(replay(master.events)) == picture(master.state)


def test_a_run_without_cache_reuses_nothing_but_its_results_are_kept() -> None:
    anew = msgspec.structs.replace(ONE, fresh=True)
    master = cluster()
    ran(master, ONE, "r1", at=2.0)
    ran(master, anew, "r2", at=4.0, value=b"j2")
    assert reuses(master, ONE, "r3", at=6.0) == "r2/a" and job(master, "r3").value == b"j2"


def test_a_result_that_is_too_old_for_a_job_is_not_reused() -> None:
    hourly = alike("a", msgspec.structs.replace(CACHED, cache=Cache(max_age_s=3600.0)))
    master = cluster()
    ran(master, hourly, "r1", at=2.0)
    assert reuses(master, hourly, "r2", at=3602.9) == "r1/a"
    ran(master, hourly, "r3", at=3603.0)
    assert reuses(master, hourly, "r4", at=4000.0) == "r3/a"
    assert reuses(master, ONE, "r5", at=DAY_S) == "r3/a"


def test_failures_and_lost_output_are_not_kept() -> None:
    master = cluster()
    master.see(submit(ONE, run="r1"), at=2.0)
    master.see(results(1, (FIRST, Outcome.EXITED)), at=3.0)
    assert job(master, "r1").state is JobState.DEAD
    master.see(submit(ONE, run="r2", key="2"), at=4.0)
    report = msgspec.structs.replace(succeeded(1, job(master, "r2").lease), lost=["the disk is full"])
    master.see(report, at=5.0)
    assert job(master, "r2").state is JobState.COMPLETED and not master.state.result_cache.results
    assert reuses(master, ONE, "r3", at=6.0) == ""


def test_a_retry_reuses_what_another_run_has_completed_meanwhile() -> None:
    master = cluster()
    master.see(submit(ONE, run="r1"), at=2.0)
    master.see(results(1, (FIRST, Outcome.EXITED)), at=3.0)
    ran(master, ONE, "r2", at=4.0)
    master.see(inputs.DeadRetried(9, 7, "r1", "", "ada", "k", []), at=6.0)
    assert job(master, "r1").cached_from == "r2/a" and master.run_state("r1") is RunState.COMPLETED
    assert picture(replay(master.events)) == picture(master.state)


def test_the_result_of_a_job_that_added_jobs_is_not_kept() -> None:
    master = cluster()
    master.see(submit(ONE, run="r1"), at=2.0)
    added = alike("more", JobTemplate(command="x"))
    master.see(inputs.RunGrowthRequested(1, 5, 1, job(master, "r1").lease, "", "k", added, ()), at=2.5)
    assert job(master, "r1", "more").state is JobState.DISPATCHED
    end(master, "r1", at=3.0)
    assert not master.state.result_cache.results


# -- secrets ---------------------------------------------------------------------------------------
SECRET = alike("a", msgspec.structs.replace(CACHED, secrets=("TOKEN",)))


def secret(version: int) -> inputs.SecretWritten:
    return inputs.SecretWritten(9, 5, "TOKEN", version, 0.0)


def test_a_secret_that_was_set_anew_makes_another_key() -> None:
    master = cluster()
    master.see(secret(1), at=1.5)
    ran(master, SECRET, "r1", at=2.0)
    assert reuses(master, SECRET, "r2", at=4.0) == "r1/a"
    master.see(secret(2), at=5.0)
    ran(master, SECRET, "r3", at=6.0)
    master.see(secret(0), at=8.0)
    master.see(secret(1), at=9.0)
    assert reuses(master, SECRET, "r4", at=10.0) == "", "version 1 again, with another value"
    assert picture(replay(master.events)) == picture(master.state)


def test_a_secret_that_is_set_while_the_job_runs_makes_its_result_unusable() -> None:
    master = cluster()
    master.see(secret(1), at=1.5)
    master.see(submit(SECRET, run="r1"), at=2.0)
    master.see(secret(2), at=2.5)
    end(master, "r1", at=3.0)
    assert not master.state.result_cache.results


# -- limits ----------------------------------------------------------------------------------------
def work(number: int) -> DagSpec:
    return msgspec.structs.replace(ONE, args=[(str(number),)])


def test_the_result_that_was_not_used_for_the_longest_time_is_dropped_first() -> None:
    master = cluster(Settings(prefetch=0, loss_s=1e9, cache_results=2))
    for number in (1, 2):
        ran(master, work(number), f"r{number}", at=10.0 * number)
    assert reuses(master, work(1), "again", at=30.0) == "r1/a"
    ran(master, work(3), "r3", at=40.0)
    kept = [result.source for result in master.state.result_cache.results.values()]
    assert kept == ["r1/a", "r3/a"]
    assert isinstance(master.events[-1], ev.CacheDropped)
    assert picture(replay(master.events)) == picture(master.state)


def test_results_that_nobody_uses_are_dropped_after_their_time() -> None:
    master = cluster(Settings(prefetch=0, loss_s=1e9, cache_s=DAY_S))
    ran(master, work(1), "r1", at=2.0)
    assert reuses(master, work(1), "r2", at=DAY_S) == "r1/a"
    assert reuses(master, work(1), "r3", at=2 * DAY_S - 1.0) == "r1/a", "each use restarts the time"
    events, _ = master.see(inputs.TimePassed(), at=3 * DAY_S - 1.0)
    assert [type(event) for event in events] == [ev.CacheDropped] and not master.state.result_cache.results
    assert reuses(master, work(1), "r4", at=3 * DAY_S) == ""


def test_large_results_are_dropped_by_their_size() -> None:
    master = cluster(Settings(prefetch=0, loss_s=1e9, cache_bytes=1500))
    spec = msgspec.structs.replace(CACHED, outputs=(("out", "out.txt"),))
    for number in range(3):
        run = f"r{number}"
        master.see(submit(msgspec.structs.replace(alike("a", spec), args=[(run,)]), run=run, key=run), at=10.0 * (number + 1))
        end(master, run, at=master.now + 1.0, files=(FILE,), value=by_content(RETURNED_AT, bytes(32), 10))
    assert [result.source for result in master.state.result_cache.results.values()] == ["r1/a", "r2/a"]
    assert master.state.result_cache.content == 2 * (FILE.size + 10)


def test_the_content_of_a_result_is_referred_to_until_it_is_dropped() -> None:
    master = cluster(Settings(prefetch=0, loss_s=1e9, cache_s=DAY_S))
    spec = alike("a", msgspec.structs.replace(CACHED, outputs=(("out", "out.txt"),)))
    master.see(submit(spec, run="r1"), at=2.0)
    end(master, "r1", at=3.0, files=(FILE,), value=by_content(RETURNED_AT, bytes(32), 10))
    master.see(inputs.HistoryKept(["r1"], []), at=4.0)
    assert "r1" not in master.state.runs
    assert references.apart_from_runs(master.state) == {FILE.hash, "00" * 32}
    assert reuses(master, spec, "r2", at=5.0) == "r1/a"
    master.see(inputs.TimePassed(), at=3 * DAY_S)
    assert references.apart_from_runs(master.state) == set()


def test_jobs_without_caching_cost_no_event() -> None:
    master = cluster()
    spec = alike("a b", JobTemplate(command="x"))
    master.see(submit(spec, run="r1"), at=2.0)
    for name in ("a", "b"):
        end(master, "r1", name, at=3.0)
    kinds = {type(event) for event in master.events}
    assert not kinds & {ev.CacheMissed, ev.JobsReused, ev.ResultsCached, ev.CacheDropped}
    assert all(entry.extra is None for entry in master.state.jobs.values())
