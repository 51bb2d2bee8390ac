"""Runs named by the beginning of an id, as `last`, and by the name of a DAG. Also the output of
whole runs, and lists of what runs now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster
from support.waiting import until
from titan import DAG, Job

CHATTY = """\
name: chatty
jobs:
  - {id: a, command: 'echo one; echo err >&2; printf open'}
  - {id: b, command: 'echo two', depends_on: [a]}
"""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("named") / "c", "w1", slots=4, settings=QUIET) as c:
        (c.base / "chatty.yaml").write_text(CHATTY)
        yield c


def run_of(c: Cluster, *words: str) -> str:
    return c.cli("submit", *words).stdout.strip()


def test_a_run_is_named_by_id_beginning_last_and_dag(c: Cluster) -> None:
    older = run_of(c, "chatty.yaml")
    run = run_of(c, "chatty.yaml")
    assert c.cli("wait", run).returncode == 0
    for name in (run, run[:11], "last", "chatty"):
        assert c.json("status", name)["run"] == run, name
        assert c.json("status", f"{name}/b")["run"] == run, name
    several = c.cli("status", run[:4])
    assert several.returncode == 2
    assert f"{run} of chatty" in several.stderr and f"{older} of chatty" in several.stderr
    typo = c.cli("status", "chaty")
    assert (typo.returncode, "did you mean 'chatty'?" in typo.stderr) == (2, True), typo
    assert c.cli("wait", "last").returncode == 0
    assert c.cli("attach", "chatty", "--quiet").returncode == 0
    assert "nothing to cancel" in c.cli("cancel", "chatty").stdout


LEAVING = "name: leaving\njobs:\n  - {id: a, command: echo left > f.txt, outputs: [f.txt]}\n"


def test_files_of_a_run_are_found_by_its_names_after_shared_keys(c: Cluster, tmp_path: Path) -> None:
    (c.base / "leaving.yaml").write_text(LEAVING)
    run = run_of(c, "leaving.yaml")
    assert c.cli("wait", run).returncode == 0
    for name in ("last", run[:11], "leaving"):
        assert [row["key"] for row in c.json("artifacts", name)] == [f"{run}/a.f.txt"], name
        assert c.json("artifact", "get", f"{name}/a.f.txt", str(tmp_path / "got"))["key"] == f"{run}/a.f.txt"
        assert (tmp_path / "got").read_text() == "left\n"
    (tmp_path / "shared").write_text("shared\n")
    assert c.cli("artifact", "put", "leaving/a.f.txt", str(tmp_path / "shared")).returncode == 0
    assert c.json("artifact", "get", "leaving/a.f.txt", str(tmp_path / "got"))["key"] == "leaving/a.f.txt"
    for key in ("leaving/none", "noruns/none", "none"):
        done = c.cli("artifact", "get", key, str(tmp_path / "got"))
        assert (done.returncode, "`titan artifacts" in done.stderr) == (2, True), done


def test_logs_of_a_run_are_whole_lines_with_the_name_of_the_job(c: Cluster) -> None:
    run = run_of(c, "chatty.yaml")
    followed = c.cli("logs", "-f", run)
    assert sorted(followed.stdout.splitlines()) == ["a | one", "a | open", "b | two"], followed
    assert followed.stderr.splitlines() == ["a | err"]
    assert sorted(c.cli("logs", run).stdout.splitlines()) == ["a | one", "a | open", "b | two"]
    rows = [json.loads(line) for line in c.cli("logs", run, "--json").stdout.splitlines()]
    assert {(row["job"], row["stream"]) for row in rows} == {("a", "stdout"), ("a", "stderr"), ("b", "stdout")}
    c.restart_master()
    assert sorted(c.cli("logs", run).stdout.splitlines()) == ["a | one", "a | open", "b | two"]
    alone = run_of(c, "--", "printf", "exact")
    assert c.cli("wait", alone).returncode == 0
    assert c.cli("logs", alone).stdout == "exact"
    many = c.cli("logs", run, "--attempt", "1")
    assert (many.returncode, "titan logs" in many.stderr) == (2, True), many


def test_a_result_and_a_reason_of_a_run_with_one_job_need_no_job(c: Cluster) -> None:
    run = c.client.submit(DAG("one", [Job("j", command="titan context result '{\"x\": 1}' --json || titan context result 7")])).id
    assert c.cli("wait", run).returncode == 0
    assert c.cli("result", run).returncode == 0
    assert "COMPLETED" in c.cli("why", "one").stdout
    several = c.cli("result", run_of(c, "chatty.yaml"))
    assert (several.returncode, "for example a, b" in several.stderr) == (2, True), several


def test_running_jobs_are_listed_and_all_runs_of_a_dag_cancelled(c: Cluster) -> None:
    runs = [c.client.submit(DAG("sleeps", [Job("s", command="sleep 600")])).id for _ in range(2)]
    other = c.client.submit(DAG("other", [Job("s", command="sleep 600")])).id
    until(lambda: len(c.json("ps")) == 3, "all jobs run")
    assert {row["run"] for row in c.json("ps", "--dag", "sleeps")} == set(runs)
    assert f"{other}/s" in c.cli("ps").stdout
    assert c.cli("cancel", "--dag", "sleeps").returncode == 2, "a whole DAG is cancelled only with --all"
    assert {row["target"] for row in c.json("cancel", "--all", "--dag", "sleeps")} == set(runs)
    assert c.states(other) == {"s": "RUNNING"}
    assert c.json("cancel", "--all")[0]["target"] == other
    assert "nothing to cancel" in c.cli("cancel", "--all").stdout
    assert "no job runs" in c.cli("ps").stdout


def test_events_are_printed_and_followed(c: Cluster) -> None:
    run = run_of(c, "--", "true")
    assert c.cli("wait", run).returncode == 0
    rows = [json.loads(line) for line in c.cli("events", "--json").stdout.splitlines()]
    assert {"jobs_completed", "run_finished"} <= {row["event"] for row in rows if row.get("run") == run}
    following = c.spawn("events", "-f", "-n", "0", label="events")
    until(lambda: run_of(c, "--", "true") and "run_submitted" in following.out, "a new event is printed")
    following.terminate()
    following.wait()


def test_options_may_stand_behind_a_pipeline_but_not_behind_a_script(c: Cluster, tmp_path: Path) -> None:
    done = c.cli("run", "chatty.yaml", "--quiet", "--deadline", "60")
    assert (done.returncode, done.stdout, done.stderr) == (0, "two\n", ""), done
    typo = c.cli("run", "chatty.yaml", "--deadlin", "60")
    assert (typo.returncode, "--deadline" in typo.stderr) == (2, True), typo
    (tmp_path / "show.sh").write_text("echo $@\n")
    shown = c.cli("run", "show.sh", "--quiet", "x.yaml", cwd=tmp_path)
    assert shown.stdout == "--quiet x.yaml\n", shown


def test_a_mistyped_name_of_a_saved_pipeline_is_suggested(c: Cluster) -> None:
    assert c.cli("save", "nightly", "chatty.yaml").returncode == 0
    done = c.cli("run", "nigthly")
    assert (done.returncode, "did you mean `titan run nightly`?" in done.stderr) == (2, True), done


def test_a_watched_status_ends_with_the_run(c: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    run = run_of(c, "--name", "waits", f"while [ ! -e {go} ]; do sleep 0.05; done")
    watching = c.spawn("status", run, "--watch", "0.1", label="watch")
    until(lambda: watching.out.count("waits  RUNNING") > 1, "the status is printed again")
    go.touch()
    assert watching.wait() == 0
    assert "COMPLETED" in watching.out.splitlines()[-1]


def test_the_help_lists_each_command_in_a_section_without_importing_it(c: Cluster) -> None:
    shown = c.cli("--help", env={"COLUMNS": "80"}).stdout
    assert all(title in shown for title in ("Run:", "Look:", "Decide:", "Operate:"))
    assert all(len(line) <= 96 for line in shown.splitlines())
    assert "linger" not in shown
