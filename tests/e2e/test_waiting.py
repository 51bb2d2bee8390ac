"""`titan wait` and `titan run` beside services that go on, and while the master is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster
from support.waiting import until
from titan import DAG, Job

SERVICE = Job("web", type="service", command="exec sleep 1000", health="none", keep=True)
HANDLED = """\
name: handled
jobs:
  - {id: one, command: echo one, on_failure: {run: fix}}
  - {id: fix, command: echo fix}
"""
KEPT = """\
name: k
jobs:
  - {id: a, command: 'true'}
  - {id: s, type: service, command: exec sleep 1000, health: none, keep: true}
"""


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("waiting") / "c", "w1", slots=8, settings=QUIET) as c:
        yield c


def test_wait_ends_when_only_a_kept_service_is_left(one: Cluster) -> None:
    run = one.client.submit(DAG("kept", [Job("job", command="echo done"), SERVICE]))
    done = one.cli("wait", run.id)
    assert done.returncode == 0, done
    assert f"titan: services of {run.id} go on: web at 127.0.0.1:" in done.stderr
    assert f"stop them: titan stop {run.id}" in done.stderr
    assert one.json("wait", run.id, "--timeout", "20")["state"] == "RUNNING"
    assert not run.wait(20, services=False).over
    assert one.cli("stop", run.id).returncode == 0
    assert run.wait(20).ok


def test_wait_reports_failed_jobs_beside_a_kept_service(one: Cluster) -> None:
    run = one.client.submit(DAG("kept", [Job("job", command="exit 3", retries=0), SERVICE]))
    done = one.cli("wait", run.id, "--quiet")
    assert done.returncode == 1
    assert f"{run.id}/job is DEAD after 1 attempt: exit code 3" in done.stderr
    run.cancel()


def test_a_cancelled_job_beside_a_kept_service_is_a_failure(one: Cluster) -> None:
    run = one.client.submit(DAG("kept", [Job("job", command="sleep 1000"), SERVICE]))
    assert one.cli("cancel", f"{run.id}/job").returncode == 0
    assert one.cli("wait", run.id).returncode == 1
    run.cancel()


def test_wait_does_not_end_before_the_service_is_ready(one: Cluster, tmp_path: Path) -> None:
    health = {"command": f"test -e {tmp_path}/fine", "interval": 0.1}
    service = Job("web", type="service", command="exec sleep 1000", keep=True, health=health)
    run = one.client.submit(DAG("kept", [service]))
    waiting = one.spawn("wait", run.id, "--quiet", label="wait")
    until(lambda: [s.state for s in one.client.services(run.id)] == ["RUNNING"], "the service runs and is not READY")
    assert waiting.running
    (tmp_path / "fine").touch()
    assert waiting.wait() == 0, waiting.err
    run.cancel()


def test_run_reports_that_services_continue(one: Cluster, tmp_path: Path) -> None:
    pipeline = tmp_path / "kept.yaml"
    pipeline.write_text(KEPT)
    running = one.spawn("run", str(pipeline), label="run")
    until(lambda: "the jobs are over, and services go on: s at 127.0.0.1:" in running.err, "titan run says so")
    assert one.cli("stop", "k").returncode == 0
    assert running.wait() == 0, running.err


def test_status_shows_services_apart_from_jobs(one: Cluster) -> None:
    run = one.client.submit(DAG("kept", [Job("job", command="echo done"), SERVICE]))
    assert not run.wait(20, services=False).over
    jobs, services = one.cli("status", run.id).stdout.split("\n\n")
    assert jobs.splitlines()[-1].split()[:2] == ["job", "COMPLETED"]
    assert services.splitlines()[1].split()[:2] == ["web", "READY"]
    run.cancel()


def test_a_run_whose_handler_was_not_needed_reads_completed_n_of_n(one: Cluster, tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text(HANDLED)
    done = one.cli("run", str(tmp_path / "h.yaml"))
    assert done.stderr.splitlines()[-1].endswith(": 1 COMPLETED, 1 not needed")
    row = one.cli("runs", "--dag", "handled").stdout.splitlines()[1]
    assert row.split()[2:4] == ["COMPLETED", "1/1"]
    assert one.cli("status", "handled").stdout.splitlines()[0].endswith("; 1 COMPLETED, 1 not needed")


@pytest.mark.parametrize("command", ["wait", "attach"])
def test_a_command_that_follows_says_at_once_that_the_master_is_away(tmp_path: Path, command: str) -> None:
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        end = tmp_path / "end"
        run = c.client.submit(DAG("d", [Job("a", command=f"while ! test -e {end}; do sleep 0.05; done"), Job("b", command="true")]))
        following = c.spawn(command, run.id, label="follow")
        until(lambda: "b COMPLETED" in following.err, "the command follows the run")
        c.kill_master()
        goes_on = "the run goes on; waiting for the master, or later:"
        away = f"titan: the master at {c.address} does not answer: {goes_on} titan {command} {run.id}"
        until(lambda: away in following.err or not following.running, "the command says so")
        assert following.err.count("does not answer") == 1
        c.start_master()
        end.touch()
        assert following.wait() == 0, following.err
        assert f"titan: the master at {c.address} is back" in following.err
