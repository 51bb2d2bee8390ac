"""`titan run` without a cluster, and `titan up`: clusters of this machine that end with the command
that started them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from support.cluster import TITAN, Cluster, Spawned, free_port, processes_below
from support.waiting import until

PIPELINE = """\
name: words
project: false
jobs:
  - {id: a, command: 'echo good > $TITAN_SHARED/a'}
  - {id: b, command: 'cat $TITAN_SHARED/a; echo day', depends_on: [a]}
"""
ALONE = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
"""Prefix of a command that runs in a network of its own, where nobody listens on the default
port."""


@pytest.fixture
def pipeline(c: Cluster) -> Path:
    folder = c.base / "words"
    folder.mkdir()
    (folder / "pipeline.yaml").write_text(PIPELINE)
    return folder / "pipeline.yaml"


def alone(c: Cluster, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    tools = shutil.which("unshare") and shutil.which("ip")
    if not tools or subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a network namespace (root, unshare, ip), so that nobody listens on the default port")
    return subprocess.run(
        [*ALONE, *command], cwd=cwd or c.base, env=c.environment(), capture_output=True, text=True, timeout=60, check=False
    )


def up(c: Cluster, *options: str) -> Spawned:
    going = c.spawn("up", "--home", str(c.home), "--port", str(c.port), *options, label="up")
    until(lambda: "Titan is up at" in going.err or not going.running, "the cluster is up")
    c.port = int(json.loads((c.home / "master.json").read_text())["address"].rpartition(":")[2])
    return going


def test_without_a_master_a_private_cluster_of_the_folder_runs_the_pipeline(c: Cluster, pipeline: Path) -> None:
    done = alone(c, *TITAN, "run", "words/pipeline.yaml")
    assert (done.returncode, done.stdout) == (0, "good\nday\n"), done.stderr
    assert "WARNING" not in done.stderr
    assert not processes_below(c.base)
    home = c.base / ".titan"
    (run,) = c.json("runs", "--home", str(home))
    assert (run["dag"], run["state"], run["count"]) == ("words", "COMPLETED", 2)
    assert c.json("status", run["run"], "--home", str(home))["state"] == "COMPLETED"
    assert c.cli("logs", f"{run['run']}/b", "--home", str(home)).stdout == "good\nday\n"
    assert c.json("dlq", "--home", str(home)) == []
    assert alone(c, *TITAN, "logs", f"{run['run']}/b").stdout == "good\nday\n"
    assert not processes_below(c.base)


def test_a_master_on_the_default_port_is_used(c: Cluster, pipeline: Path) -> None:
    script = (
        '"$@" up --home up 2>up.err & up=$!\n'
        'until "$@" status >/dev/null 2>&1; do kill -0 $up || exit 9; done\n'
        '"$@" run words/pipeline.yaml && "$@" runs --json; kill $up; wait $up'
    )
    done = alone(c, "bash", "-c", script, "bash", *TITAN)
    assert done.stdout.startswith("good\nday\n"), done
    assert json.loads(done.stdout.splitlines()[-1])[0]["dag"] == "words"
    assert not (pipeline.parent / ".titan").exists()
    assert not processes_below(c.base)


def test_an_ephemeral_cluster_leaves_nothing(c: Cluster, pipeline: Path) -> None:
    done = alone(c, *TITAN, "run", "--ephemeral", "words/pipeline.yaml")
    assert (done.returncode, done.stdout) == (0, "good\nday\n"), done.stderr
    assert [path.name for path in pipeline.parent.iterdir()] == ["pipeline.yaml"]
    assert not processes_below(c.base)


def test_a_home_given_by_option_is_private_and_keeps_its_runs(c: Cluster) -> None:
    for word in ("one", "two"):
        done = c.cli("run", "--home", str(c.home), "--", "echo", word)
        assert (done.returncode, done.stdout) == (0, f"{word}\n"), done.stderr
    assert [r["dag"] for r in c.json("runs", "--home", str(c.home))] == ["echo two", "echo one"]


def test_a_failed_run_prints_the_command_for_its_logs_if_its_home_is_kept(c: Cluster) -> None:
    kept = c.cli("run", "--home", "my home", "--", "false")
    assert kept.returncode == 1
    (command,) = [line for line in kept.stderr.splitlines() if line.startswith("  (titan logs ")]
    logs, status = command.strip(" ()").split(", ")
    for words in (logs, status):
        assert c.cli(*shlex.split(words)[1:]).returncode == 0, words
    gone = c.cli("run", "--home", "other", "--ephemeral", "--", "false")
    assert "titan logs" not in gone.stderr


def test_a_requirement_that_the_private_cluster_lacks_is_named(c: Cluster) -> None:
    going = c.spawn("run", "--home", str(c.home), "--requirement", "GPU", "--", "true")
    until(lambda: "no worker offers GPU" in going.err, "the command names the missing capability")
    going.interrupt()
    assert going.wait() == 130


def test_interrupting_a_private_run_cancels_it_and_leaves_no_process(c: Cluster) -> None:
    mark = c.base / "mark"
    going = c.spawn("run", "--home", str(c.home), "--", "sh", "-c", f"touch {mark}; trap '' TERM; sleep 600")
    until(mark.exists, "the job runs")
    going.interrupt()
    assert going.wait() == 130, going.err
    assert not processes_below(c.base)
    (run,) = c.json("runs", "--home", str(c.home))
    assert run["state"] == "CANCELLED"


def test_killing_a_private_run_leaves_no_process(c: Cluster) -> None:
    mark = c.base / "mark"
    going = c.spawn("run", "--home", str(c.home), "--", "sh", "-c", f"touch {mark}; sleep 600")
    until(mark.exists, "the job runs")
    going.kill()
    until(lambda: not processes_below(c.base), "master, worker and job end with it", 15.0)


def test_terminating_a_private_run_acts_like_an_interrupt(c: Cluster) -> None:
    mark = c.base / "mark"
    going = c.spawn("run", "--home", str(c.home), "--", "sh", "-c", f"touch {mark}; sleep 600")
    until(mark.exists, "the job runs")
    going.terminate()
    assert going.wait() == 130, going.err
    until(lambda: not processes_below(c.base), "master, worker and job end with it", 15.0)
    assert c.json("runs", "--home", str(c.home))[0]["state"] == "CANCELLED"


def test_up_stops_on_interrupt_and_the_next_up_goes_on(c: Cluster) -> None:
    going = up(c, "--workers", "2", "--slots", "1")
    until(lambda: len(c.json("workers")) == 2, "both workers are there")
    mark = c.base / "mark"
    command = f"echo x >>{mark}; [ $(wc -l <{mark}) -gt 1 ] || sleep 600"
    (c.base / "pipeline.yaml").write_text(
        f"name: long\nproject: false\njobs:\n  - {{id: a, command: '{command}'}}\n  - {{id: b, command: 'true', depends_on: [a]}}\n"
    )
    run = c.json("submit", "pipeline.yaml")["run"]
    until(mark.exists, "the job runs")
    going.interrupt()
    assert going.wait() == 0, going.err
    assert not processes_below(c.base)
    going = up(c)
    assert c.cli("wait", run).returncode == 0
    assert mark.read_text() == "x\n" * 2
    going.terminate()
    assert going.wait() == 0, going.err
    assert not processes_below(c.base)


def test_up_refuses_a_port_in_use_and_a_home_in_use(c: Cluster) -> None:
    up(c, "--workers", "0")
    port = c.cli("up", "--home", "other", "--port", str(c.port))
    assert port.returncode == 74
    assert f"port {c.port} on 127.0.0.1 is in use by another program: give another with --port" in port.stderr
    home = c.cli("up", "--home", str(c.home), "--port", str(free_port()))
    assert home.returncode == 2
    assert "is in use by the process with pid" in home.stderr
    nowhere = c.cli("status", "--home", "nowhere")
    assert nowhere.returncode == 2
    assert "nowhere is not the home of a cluster" in nowhere.stderr
    joins = c.cli("run", "--home", str(c.home), "--deadline", "1", "--", "true")
    assert joins.returncode == 1, "there is no worker"
    assert f"on the cluster that runs in {c.home.name}" in joins.stderr
    assert c.cli("runs").returncode == 0


# -- workers that end ------------------------------------------------------------------------------
def worker_pid(c: Cluster, name: str) -> int:
    home = f"workers/{name} "
    found = [pid for pid, command in processes_below(c.base).items() if " titan worker " in command and home in f"{command} "]
    return found[0] if found else 0


def test_up_goes_on_when_a_worker_is_killed_or_drained(c: Cluster) -> None:
    going = up(c, "--workers", "3", "--slots", "1")
    until(lambda: len(c.json("workers")) == 3, "the workers are there")
    (c.base / "pipeline.yaml").write_text(
        f"name: long\nproject: false\njobs:\n  - {{id: a, command: 'while [ ! -e {c.base}/go ]; do sleep 0.02; done'}}\n"
    )
    run = c.json("submit", "pipeline.yaml")["run"]
    busy = until(lambda: next((w["name"] for w in c.json("workers") if w["held"]), ""), "the job runs")
    killed, drained = [name for name in ("w1", "w2", "w3") if name != busy]
    os.kill(until(lambda: worker_pid(c, killed), "the worker to kill has a process"), signal.SIGKILL)
    until(lambda: f"worker {killed} was killed by SIGKILL" in going.err, "the kill is reported")
    again = until(
        lambda: f"worker {killed} is started again" in going.err and worker_pid(c, killed), "the killed worker is started again"
    )
    assert again
    assert c.cli("workers", "drain", drained).returncode == 0
    until(lambda: f"worker {drained} has left" in going.err, "the drained worker is reported as left")
    (c.base / "go").touch()
    assert c.cli("wait", run).returncode == 0
    assert going.running
    assert not worker_pid(c, drained)
    os.kill(json.loads((c.home / "master.json").read_text())["pid"], signal.SIGKILL)
    assert going.wait() == 1
    assert "the master was killed by SIGKILL" in going.err
    assert not processes_below(c.base)


KILL_WORKER = "kill -9 $(sed -n 's/^PPid:.//p' /proc/$PPID/status)"
"""Command of a job that kills its worker, which is the parent of the job's warden."""


def test_a_private_run_whose_worker_is_killed_goes_on_with_another(c: Cluster) -> None:
    mark = c.base / "mark"
    command = f"[ -e {mark} ] || {{ touch {mark}; {KILL_WORKER}; sleep 600; }}"
    done = c.cli("run", "--home", "h", "--", "sh", "-c", command)
    assert done.returncode == 0, done
    assert "worker w1 was killed by SIGKILL" in done.stderr
    assert not processes_below(c.base)


def test_a_private_run_whose_worker_cannot_start_fails_with_a_message(c: Cluster) -> None:
    folder = c.base / "h" / "workers"
    done = c.cli("run", "--home", "h", "--", "sh", "-c", f"rm -rf {folder}; touch {folder}; {KILL_WORKER}; sleep 600")
    assert done.returncode == 1, done
    assert "worker w1 is not started again" in done.stderr
    assert "no worker is left" in done.stderr
    assert not processes_below(c.base)


def test_a_private_run_whose_master_is_killed_fails_with_a_message(c: Cluster) -> None:
    going = c.spawn("run", "--home", "h", "--", "sh", "-c", "sleep 600", label="run")
    until(lambda: any(command.startswith("sleep 600") for command in processes_below(c.base).values()), "the job runs")
    os.kill(json.loads((c.base / "h" / "master.json").read_text())["pid"], signal.SIGKILL)
    assert going.wait(30) == 1
    assert "the master was killed by SIGKILL" in going.err
    until(lambda: not processes_below(c.base), "nothing is left")
