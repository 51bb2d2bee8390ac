"""Schedules and deadlines with real processes: the journal after a SIGKILL, the commands, the SDK,
and the example."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from support.cluster import FAST, Cluster, cluster
from support.waiting import until
from titan import DAG, Job
from titan.core.events import events as ev
from titan.errors import CallerError, Conflict, NotFound
from titan.model.timing import iso
from titan.sdk.status import JobStatus

DOWN_S = float(os.environ.get("TITAN_TEST_DOWN_S", "4"))
"""Seconds for which the master is away."""
EXAMPLE = Path(__file__).parents[2] / "examples" / "samples"
POLICIES = ("skip", "last", "all")


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("schedules") / "c", "w1") as made:
        yield made


def test_after_a_kill_each_catch_up_policy_runs_its_missed_times(tmp_path: Path) -> None:
    """There is a schedule of one second for each policy. The journal shows which times were missed
    while the master was away."""
    with cluster(tmp_path / "c", "w1", settings=FAST) as made:
        for policy in POLICIES:
            dag = DAG(policy, [Job("tell", command="echo $TITAN_SCHEDULED_AT")])
            made.client.schedules.add(policy, dag, cron="* * * * * *", overlap="queue", catch_up=policy)
        until(lambda: all(s.fired >= 2 for s in made.client.schedules.list()), "each schedule has fired twice")
        made.kill_master()
        back_at = time.time() + DOWN_S
        until(lambda: time.time() >= back_at, "the master was away", DOWN_S + 20)
        made.start_master()
        made.client.schedules.list()

        def is_done() -> bool:
            states = made.client.schedules.list()
            return all(s.waiting == 0 and s.last_at is not None and s.last_at > back_at for s in states)

        until(is_done, "all schedules have caught up", 60 + 2 * DOWN_S)
        for policy in POLICIES:
            made.client.schedules.pause(policy)
        until(lambda: all(run.over for run in made.client.runs(10_000)), "the runs are over", 60)

        events = list(made.events())
        boot = max(i for i, e in enumerate(events) if isinstance(e, ev.MasterStarted))
        began = events[boot]
        assert isinstance(began, ev.MasterStarted)
        for policy in POLICIES:
            before = decided(events[:boot], policy)
            missed = [float(t) for t in range(int(before[-1]) + 1, int(began.at) + 1)]
            assert len(missed) >= DOWN_S - 1
            fired = [e.nominal for e in events if isinstance(e, ev.ScheduleFired) and e.name == policy]
            assert fired == sorted(set(fired)), "in order, and never twice for one time"
            expected = {"skip": [], "last": missed[-1:], "all": missed}[policy]
            assert [t for t in fired if t in missed] == expected, policy
            runs = [e for e in events if isinstance(e, ev.RunSubmitted) and e.schedule == policy]
            assert [e.scheduled_at for e in runs] == fired
            assert len({e.key for e in runs}) == len(fired)
            # Between the first and the last time, only missed times were left out.
            assert [t for t in decided(events, policy) if t not in missed or t in expected] == [
                float(t) for t in range(int(fired[0]), int(decided(events, policy)[-1]) + 1) if t not in missed or t in expected
            ]
        newest = made.client.schedules.get("all")
        said = made.output(f"{newest.last_run}/tell")
        assert newest.last_at is not None and said.decode().strip() == iso(newest.last_at)


def decided(events: list[ev.Event], name: str) -> list[float]:
    """Return the nominal times for which runs were made or put into the waiting list, in the order
    of the first decision about them."""
    found: dict[float, None] = {}
    for e in events:
        if isinstance(e, ev.ScheduleFired) and e.name == name:
            found[e.nominal] = None
        elif isinstance(e, ev.ScheduleWaited) and e.name == name:
            found.update(dict.fromkeys(e.nominal))
    return list(found)


# -- the commands ----------------------------------------------------------------------------------
def test_schedules_are_added_changed_paused_and_removed_by_commands(c: Cluster, tmp_path: Path) -> None:
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text("name: p\nproject: false\njobs: [{id: a, command: 'echo hi'}]\n")
    made = c.json("schedule", "add", "night", str(pipeline), "--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--overlap", "queue")
    assert (made["name"], made["dag"], made["count"], made["catch_up"], made["paused"]) == ("night", "p", 1, "last", False)
    assert len(made["upcoming"]) == 5 and made["upcoming"][0] == made["next_at"] > time.time()
    assert [s["name"] for s in c.json("schedule", "list")] == ["night"]
    listed = c.cli("schedule", "list").stdout
    assert "30 2 * * * Europe/Berlin" in listed and "queue/last" in listed
    assert c.json("schedule", "pause", "night")["next_at"] is None
    assert "paused" in c.cli("schedule", "show", "night").stdout
    assert c.json("schedule", "resume", "night")["next_at"] == made["next_at"]
    run = c.json("schedule", "run", "night")["run"]
    assert c.cli("wait", run, "--quiet").returncode == 0
    status = c.json("status", run)
    assert status["schedule"] == "night" and status["scheduled_at"] == pytest.approx(time.time(), abs=120)
    assert "by schedule night for " in c.cli("status", run).stdout
    assert any("by schedule night for " in line for line in c.json("status", f"{run}/a")["story"])
    changed = c.json("schedule", "add", "night", str(pipeline), "--every", "3600", "--replace")
    assert (changed["every"], changed["cron"], changed["fired"]) == (3600.0, None, 1)
    assert c.json("schedule", "remove", "night") == {"removed": "night"}
    assert c.json("schedule", "list") == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cron", "0 0 30 2 *"], "never fires: its months have no day 30"),
        (["--cron", "99 * * * *"], "the minute '99' is wrong: it takes 0-59"),
        (["--cron", "* * *"], "has 3 fields: give five"),
        (["--cron", "@daily", "--tz", "Europe/Berln"], "there is no time zone 'Europe/Berln': did you mean Europe/Berlin?"),
        (["--cron", "@daily", "--overlap", "both"], "overlap policy 'both' is unknown: use skip, queue or replace"),
        (["--every", "0.01"], "an interval is 1 to"),
        (["--every", "60", "--cron", "@daily"], "pass exactly one of --cron and --every"),
        ([], "pass exactly one of --cron and --every"),
        (["--cron", "@daily", "--deadline", "-1"], "give a number of seconds or a duration such as 90s"),
    ],
)
def test_bad_input_is_refused_with_the_problem(c: Cluster, tmp_path: Path, options: list[str], says: str) -> None:
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text("name: p\nproject: false\njobs: [{id: a, command: 'echo hi'}]\n")
    done = c.cli("schedule", "add", "bad", str(pipeline), *options)
    assert done.returncode == 2 and says in done.stderr
    assert c.json("schedule", "list") == []


def test_commands_about_an_unknown_schedule_are_refused(c: Cluster) -> None:
    for words in (("show", "x"), ("pause", "x"), ("resume", "x"), ("remove", "x"), ("run", "x")):
        done = c.cli("schedule", *words)
        assert done.returncode == 2 and "there is no schedule 'x': `titan schedule list` lists them" in done.stderr


def test_the_example_runs_by_the_clock(c: Cluster) -> None:
    added = c.cli("schedule", "add", "samples", str(EXAMPLE / "pipeline.yaml"), "--cron", "* * * * * *", "--tz", "Europe/Berlin")
    assert added.returncode == 0, added.stderr
    first = until(lambda: c.client.schedules.get("samples").last_run, "the schedule fires")
    c.client.schedules.remove("samples")
    assert first is not None and c.client.run(first).wait(60).ok
    said = c.output(f"{first}/report").decode()
    assert datetime.fromisoformat(said.partition(": ")[0]).utcoffset() is not None
    assert " late" in said
    until(lambda: all(run.over for run in c.client.runs()), "the others end too")


# -- the SDK ---------------------------------------------------------------------------------------
def test_schedules_are_added_changed_paused_and_removed_by_a_program(c: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "s.sh"
    script.write_text("echo $TITAN_SCHEDULE\n")
    schedules, dag = c.client.schedules, DAG("d", [Job("a", file=script)])
    made = schedules.add("mine", dag, every=86_400, start=time.time() + 3600, paused=True)
    assert made.paused and made.next_at is None and len(made.upcoming(3)) == 3
    with pytest.raises(Conflict, match="there is a schedule 'mine' already"):
        schedules.add("mine", dag, every=60)
    with pytest.raises(CallerError, match="either a cron expression or an interval"):
        schedules.add("none", dag)
    run = schedules.run("mine")
    assert run.wait(60).ok
    assert c.output(f"{run.id}/a") == b"mine\n"
    assert schedules.get("mine").last_run == run.id
    schedules.remove("mine")
    with pytest.raises(NotFound, match="there is no schedule 'mine'"):
        schedules.get("mine")


# -- deadlines and times ---------------------------------------------------------------------------
def test_a_deadline_survives_the_master(tmp_path: Path) -> None:
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text(
        "name: p\nproject: false\ndeadline: 2\njobs: [{id: a, command: sleep 600}, {id: b, command: x, depends_on: [a]}]\n"
    )
    with cluster(tmp_path / "c", "w1", settings=FAST) as made:
        run = made.cli("submit", str(pipeline)).stdout.strip()
        made.restart_master()
        summary = made.client.run(run).wait(60)
        assert summary.state == "FAILED" and summary.tally == {"CANCELLED": 2}
        assert summary.deadline_at == pytest.approx(summary.submitted_at + 2)
        assert summary.finished_at is not None and summary.finished_at >= summary.submitted_at + 2
        job, story = made.client.job(f"{run}/b")
        assert job.reason == "the deadline of its run passed, 2 s after it was submitted"
        assert job.reason in story[-1] and any("the deadline of its run is" in line for line in story)
        assert [e.run for e in made.events() if isinstance(e, ev.RunExpired)] == [run]


def test_a_deadline_on_the_command_line_ends_the_run(c: Cluster) -> None:
    done = c.cli("run", "--deadline", "0.5", "--", "sleep", "600")
    assert done.returncode == 1


def test_a_job_with_run_at_starts_at_that_time(c: Cluster) -> None:
    at = time.time() + 0.5
    dag = DAG("at", [Job("a", command="true", run_at=at), Job("b", command="true", run_at=datetime.fromtimestamp(at - 100))])
    jobs = {job.id: job for job in jobs_of(c, dag)}
    assert jobs["a"].started_at is not None and jobs["a"].started_at >= at
    assert jobs["b"].state == "COMPLETED"


def jobs_of(c: Cluster, dag: DAG) -> list[JobStatus]:
    run = c.client.submit(dag)
    run.wait(60)
    return run.status().jobs
