"""Failures of jobs with real processes: back-off, final exit codes, the effect on other jobs, and a
job that kills its workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FAST, QUIET, Cluster, cluster
from titan import DAG, Job
from titan.core.events.events import JobsFailed


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("failure") / "c", "w1", slots=4, settings=QUIET) as made:
        yield made


def run(c: Cluster, *jobs: Job) -> tuple[str, dict[str, tuple[str, int | None]], str]:
    """Run the jobs. Return (state of the run, job -> (state, exit code), run)."""
    handle = c.client.submit(DAG("failing", jobs))
    verdict = handle.wait(timeout=30).state
    return verdict, {job.id: (job.state, job.exit_code) for job in handle.status().jobs}, handle.id


def test_a_final_exit_code_is_not_retried(c: Cluster) -> None:
    verdict, jobs, name = run(c, Job("usage", command="exit 64", retries=5, no_retry=[2, 64]))
    assert (verdict, jobs["usage"]) == ("FAILED", ("DEAD", 64))
    job, _ = c.client.job(f"{name}/usage")
    assert job.attempt == 1 and "no_retry" in job.reason


def test_other_exit_codes_are_tried_again_after_the_jobs_own_backoff(c: Cluster) -> None:
    flaky = 'test "$TITAN_ATTEMPT" = 3 || exit 1'
    verdict, _, name = run(c, Job("flaky", command=flaky, no_retry=[2], backoff=0.4, backoff_max=0.5))
    assert verdict == "COMPLETED"
    number = c.client.job(f"{name}/flaky")[0]
    assert number.attempt == 3
    waits = [e.retry_at[0] - e.at for e in c.events() if isinstance(e, JobsFailed) and e.retry_at[0]][-2:]
    assert 0.2 <= waits[0] <= 0.4 and 0.25 <= waits[1] <= 0.5


def test_children_go_on_without_an_optional_job(c: Cluster) -> None:
    verdict, jobs, _ = run(
        c,
        Job("optional", command="exit 3", retries=0, on_failure="continue"),
        Job("after", command="true", parents=["optional"]),
    )
    assert verdict == "FAILED"
    assert jobs == {"optional": ("DEAD", 3), "after": ("COMPLETED", 0)}


def test_a_handler_gets_the_name_of_the_failed_job(c: Cluster) -> None:
    alarm = Job("alarm", command='echo "$TITAN_FAILED_JOB failed, $WHO"', env={"WHO": "call ann"})
    verdict, jobs, name = run(
        c,
        Job("good", command="true", on_failure={"run": alarm}),
        Job("bad", command="exit 3", retries=0, parents=["good"], on_failure={"run": "alarm"}),
        Job("after", command="true", parents=["bad"]),
        alarm,
    )
    assert verdict == "FAILED"
    assert {job: state for job, (state, _) in jobs.items()} == {
        "good": "COMPLETED",
        "bad": "DEAD",
        "after": "CANCELLED",
        "alarm": "COMPLETED",
    }
    assert list(c.client.logs(f"{name}/alarm")) == [(1, b"bad failed, call ann\n")]


def test_a_handler_that_is_not_needed_fails_nothing(c: Cluster) -> None:
    verdict, jobs, name = run(c, Job("good", command="true", on_failure={"run": "alarm"}), Job("alarm", command="false"))
    assert verdict == "COMPLETED" and jobs["alarm"][0] == "CANCELLED"
    assert c.client.job(f"{name}/alarm")[0].reason == "not needed"
    assert c.cli("wait", name).returncode == 0


def test_a_pipeline_file_sets_all_failure_fields(c: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "name: p\nproject: false\njobs:\n"
        "  - {id: part, command: 'exit $1', foreach: [0, 2], retries: 3, no_retry: [2], backoff: 60, on_failure: {run: clean}}\n"
        "  - {id: clean, command: 'echo $TITAN_FAILED_JOB'}\n"
    )
    done = c.cli("run", str(path))
    assert done.returncode == 1, done
    assert "part[1] DEAD" in done.stderr and "clean COMPLETED" in done.stderr


def test_a_job_that_kills_its_worker_at_once_is_poison_too(tmp_path: Path) -> None:
    """Chance decides whether the worker reports the start of the job before it is killed. So the
    job is poison after the loss of two to four workers."""
    with cluster(tmp_path / "c", *(f"w{i}" for i in range(5)), slots=1, settings=FAST) as c:
        parent = "read -r _ _ _ {} _ < /proc/{}/stat"
        find = f"{parent.format('warden', '$$')}; {parent.format('worker', '$warden')}"
        handle = c.client.submit(DAG("poison", [Job("a", command=f"{find}; kill -9 $worker; sleep 600")]))
        assert handle.wait(60).state == "FAILED"
        job, _ = c.client.job(f"{handle.id}/a")
        assert job.state == "DEAD" and "poison: " in job.reason
        assert sum(worker.state == "ALIVE" for worker in c.client.workers()) >= 1
        assert c.client.submit(DAG("after", [Job("a", command="true")])).wait(20).ok
