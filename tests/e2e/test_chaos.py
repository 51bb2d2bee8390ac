"""A graph of real jobs. The master is killed several times, and one worker is killed for good. All
jobs run, and each completion is recorded once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support.cluster import FAST, Cluster, alive, cluster
from support.waiting import until
from titan import DAG, Job
from titan.sdk.run import Run

LAYERS = (100, 60, 40)
SCRIPT = """\
printf 'start %s %s %s\\n' "$TITAN_JOB" "$TITAN_ATTEMPT" "$(date +%s%N)" >>"$SCRATCH/$TITAN_RUN.times"
sleep 0.0"$1"
echo "$TITAN_JOB" >"$SCRATCH/$TITAN_RUN/$TITAN_JOB"
printf 'end %s %s %s\\n' "$TITAN_JOB" "$TITAN_ATTEMPT" "$(date +%s%N)" >>"$SCRATCH/$TITAN_RUN.times"
"""


class Times(NamedTuple):
    """Times at which attempts (job, number) started and ended, in nanoseconds, as their scripts
    recorded them."""

    started: dict[tuple[str, int], int]
    ended: dict[tuple[str, int], int]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "ada", "bob", "cyd", settings=FAST) as made:
        yield made


def layered_dag(scratch: Path, chance: random.Random) -> DAG:
    """Return a DAG of 200 jobs in layers. Each job of a later layer has two to five parents in the
    layer before. The jobs have no retries, because a crash of the master or a worker is no failure
    of a job."""
    script = scratch / "step.sh"
    script.write_text(SCRIPT)
    jobs: list[Job] = []
    above: list[str] = []
    for layer, count in enumerate(LAYERS):
        names = [f"l{layer}-{n}" for n in range(count)]
        for name in names:
            parents = chance.sample(above, chance.randint(2, 5)) if above else []
            args = [chance.randint(10, 99)]
            jobs.append(Job(name, file=script, args=args, parents=parents, retries=0, env={"SCRATCH": scratch}))
        above = names
    return DAG("layers", jobs)


def times_of(scratch: Path, run: str) -> Times:
    found = Times({}, {})
    for line in (scratch / f"{run}.times").read_text().splitlines():
        kind, job, attempt, at = line.split()
        column = found.started if kind == "start" else found.ended
        assert (job, int(attempt)) not in column, f"attempt {attempt} of {job} ran twice"
        column[job, int(attempt)] = int(at)
    return found


def submit(c: Cluster, dag: DAG, scratch: Path) -> Run:
    """Submit the DAG behind a first job, which makes the folder for the run's files. The folder is
    named by the id of the run, which is known only after the submission."""
    gate = Job("gate", command='mkdir "$SCRATCH/$TITAN_RUN" && : >"$SCRATCH/$TITAN_RUN.times"', retries=0, env={"SCRATCH": scratch})
    jobs = [gate]
    for job in dag.jobs:
        parents = job.parents or ("gate",)
        jobs.append(Job(job.id, file=job.file, args=job.args, parents=parents, retries=0, env=dict(job.env)))
    return c.client.submit(DAG(dag.name, jobs))


def ends(scratch: Path) -> int:
    return sum(path.read_text().count("end ") for path in scratch.glob("*.times"))


def check_run(c: Cluster, run: Run, dag: DAG, scratch: Path) -> None:
    status = run.status()
    assert {job.state for job in status.jobs} == {"COMPLETED"}
    assert {path.name for path in (scratch / run.id).iterdir()} == {job.id for job in dag.jobs}
    recorded = {job.id: job.attempt for job in status.jobs}
    times = times_of(scratch, run.id)
    for job in dag.jobs:
        for attempt in range(1, recorded[job.id] + 1):
            started = times.started.get((job.id, attempt))
            for parent in job.parents:
                # The end of the parent's attempt that was recorded counts.
                ended = times.ended[parent, recorded[parent]]
                assert started is None or ended < started, f"{job.id} started before {parent} had ended"
    assert c.completions(run.id) == dict.fromkeys(["gate", *(job.id for job in dag.jobs)], 1)


def kill_at_random(c: Cluster, chance: random.Random, scratch: Path, total: int) -> None:
    """Kill the master three times and one worker once, each when a random number of jobs has
    ended."""
    moments = sorted(chance.sample(range(5, total * 3 // 4), 4))
    for moment, what in zip(moments, chance.sample(["master", "master", "master", "worker"], 4), strict=True):
        until(lambda moment=moment: ends(scratch) >= moment, f"{moment} jobs ended", 60.0)  # type: ignore[misc]
        if what == "master":
            c.restart_master()
        else:
            c.kill_worker(chance.choice(sorted(c.workers)))


def cancelled_before(c: Cluster, scratch: Path) -> tuple[Run, int]:
    """Return a run with a running job that was cancelled with its child, and the pid of the job's
    process."""
    pid_file = scratch / "victim.pid"
    command = 'echo $$ >"$PID_FILE.new" && mv "$PID_FILE.new" "$PID_FILE"; sleep 600'
    run = c.client.submit(
        DAG(
            "doomed",
            [
                Job("victim", command=command, env={"PID_FILE": pid_file}),
                Job("child", command="true", parents=["victim"]),
                Job("bystander", command="true"),
            ],
        )
    )
    until(pid_file.exists, "the victim runs")
    assert c.client.cancel(f"{run.id}/victim") == 2
    return run, int(pid_file.read_text())


@pytest.mark.parametrize("seed", [1])
def test_200_jobs_survive_three_deaths_of_the_master_and_the_loss_of_a_worker(three: Cluster, tmp_path: Path, seed: int) -> None:
    chance, scratch = random.Random(seed), tmp_path / "scratch"
    scratch.mkdir()
    doomed, pid = cancelled_before(three, scratch)
    dag = layered_dag(scratch, chance)
    run = submit(three, dag, scratch)
    kill_at_random(three, chance, scratch, len(dag.jobs))
    assert run.wait(60).ok
    check_run(three, run, dag, scratch)
    states = {job.id: job.state for job in doomed.status().jobs}
    assert states == {"victim": "CANCELLED", "child": "CANCELLED", "bystander": "COMPLETED"}
    until(lambda: not alive(pid), "the cancelled process is gone")


@pytest.mark.parametrize("seed", [2])
def test_two_runs_at_once_with_equal_job_ids_survive_kills_of_the_master_and_of_a_worker(
    three: Cluster, tmp_path: Path, seed: int
) -> None:
    chance, scratch = random.Random(seed), tmp_path / "scratch"
    scratch.mkdir()
    dag = layered_dag(scratch, chance)
    runs = [submit(three, dag, scratch), submit(three, dag, scratch)]
    kill_at_random(three, chance, scratch, 2 * len(dag.jobs))
    for run in runs:
        assert run.wait(60).ok
        check_run(three, run, dag, scratch)
