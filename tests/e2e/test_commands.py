"""The documented commands against a shared cluster: their output, their JSON, and their exit
codes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import TITAN, Cluster, cluster, free_port, processes_below
from support.waiting import until
from titan import DAG, Job

JOB_KEYS = {"id", "state", "attempt", "worker", "exit_code", "submitted_at", "started_at", "finished_at", "reason"}


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("commands") / "c", "w1") as made:
        yield made


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """Return a pipeline of three jobs. The last job prints the words of both others."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        "name: words\n"
        "project: false\n"
        "jobs:\n"
        "  - {id: a, command: 'echo good > $TITAN_SHARED/a'}\n"
        "  - {id: b, command: 'echo day > $TITAN_SHARED/b'}\n"
        "  - {id: both, command: 'cat $TITAN_SHARED/a $TITAN_SHARED/b', depends_on: [a, b]}\n"
    )
    return path


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    path = tmp_path / "failing.yaml"
    path.write_text(
        "name: failing\n"
        "project: false\n"
        "jobs:\n"
        "  - {id: bad, command: 'echo sorry >&2; exit 7', retries: 0}\n"
        "  - {id: after, command: 'true', depends_on: [bad]}\n"
    )
    return path


# -- run, submit, wait -----------------------------------------------------------------------------
def test_run_follows_a_pipeline_and_prints_the_output_of_its_last_job(c: Cluster, pipeline: Path) -> None:
    done = c.cli("run", str(pipeline))
    assert (done.returncode, done.stdout) == (0, "good\nday\n")
    assert "COMPLETED" in done.stderr


def test_run_json_is_the_status_of_the_run(c: Cluster, pipeline: Path) -> None:
    done = c.cli("run", "--json", str(pipeline))
    assert done.returncode == 0
    status = json.loads(done.stdout)
    assert (status["dag"], status["state"], [job["state"] for job in status["jobs"]]) == ("words", "COMPLETED", ["COMPLETED"] * 3)
    assert done.stderr == ""


def test_run_of_a_failing_pipeline_exits_with_1_and_says_why(c: Cluster, failing: Path) -> None:
    done = c.cli("run", str(failing))
    assert done.returncode == 1
    assert "bad is DEAD after 1 attempt: exit code 7" in done.stderr
    assert "  sorry" in done.stderr


def test_run_of_a_command_gives_its_streams_and_passes_arguments_on(c: Cluster) -> None:
    done = c.cli("run", "--", "sh", "-c", 'echo "$1|$2"; echo err >&2', "--json", "a b", "--workers")
    assert (done.returncode, done.stdout) == (0, "a b|--workers\n")
    assert "err\n" in done.stderr


def test_run_of_a_failing_command_exits_with_1_and_of_a_missing_one_with_2(c: Cluster) -> None:
    assert c.cli("run", "--", "false").returncode == 1
    nowhere = c.cli("run", "--", "no-such-command", "x")
    assert nowhere.returncode == 2
    assert "there is no file or command" in nowhere.stderr


def test_submit_returns_at_once_and_wait_gives_the_outcome(c: Cluster, pipeline: Path, failing: Path) -> None:
    good = c.json("submit", str(pipeline))
    assert set(good) == {"run"}
    assert c.cli("wait", good["run"]).returncode == 0
    bad = c.cli("submit", str(failing))
    assert bad.returncode == 0
    waited = c.cli("wait", bad.stdout.strip())
    assert waited.returncode == 1
    assert "exit code 7" in waited.stderr
    assert c.json("wait", bad.stdout.strip(), code=1)["state"] == "FAILED"


def test_wait_gives_up_after_its_timeout_and_the_run_goes_on(c: Cluster) -> None:
    run = c.client.submit(DAG("long", [Job("a", command="sleep 600")]))
    done = c.cli("wait", run.id, "--timeout", "0.2")
    assert done.returncode == 1
    assert "it is still running" in done.stderr
    assert run.status().state == "RUNNING"
    assert run.cancel() == 1
    assert c.cli("wait", run.id).returncode == 1


def test_run_names_the_capability_that_no_worker_offers(c: Cluster) -> None:
    going = c.spawn("run", "--requirement", "TPU", "--", "true")
    until(lambda: "no worker offers TPU" in going.err, "the command names the worker it waits for")
    assert f"titan worker --master {c.address} --capability TPU" in going.err
    going.terminate()
    assert going.wait() == 130
    assert c.client.runs(1)[0].state == "CANCELLED"


def test_run_ends_when_its_output_pipe_is_closed(c: Cluster) -> None:
    reader, writer = os.pipe()
    going = subprocess.Popen([*TITAN, "run", "--", "yes"], stdout=writer, stderr=subprocess.DEVNULL, env=c.environment())
    os.close(writer)
    assert os.read(reader, 2) == b"y\n"
    os.close(reader)
    try:
        assert going.wait(10) != 0
    finally:
        going.kill()
        going.wait()
    assert c.client.runs(1)[0].state == "CANCELLED"


def test_interrupting_the_command_run_cancels_the_run(c: Cluster) -> None:
    for options in ((), ("--json",)):
        going = c.spawn("run", *options, "--", "sh", "-c", "echo on $TITAN_RUN; sleep 600")
        (run,) = until(lambda: [r.run for r in c.client.runs(1) if r.tally == {"RUNNING": 1}], "the job runs")
        going.interrupt()
        assert going.wait() == 130, going.err
        assert c.client.run(run).wait(10).state == "CANCELLED"
        home = c.worker_home("w1") / "titan_workspace"
        until(lambda home=home: not processes_below(home), "no process of the job is left")  # type: ignore[misc]


# -- status, logs, runs, workers, dlq, cancel ------------------------------------------------------
def test_status_json_of_a_run_of_a_job_and_of_the_cluster(c: Cluster, failing: Path) -> None:
    run = c.json("submit", str(failing))["run"]
    c.cli("wait", run)
    status = c.json("status", run)
    assert (status["run"], status["dag"], status["state"]) == (run, "failing", "FAILED")
    bad, after = status["jobs"]
    assert set(bad) >= JOB_KEYS
    assert (bad["id"], bad["state"], bad["attempt"], bad["worker"], bad["exit_code"]) == ("bad", "DEAD", 1, "w1", 7)
    assert bad["submitted_at"] <= bad["started_at"] <= bad["finished_at"]
    assert (after["state"], after["worker"], after["exit_code"], after["started_at"]) == ("CANCELLED", None, None, None)
    assert after["reason"] == "its ancestor bad is DEAD: exit code 7"
    job = c.json("status", f"{run}/bad")
    assert JOB_KEYS | {"run", "story"} <= set(job)
    whole = c.json("status")
    assert whole["master"] == c.address
    assert whole["runs"][0]["run"] == run
    assert [(w["name"], w["state"], w["slots"]) for w in whole["workers"]] == [("w1", "ALIVE", 2)]


def test_status_names_the_run_its_jobs_and_the_reason_of_a_dead_job(c: Cluster, failing: Path) -> None:
    run = c.cli("submit", str(failing)).stdout.strip()
    c.cli("wait", run)
    said = c.cli("status", run).stdout
    assert f"run {run} of failing: FAILED" in said
    assert "bad    DEAD" in said
    assert "exit code 7" in said
    assert "attempt 1 on w1: EXITED with code 7" in c.cli("status", f"{run}/bad").stdout
    assert "1 of 1 workers alive" in c.cli("status").stdout


def test_logs_are_the_bytes_that_the_job_printed(c: Cluster) -> None:
    run = c.client.submit(DAG("logs", [Job("a", command="printf 'one\\n'; printf 'two' >&2")]))
    run.wait(20)
    done = c.cli("logs", f"{run.id}/a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\n", "two")
    lines = [json.loads(line) for line in c.cli("logs", f"{run.id}/a", "--json").stdout.splitlines()]
    assert sorted((line["stream"], line["text"]) for line in lines) == [("stderr", "two"), ("stdout", "one\n")]


def test_logs_follow_a_running_job_to_its_end(c: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    command = f"echo first; while [ ! -e {go} ]; do sleep 0.02; done; echo last"
    run = c.client.submit(DAG("follow", [Job("a", command=command)]))
    following = c.spawn("logs", f"{run.id}/a", "-f")
    until(lambda: following.out == "first\n", "the first line is there while the job runs")
    go.touch()
    assert following.wait() == 0
    assert following.out == "first\nlast\n"


def test_output_arrives_at_once_and_not_with_the_next_heartbeat(c: Cluster, tmp_path: Path) -> None:
    step = tmp_path / "step"
    command = f"for n in 1 2 3; do while [ ! -e {step}$n ]; do sleep 0.02; done; echo $n; done"
    run = c.client.submit(DAG("steps", [Job("a", command=command)]))
    following = c.spawn("logs", f"{run.id}/a", "-f")
    for n in (1, 2, 3):
        Path(f"{step}{n}").touch()
        until(lambda n=n: following.out.endswith(f"{n}\n"), f"line {n} is there", 5.0)  # type: ignore[misc]
    assert following.wait() == 0


def test_logs_can_show_each_attempt(c: Cluster) -> None:
    run = c.client.submit(DAG("tries", [Job("a", command="echo try $TITAN_ATTEMPT; [ $TITAN_ATTEMPT = 3 ]", retries=2)]))
    assert run.wait(20).ok
    for attempt in (1, 2, 3):
        assert c.cli("logs", f"{run.id}/a", "--attempt", str(attempt)).stdout == f"try {attempt}\n"
    assert c.cli("logs", f"{run.id}/a").stdout == "try 3\n"
    beyond = c.cli("logs", f"{run.id}/a", "--attempt", "4")
    assert beyond.returncode == 2
    assert "has had 3 attempts; there is no attempt 4" in beyond.stderr


def test_runs_and_workers_are_listed(c: Cluster, pipeline: Path) -> None:
    run = c.json("submit", str(pipeline))["run"]
    c.cli("wait", run)
    newest = c.json("runs", "--limit", "1")
    assert [(r["run"], r["dag"], r["state"], r["count"]) for r in newest] == [(run, "words", "COMPLETED", 3)]
    assert run in c.cli("runs").stdout
    (worker,) = c.json("workers")
    assert {"name", "state", "capabilities", "slots", "held", "heard_at"} <= set(worker)
    assert "w1" in c.cli("workers").stdout


def test_dlq_lists_the_dead_jobs_with_their_history(c: Cluster, failing: Path) -> None:
    run = c.cli("submit", str(failing)).stdout.strip()
    c.cli("wait", run)
    (dead,) = c.json("dlq", run)
    assert (dead["run"], dead["dag"], dead["job"]["id"], dead["job"]["exit_code"]) == (run, "failing", "bad", 7)
    assert any("EXITED" in line for line in dead["history"])
    assert f"{run}/bad" in c.cli("dlq").stdout


def test_cancel_ends_a_run_or_a_job_with_its_descendants(c: Cluster) -> None:
    jobs = [
        Job("a", command="sleep 600"),
        Job("b", command="true", parents=["a"]),
        Job("c", command="true", parents=["b"]),
        Job("other", command="sleep 600"),
    ]
    run = c.client.submit(DAG("cancel", jobs))
    assert c.json("cancel", f"{run.id}/a") == {"target": f"{run.id}/a", "cancelled": 3}
    assert {job.id: job.state for job in run.status().jobs if job.id != "other"} == dict.fromkeys("abc", "CANCELLED")
    assert f"1 job of {run.id} cancelled" in c.cli("cancel", run.id).stdout
    assert run.wait(10).state == "CANCELLED"
    again = c.cli("cancel", run.id)
    assert (again.returncode, again.stdout) == (0, f"nothing to cancel: {run.id} is over\n")
    until(lambda: not processes_below(c.worker_home("w1") / "titan_workspace"), "no process of the run is left")


# -- where the master is ---------------------------------------------------------------------------
def test_the_option_master_has_precedence_over_the_variable(c: Cluster) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    assert c.cli("runs", env={"TITAN_MASTER": nobody}).returncode == 3
    assert c.cli("runs", "--master", c.address, env={"TITAN_MASTER": nobody}).returncode == 0
    assert c.cli("runs", "--master", nobody).returncode == 3


@pytest.mark.parametrize(
    "command",
    [("run", "--", "true"), ("wait", "x"), ("status",), ("logs", "x/y"), ("cancel", "x"), ("runs",), ("workers",), ("dlq",)],
)
def test_without_a_master_commands_exit_with_3_and_name_the_fix(c: Cluster, command: tuple[str, ...]) -> None:
    done = c.cli(command[0], "--master", f"127.0.0.1:{free_port()}", *command[1:])
    assert done.returncode == 3
    assert "no master answers at 127.0.0.1:" in done.stderr
    assert "titan up" in done.stderr
    assert "Traceback" not in done.stderr


def test_errors_are_json_with_the_option_json(c: Cluster) -> None:
    done = c.cli("status", "--json", "nosuchrun")
    assert done.returncode == 2
    error = json.loads(done.stderr)["error"]
    assert (error["code"], error["retryable"]) == ("not_found", False)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("frobnicate",), "No such command"),
        (("statsu",), "Did you mean 'status'?"),
        (("run",), "Missing argument"),
        (("run", "no-such.py"), "file no-such.py does not exist: check the path"),
        (("run", "no-such.yaml"), "no-such.yaml"),
        (("run", "."), "is a folder"),
        (("run", "--", "file.txt"), "to run it, write ./file.txt"),
        (("run", "--time-out", "3", "true"), "No such option"),
        (("submit", "no-such.yaml"), "does not exist"),
        (("status", "nosuch"), "there is no run 'nosuch'"),
        (("status", "nosuch/job"), "there is no run 'nosuch'"),
        (("wait", "nosuch"), "there is no run 'nosuch'"),
        (("cancel", "nosuch"), "there is no run 'nosuch'"),
        (("logs", "nosuch"), "there is no run 'nosuch'"),
        (("logs", "nosuch/job"), "there is no run 'nosuch'"),
        (("dlq", "nosuch"), "there is no run 'nosuch'"),
        (("status", "--master", "host:port"), "is not the address of a master"),
        (("worker", "--name", "two words"), "is not a valid name for a worker"),
        (("worker", "--capability", "G P U"), "is not a valid capability"),
        (("master", "--host", "0.0.0.0"), "--insecure"),
        (("master", "--set", "loss=3"), "unknown setting 'loss'"),
        (("master", "--set", "loss_s=soon"), "must be a number"),
        (("master", "--set", "loss_s=-1"), "must be above 0"),
        (("master", "--set", "loss_s"), "write NAME=VALUE"),
        (("journal", "verify", "--home", "no-such-home"), "is not a journal"),
    ],
)
def test_bad_usage_and_bad_input_exit_with_2(c: Cluster, command: tuple[str, ...], said: str) -> None:
    (c.base / "file.txt").touch()
    done = c.cli(*command)
    assert done.returncode == 2, done
    assert said in done.stderr
    assert "Traceback" not in done.stderr
