"""`titan run` of a script or a command does what the shell does: folder, environment, exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster

BESIDE = "import helper, json, os, sys\nprint(json.dumps([helper.NAME, open('data').read(), sys.argv, os.environ.get('MINE')]))\n"


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with closing(Cluster(tmp_path / "c")) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    (made / "s.py").write_text(BESIDE)
    (made / "helper.py").write_text("NAME = 'beside'\n")
    (made / "data").write_text("hi")
    return made


def test_a_script_of_a_private_cluster_finds_what_is_beside_it(c: Cluster, folder: Path) -> None:
    done = c.cli("run", "--home", str(c.home), "s.py", "one", "--two", cwd=folder, env={"MINE": "yes"})
    assert (done.returncode, json.loads(done.stdout)) == (0, ["beside", "hi", ["s.py", "one", "--two"], "yes"]), done.stderr


def test_a_command_of_a_private_cluster_runs_here_and_leaves_its_files_here(c: Cluster, folder: Path) -> None:
    done = c.cli("run", "--home", str(c.home), "--", "sh", "-c", "cat data > copy; pwd", cwd=folder)
    assert (done.returncode, done.stdout) == (0, f"{folder}\n"), done.stderr
    assert (folder / "copy").read_text() == "hi"


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


def test_an_interpreter_that_is_not_there_is_one_line(c: Cluster, folder: Path) -> None:
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


def test_a_folder_that_is_not_there_fails_at_once_and_says_so(c: Cluster, folder: Path) -> None:
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
        assert c.cli("wait", again, "--quiet").returncode == 1, "its file is in a folder of its own, where helper is not"
        logs = c.cli("logs", f"{again}/s.py")
        assert "No module named 'helper'" in logs.stdout + logs.stderr


def test_with_a_cluster_of_this_machine_a_command_runs_here_too(tmp_path: Path, folder: Path) -> None:
    with cluster(tmp_path / "c", "w1", "w2", settings=QUIET) as c:
        done = c.cli("run", "--", "cat", "data", cwd=folder)
        assert (done.returncode, done.stdout) == (0, "hi"), done.stderr
