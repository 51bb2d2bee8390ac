"""Every command finds the same home and the same cluster. Several `titan run` share one cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.cluster import TITAN, Cluster, cluster, processes_below
from support.waiting import until

NOWHERE = {"TITAN_MASTER": "", "TITAN_HOME": "home"}


def begin(c: Cluster, folder: Path, script: str) -> subprocess.Popen[str]:
    """Start a `titan run`, and return while it runs."""
    command = [*TITAN, "run", "--", "sh", "-c", script]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=c.environment(NOWHERE),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begin_two(c: Cluster, folder: Path, second: str = "echo began; cat two") -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Start two runs on one home, and return when both have begun. `cat one` and `cat two` end when
    the test writes to the fifos `one` and `two`."""
    for name in ("one", "two"):
        os.mkfifo(folder / name)
    runs = []
    for script in ("echo began; cat one", second):
        runs.append(begin(c, folder, script))
        assert runs[-1].stdout is not None and runs[-1].stdout.readline() == "began\n"
    return runs[0], runs[1]


@pytest.mark.parametrize("first_ends_first", [True, False])
def test_two_runs_of_a_home_share_its_cluster_and_either_may_end_first(c: Cluster, tmp_path: Path, first_ends_first: bool) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    one, two = begin_two(c, folder)
    found = c.cli("runs", cwd=folder, env=NOWHERE)
    assert found.stdout.count("RUNNING") == 2, found
    order = [(one, "one"), (two, "two")] if first_ends_first else [(two, "two"), (one, "one")]
    for run, name in order:
        (folder / name).write_text(f"end of {name}\n")
        out, err = run.communicate(timeout=30)
        assert (run.returncode, out) == (0, f"end of {name}\n"), err
        assert ("on the cluster that runs in home" in err) == (name == "two"), err
    until(lambda: not processes_below(tmp_path), "nobody uses the cluster, and it has stopped")
    again = c.cli("run", "--quiet", "--", "echo", "again", cwd=folder, env=NOWHERE)
    assert (again.returncode, again.stdout) == (0, "again\n"), again.stderr


def test_a_worker_that_is_killed_after_the_first_run_has_ended_is_started_again(c: Cluster, tmp_path: Path) -> None:
    one, two = begin_two(c, tmp_path, "[ $TITAN_ATTEMPT = 1 ] || { echo again; exit; }; echo began; cat two")
    (tmp_path / "one").write_text("end\n")
    assert one.communicate(timeout=30)[0] == "end\n"
    until(lambda: [pid for pid, command in processes_below(tmp_path).items() if " linger " in command], "the cluster is passed on")
    (pid,) = [int(row["facts"]["pid"]) for row in json.loads(c.cli("workers", "--json", cwd=tmp_path, env=NOWHERE).stdout)]
    os.kill(pid, signal.SIGKILL)
    out, err = two.communicate(timeout=60)
    assert (two.returncode, out) == (0, "again\n"), err
    until(lambda: not processes_below(tmp_path), "nobody uses the cluster, and it has stopped")


def test_runs_that_begin_at_once_start_one_cluster(c: Cluster, tmp_path: Path) -> None:
    runs = [begin(c, tmp_path, f"echo {n}") for n in range(3)]
    ends = [(run.communicate(timeout=60), run.returncode) for run in runs]
    assert [(out, code) for (out, _), code in ends] == [(f"{n}\n", 0) for n in range(3)], ends
    until(lambda: not processes_below(tmp_path), "the cluster has stopped")


def test_a_home_is_found_by_option_by_variable_and_in_the_folder(c: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "p").mkdir()
    (folder / "p" / "x.yaml").write_text("name: fails\njobs:\n  - {id: 'a', command: 'exit 1', retries: 0}\n")
    done = c.cli("run", "p/x.yaml", cwd=folder, env=NOWHERE)
    assert done.returncode == 1, done
    assert (folder / "home" / ".gitignore").read_text() == "*\n"
    assert not (folder / "p" / "home").exists() and not (folder / "p" / ".titan").exists()
    for words, env in ((("dlq",), NOWHERE), (("dlq", "--home", str(folder / "home")), {"TITAN_MASTER": ""})):
        assert "/a" in c.cli(*words, cwd=folder, env=env).stdout, words
    run = c.cli("runs", "--json", cwd=folder, env=NOWHERE).stdout
    run_id = run.split('"run": "')[1].split('"')[0]
    retried = c.cli("dlq", "retry", "--home", "home", run_id, cwd=folder, env={"TITAN_MASTER": ""})
    assert (retried.returncode, "retried: 1 job" in retried.stdout) == (0, True), retried
    gone = c.cli("cancel", run_id, "--home", "nowhere", cwd=folder, env={"TITAN_MASTER": ""})
    assert (gone.returncode, "nowhere is not the home of a cluster" in gone.stderr) == (2, True), gone
    stopped = c.cli("cancel", run_id, cwd=folder, env=NOWHERE)
    assert (stopped.returncode, "start one with `titan up --home home`" in stopped.stderr) == (3, True), stopped


def test_a_secret_is_set_before_there_is_a_master(c: Cluster, tmp_path: Path) -> None:
    assert c.cli("secret", "list", cwd=tmp_path, env=NOWHERE).returncode == 2, "only setting a secret makes a home"
    done = c.cli("secret", "set", "TOKEN", stdin="open sesame\n", cwd=tmp_path, env=NOWHERE)
    assert (done.returncode, "the new home home is for the next cluster" in done.stderr) == (0, True), done
    shown = c.cli("run", "--secret", "TOKEN", "--", "sh", "-c", "echo ${#TOKEN}", cwd=tmp_path, env=NOWHERE)
    assert (shown.returncode, shown.stdout) == (0, "11\n"), shown.stderr
    for name, why in (("PATH", "would replace the variable PATH"), ("a/b", "a name is 1 to 128 of")):
        refused = c.cli("secret", "set", name, stdin="value\n", cwd=tmp_path, env=NOWHERE)
        assert (refused.returncode, why in refused.stderr) == (2, True), refused


def test_hints_work_when_they_are_typed_as_printed(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "name: x\njobs:\n  - {id: bad, foreach: 2, command: 'exit $1', args: ['${index}'], retries: 0}\n"
    )
    done = c.cli("run", "x.yaml", cwd=tmp_path, env=NOWHERE)
    hint = next(line for line in done.stderr.splitlines() if "titan logs" in line)
    command = hint.strip("( )").partition(",")[0]
    assert command.startswith("titan logs '") and command.endswith("/bad[1]'"), hint
    script = command.replace("titan ", 'titan() { python -m titan "$@"; }; titan ', 1).replace("python", TITAN[0])
    assert subprocess.run(["sh", "-c", script], cwd=tmp_path, env=c.environment(NOWHERE), check=False).returncode == 0


def test_a_client_of_a_program_finds_the_cluster_of_the_folder(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1") as c:
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / ".titan").symlink_to(c.home)
        program = "import titan\nwith titan.Client() as client: print(client.address)"
        env = c.environment({"TITAN_MASTER": ""})
        done = subprocess.run(
            [TITAN[0], "-c", program], cwd=tmp_path / "work", env=env, capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == c.address, done


READER = """import sys; from pathlib import Path; from titan.cli.session import open_client
with open_client(None, home=Path("home"), offline=True) as client:
    print(len(client.runs()), flush=True)
    sys.stdin.read()
"""
"""A command that works offline on the home until its input ends."""


def test_a_run_waits_for_a_command_that_reads_the_home_and_does_not_join_its_master(c: Cluster, tmp_path: Path) -> None:
    assert c.cli("run", "--quiet", "--", "true", cwd=tmp_path, env=NOWHERE).returncode == 0
    reader = subprocess.Popen(
        [sys.executable, "-c", READER],
        cwd=tmp_path,
        env=c.environment(NOWHERE),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with reader:
        assert reader.stdin is not None and reader.stdout is not None
        assert reader.stdout.readline() == "1\n"
        run = begin(c, tmp_path, "echo ran")
        assert run.stderr is not None
        first = run.stderr.readline()
        reader.stdin.close()
    assert "or reads it" in first
    out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (0, "ran\n"), err
    until(lambda: not processes_below(tmp_path), "the cluster has stopped")


def test_tables_are_printed_in_a_locale_that_lacks_their_characters(c: Cluster, tmp_path: Path) -> None:
    says = c.cli("run", "--quiet", "--", "sh", "-c", "titan context status größe→", cwd=tmp_path, env=NOWHERE)
    assert says.returncode == 0, says
    ascii_only = {**NOWHERE, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    (run,) = json.loads(c.cli("runs", "--json", cwd=tmp_path, env=NOWHERE).stdout)
    shown = c.cli("status", run["run"], cwd=tmp_path, env=ascii_only)
    assert shown.returncode == 0, shown
    assert r"gr\xf6\xdfe\u2192" in shown.stdout
