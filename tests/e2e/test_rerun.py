"""A run is submitted again, as a whole or from one of its jobs on, with its original files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import titan
from support.cluster import QUIET, Cluster, cluster
from titan import DAG, Job
from titan.errors import CallerError, NotFound

PIPELINE = """\
name: again
project: false
jobs:
  - {id: a, file: a.sh, outputs: [out], retries: 0}
  - {id: b, command: 'cat in', inputs: {in: a.out}, depends_on: [a]}
  - {id: c, command: 'echo c $1', args: [one], depends_on: [b]}
"""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("rerun") / "c", "w1", settings=QUIET) as c:
        yield c


def ran(c: Cluster, *words: str, cwd: Path | None = None) -> str:
    done = c.cli(*words, cwd=cwd)
    assert done.returncode == 0, done
    run = done.stdout.strip()
    assert c.client.run(run).wait(30).ok
    return run


def test_a_rerun_uses_the_original_files_of_its_run(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("echo first > out\n")
    (tmp_path / "p.yaml").write_text(PIPELINE)
    run = ran(c, "submit", "p.yaml", cwd=tmp_path)
    (tmp_path / "a.sh").write_text("echo second > out\n")
    again = ran(c, "rerun", "again")
    assert again != run
    assert (c.printed(again, "b"), c.printed(again, "c")) == ("first\n", "c one\n")
    c.restart_master()
    assert c.printed(ran(c, "rerun", again), "b") == "first\n"


def test_new_files_takes_the_current_files_and_the_current_pipeline(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("echo first > out\n")
    (tmp_path / "p.yaml").write_text(PIPELINE)
    run = ran(c, "submit", "--group", "night", "--deadline", "1h", "p.yaml", cwd=tmp_path)
    (tmp_path / "a.sh").write_text("echo second > out\n")
    (tmp_path / "p.yaml").write_text(PIPELINE.replace("echo c", "echo today"))
    c.restart_master()
    again = ran(c, "rerun", run, "--new-files")  # the command runs in another folder than the submission
    assert (c.printed(again, "b"), c.printed(again, "c")) == ("second\n", "today one\n")
    summary = c.client.status(again).summary
    assert summary.group == "night"
    assert summary.deadline_at == pytest.approx(summary.submitted_at + 3600)
    assert c.printed(ran(c, "rerun", f"{run}/c", "--new-files"), "c") == "today one\n"
    (tmp_path / "p.yaml").write_text(PIPELINE.replace("depends_on: [a]", "depends_on: [z]"))
    broken = c.cli("rerun", run, "--new-files")
    assert (broken.returncode, f"{tmp_path}/p.yaml:5: depends_on: unknown job 'z'" in broken.stderr) == (2, True), broken
    (tmp_path / "p.yaml").unlink()
    gone = c.cli("rerun", run, "--new-files")
    assert (gone.returncode, "p.yaml, from which run" in gone.stderr, "is not on this machine" in gone.stderr) == (2, True, True)


def test_values_of_parameters_are_not_replaced_by_defaults(c: Cluster, tmp_path: Path) -> None:
    text = "name: tuned\nparams:\n  lr: {type: number, default: 0.1}\njobs: [{id: a, command: 'echo ${params.lr}'}]\n"
    (tmp_path / "p.yaml").write_text(text)
    assert c.printed(ran(c, "rerun", ran(c, "submit", "p.yaml", cwd=tmp_path), "--new-files"), "a") == "0.1\n"
    tuned = ran(c, "submit", "p.yaml", "--param", "lr=0.5", cwd=tmp_path)
    refused = c.cli("rerun", tuned, "--new-files")
    assert (refused.returncode, "it has values of --param" in refused.stderr) == (2, True), refused
    assert c.printed(ran(c, "rerun", tuned), "a") == "0.5\n"


def test_new_files_takes_a_script_and_its_folder_again(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "s.sh").write_text("echo first $1\n")
    script = ran(c, "submit", "s.sh", "x", cwd=tmp_path)
    folder = ran(c, "submit", "--project", "./s.sh", "y", cwd=tmp_path)
    command = ran(c, "submit", "--", "echo", "z", cwd=tmp_path)
    (tmp_path / "s.sh").write_text("echo second $1\n")
    again = [ran(c, "rerun", run, "--new-files") for run in (script, folder, command)]
    printed = [c.printed(run, job) for run, job in zip(again, ("s.sh", "s.sh", "echo"), strict=True)]
    assert printed == ["second x\n", "second y\n", "z\n"]
    (tmp_path / "s.sh").unlink()
    for run in (script, folder):
        gone = c.cli("rerun", run, "--new-files")
        assert (gone.returncode, f"{tmp_path}/s.sh, " in gone.stderr) == (2, True), gone


def test_new_files_of_a_program_are_known_to_the_program_alone(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "s.sh").write_text("true\n")
    for source in ("", tmp_path / "s.sh"):
        run = c.client.submit(DAG("d", [Job("j", file=tmp_path / "s.sh"), Job("k", command="true")], source=source))
        with pytest.raises(CallerError, match="does not name the files to read again"):
            c.client.rerun(run.id, new_files=True)


def test_a_part_of_a_run_runs_again_if_it_needs_nothing_of_the_rest(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("echo x > out\n")
    (tmp_path / "p.yaml").write_text(PIPELINE)
    run = ran(c, "submit", "p.yaml", cwd=tmp_path)
    part = ran(c, "rerun", f"{run}/c")
    assert c.states(part) == {"c": "COMPLETED"}
    needs = c.cli("rerun", f"{run}/b")
    assert (needs.returncode, "needs the files of 'a'" in needs.stderr) == (2, True), needs
    unknown = c.cli("rerun", f"{run}/nope")
    assert (unknown.returncode, "without a job 'nope'" in unknown.stderr) == (2, True), unknown
    with pytest.raises(NotFound, match="no run 'nope'"):
        c.client.rerun("nope")


@titan.task
def double(x: int) -> int:
    return 2 * x


def test_calls_of_a_graph_are_made_again_and_jobs_added_later_are_not(c: Cluster) -> None:
    first = double(4)
    last = double(first)
    run = c.client.submit(DAG("calls", [last]))
    assert run.result(last) == 16
    again = c.client.rerun(run.id)
    assert again.result(last.id) == 16
    with pytest.raises(CallerError, match="needs the result of"):
        c.client.rerun(f"{run.id}/{last.id}")
    adds = "printf 'name: m\\njobs: [{id: more, command: \\047true\\047}]\\n' > m.yaml; titan context submit m.yaml"
    open_run = c.client.submit(DAG("grows", [Job("a", command=adds)]))
    assert open_run.wait(30).ok
    assert set(c.states(open_run.id)) == {"a", "more"}
    repeated = c.client.rerun(open_run.id)
    assert repeated.wait(30).ok
    assert set(c.states(repeated.id)) == {"a", "more"}, "the job has added it again"


def test_a_pushed_file_is_there_for_later_runs(c: Cluster, tmp_path: Path) -> None:
    for text in ("one", "two"):
        (tmp_path / "tool.sh").write_text(f"echo {text}\n")
        done = c.cli("push", "tool.sh", "--name", "tools/t.sh", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "tool.sh is perm:tools/t.sh now\n"), done
        run = c.client.submit(DAG("d", [Job("j", file="perm:tools/t.sh")]))
        assert run.wait(30).ok
        assert c.printed(run, "j") == f"{text}\n"
    bad = c.cli("push", "tool.sh", "--name", "../x", cwd=tmp_path)
    assert bad.returncode == 2, bad
