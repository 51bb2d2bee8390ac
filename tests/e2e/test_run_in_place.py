"""`titan run` with a script or a command does what the shell does, with the same folder,
environment and exit code."""

from __future__ import annotations

import filecmp
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from support.cluster import QUIET, TITAN, Cluster, cluster

BESIDE = "import helper, json, os, sys\nprint(json.dumps([helper.NAME, open('data').read(), sys.argv, os.environ.get('MINE')]))\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    (made / "s.py").write_text(BESIDE)
    (made / "helper.py").write_text("NAME = 'beside'\n")
    (made / "data").write_text("hi")
    return made


def test_a_script_on_a_private_cluster_finds_the_files_beside_it(c: Cluster, folder: Path) -> None:
    done = c.cli("run", "--home", str(c.home), "s.py", "one", "--two", cwd=folder, env={"MINE": "yes"})
    assert (done.returncode, json.loads(done.stdout)) == (0, ["beside", "hi", ["s.py", "one", "--two"], "yes"]), done.stderr


def test_a_command_of_a_private_cluster_runs_here_and_leaves_its_files_here(c: Cluster, folder: Path) -> None:
    done = c.cli("run", "--home", str(c.home), "--", "sh", "-c", "cat data > copy; pwd", cwd=folder)
    assert (done.returncode, done.stdout) == (0, f"{folder}\n"), done.stderr
    assert (folder / "copy").read_text() == "hi"


@pytest.mark.parametrize(("items", "output"), [("[a]", "a\n"), ("[a, b]", "")])
def test_a_run_that_ends_in_an_array_prints_the_output_of_its_only_job(c: Cluster, folder: Path, items: str, output: str) -> None:
    (folder / "p.yaml").write_text(f"name: p\njobs:\n  - {{id: each, command: 'echo $1', foreach: {items}}}\n")
    done = c.cli("run", "--home", str(c.home), "p.yaml", cwd=folder)
    assert (done.returncode, done.stdout) == (0, output), done.stderr


@pytest.mark.parametrize(
    ("options", "script", "code"),
    [((), "exit 42", 42), ((), "kill -9 $$", 137), (("--exit-code", "run"), "exit 42", 1), (("--timeout", "0.2"), "sleep 60", 143)],
)
def test_the_exit_code_is_that_of_the_command(c: Cluster, folder: Path, options: tuple[str, ...], script: str, code: int) -> None:
    done = c.cli("run", "--home", str(c.home), *options, "--", "sh", "-c", script, cwd=folder)
    assert done.returncode == code, done.stderr


def test_a_command_of_one_word_that_could_name_a_pipeline_has_its_own_exit_code(c: Cluster, folder: Path) -> None:
    done = c.cli("run", "--home", str(c.home), "grep", cwd=folder)
    assert done.returncode == 2, done.stderr
    assert "exit code 2" in done.stderr


def test_a_missing_interpreter_is_an_error_of_one_line(c: Cluster, folder: Path) -> None:
    done = c.cli("run", "--home", str(c.home), "--python", "nowhere", "s.py", cwd=folder)
    assert done.returncode == 2
    assert f"titan: python: {folder}/nowhere does not exist" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_variable_is_set_or_taken_from_the_caller(c: Cluster, folder: Path) -> None:
    done = c.cli(
        "run", "--home", str(c.home), "--env", "A=1", "--env", "B", "--", "sh", "-c", "echo $A $B", cwd=folder, env={"B": "2"}
    )
    assert (done.returncode, done.stdout) == (0, "1 2\n"), done.stderr
    done = c.cli("run", "--home", str(c.home), "--env", "NOT_THERE", "--", "true", cwd=folder)
    assert done.returncode == 2
    assert "there is no variable NOT_THERE here" in done.stderr


def test_a_missing_working_directory_fails_at_once_with_the_reason(c: Cluster, folder: Path) -> None:
    done = c.cli("run", "--home", str(c.home), "--cwd", str(folder / "no"), "--retries", "5", "--", "true", cwd=folder)
    assert done.returncode == 1
    assert f"cannot enter the working directory {folder}/no: No such file or directory" in done.stderr
    assert "after 1 attempt" in done.stderr


def test_submit_takes_commands_and_options_after_the_script(tmp_path: Path, folder: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        args = ("--cwd", str(folder), "--name", "mine", "--priority", "7", "--retries", "0", "--json")
        run = json.loads(c.cli("submit", *args, "--", "sh", "-c", "cat data; exit 3").stdout)["run"]
        assert c.cli("wait", run, "--quiet").returncode == 1
        assert c.cli("logs", f"{run}/mine").stdout == "hi"
        again = c.json("submit", str(folder / "s.py"), "one", "--cwd", str(folder), "--retries", "0")["run"]
        assert c.cli("wait", again, "--quiet").returncode == 1, "the script is in a folder of its own, without the module helper"
        logs = c.cli("logs", f"{again}/s.py")
        assert "No module named 'helper'" in logs.stdout + logs.stderr


def test_with_a_cluster_of_this_machine_a_command_runs_here_too(tmp_path: Path, folder: Path) -> None:
    with cluster(tmp_path / "c", "w1", "w2", settings=QUIET) as c:
        done = c.cli("run", "--", "cat", "data", cwd=folder)
        assert (done.returncode, done.stdout) == (0, "hi"), done.stderr


# -- standard input --------------------------------------------------------------------------------
def test_a_pipe_on_standard_input_reaches_the_job(c: Cluster, folder: Path) -> None:
    done = c.cli("run", "--home", str(c.home), "--", "wc", "-c", cwd=folder, stdin="12345\n" * 200_000)
    assert (done.returncode, done.stdout.strip()) == (0, "1200000"), done.stderr
    done = c.cli("run", "--home", str(c.home), "--no-stdin", "--", "wc", "-c", cwd=folder, stdin="12345\n")
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


def test_a_file_on_standard_input_reaches_every_attempt(c: Cluster, folder: Path) -> None:
    script = "cat; [ $TITAN_ATTEMPT = 2 ]"
    with (folder / "data").open("rb") as file:
        done = c.cli("run", "--home", str(c.home), "--retries", "1", "--", "sh", "-c", script, cwd=folder, stdin=file)
    assert (done.returncode, done.stdout) == (0, "hihi"), done.stderr
    done = c.cli("run", "--home", str(c.home), "--retries", "1", "--", "sh", "-c", script, cwd=folder, stdin="a pipe ")
    assert (done.returncode, done.stdout) == (0, "a pipe a pipe "), done.stderr


def test_a_command_that_reads_a_part_of_an_endless_pipe_ends(c: Cluster, folder: Path) -> None:
    source = subprocess.Popen(["yes"], stdout=subprocess.PIPE)
    assert source.stdout is not None
    try:
        done = c.cli("run", "--home", str(c.home), "--", "head", "-2", cwd=folder, stdin=source.stdout)
    finally:
        source.stdout.close()
        source.kill()
        source.wait()
    assert (done.returncode, done.stdout) == (0, "y\ny\n"), done.stderr


def test_a_job_of_another_machine_gets_a_copy_of_the_input(folder: Path, tmp_path: Path) -> None:
    with cluster(tmp_path / "far", settings=QUIET) as c:
        far_worker(c, tmp_path)
        done = c.cli("run", "--", "sh", "-c", "cat; ls", cwd=folder, stdin="from far")
        assert (done.returncode, done.stdout) == (0, "from far"), done.stderr
        assert "--project sends this folder along" in done.stderr
        done = c.cli("submit", "--", "cat", cwd=folder, stdin="submitted")
        run = done.stdout.strip()
        assert c.client.run(run).wait(30).ok
        assert c.printed(run, "cat") == "submitted"


# -- another machine -------------------------------------------------------------------------------
def far_worker(c: Cluster, tmp_path: Path) -> None:
    """Start a worker that reports another host name."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("import socket\nsocket.gethostname = lambda: 'far-away'\n")
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    options = ("--master", c.address, "--name", "w1", "--home", str(c.worker_home("w1")))
    c.workers["w1"] = c.spawn("worker", *options, label="w1", env={"PYTHONPATH": path})
    c.wait_for_workers("w1")


def test_the_folder_travels_on_request(folder: Path, tmp_path: Path) -> None:
    (folder / ".titanignore").write_text("data\n")
    with cluster(tmp_path / "far", settings=QUIET) as c:
        far_worker(c, tmp_path)
        done = c.cli("run", "--project", "--", "ls", cwd=folder)
        assert (done.returncode, sorted(done.stdout.split())) == (0, ["helper.py", "s.py"]), done.stderr
        assert "--project" not in done.stderr
        (folder / ".titanignore").unlink()
        done = c.cli("run", "--project", "s.py", "x", cwd=folder)
        assert (done.returncode, json.loads(done.stdout)[:2]) == (0, ["beside", "hi"]), done.stderr
        done = c.cli("run", "--project", "--cwd", "/tmp", "--", "ls", cwd=folder)
        assert done.returncode == 2
        assert "leave one out" in done.stderr


# -- the cluster that takes it ---------------------------------------------------------------------
def test_the_first_line_names_the_cluster_and_unused_options_of_a_private_cluster_are_reported(
    folder: Path, tmp_path: Path
) -> None:
    with cluster(tmp_path / "c", settings=QUIET) as c:
        c.start_workers("w1")
        done = c.cli("run", "--workers", "4", "--slots", "2", "--", "sh", "-c", "pwd; echo $MINE", cwd=folder, env={"MINE": "yes"})
        assert (done.returncode, done.stdout) == (0, f"{folder}\nyes\n"), done.stderr
        assert f"ignored, because the run goes to {c.address} and not to a private cluster: --workers and --slots" in done.stderr
        assert f"1 job, on {c.address}" in done.stderr
        done = c.cli("run", "--ephemeral", "--", "true", cwd=folder)
        assert (done.returncode, f"1 job, on {c.address}" in done.stderr) == (0, True), done.stderr
        assert not (folder / ".titan").exists()
    done = c.cli("run", "--home", "h", "--", "true", cwd=folder, env={"TITAN_MASTER": ""})
    assert "on a private cluster (home h)" in done.stderr


def test_lines_of_shell_are_a_command(c: Cluster, folder: Path) -> None:
    done = c.cli("run", "--home", str(c.home), "cat data\necho; echo $((6 * 7))", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "hi\n42\n"), done.stderr


def test_output_is_exact_however_long(c: Cluster, folder: Path) -> None:
    with (folder / "out").open("wb") as out:
        script = "head -c 40000000 /dev/urandom | tee kept"
        command = [*TITAN, "run", "--home", str(c.home), "--quiet", "--", "sh", "-c", script]
        assert subprocess.run(command, cwd=folder, stdout=out, env=c.environment(), check=False).returncode == 0
    assert filecmp.cmp(folder / "out", folder / "kept", shallow=False)
    done = c.cli("run", "--home", str(c.home), "--log-limit", "1MiB", "--", "sh", "-c", "seq 1000000", cwd=folder)
    assert (len(done.stdout), done.stdout[:2], done.stdout[-8:]) == (1 << 20, "1\n", "1000000\n")
    assert "5,840,320 bytes of stdout were dropped here" in done.stderr


def test_an_unknown_option_names_the_nearest(c: Cluster, folder: Path) -> None:
    done = c.cli("run", "--worker", "3", "--", "true", cwd=folder)
    assert done.returncode == 2
    assert "No such option '--worker'" in done.stderr
    assert "--workers" in done.stderr


# -- attach ----------------------------------------------------------------------------------------
def test_attach_shows_the_output_from_the_beginning_and_ends_as_the_job_did(folder: Path, tmp_path: Path) -> None:
    with cluster(tmp_path / "c", settings=QUIET) as c:
        c.start_workers("w1")
        fifo = folder / "gate"
        os.mkfifo(fifo)
        submitted = c.cli("submit", "--retries", "0", "--", "sh", "-c", f"echo before; cat {fifo}; exit 7", cwd=folder)
        run = submitted.stdout.strip()
        attached = subprocess.Popen(
            [*TITAN, "attach", run], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=c.environment()
        )
        assert attached.stdout is not None
        assert attached.stdout.readline() == "before\n"
        left = subprocess.Popen(
            [*TITAN, "attach", run], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=c.environment()
        )
        assert left.stdout is not None
        assert left.stdout.readline() == "before\n"
        left.send_signal(signal.SIGINT)
        _, told = left.communicate(timeout=30)
        assert (left.returncode, "the run goes on" in told) == (130, True), told
        assert c.client.status(run).state == "RUNNING"
        fifo.write_text("after\n")
        out, err = attached.communicate(timeout=30)
        assert (attached.returncode, out) == (7, "after\n"), err
