"""Jobs with `cache` reuse the results of earlier equal jobs, on real workers: what counts, what
survives a kill of the master, and what users see."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster

PIPELINE = """\
name: cached
project: false
jobs:
  - {id: make, file: make.sh, args: [COUNT], outputs: [data], cache: true}
  - {id: sort, command: 'sort data | tee sorted; echo sort >> COUNT', inputs: [make.data], outputs: [sorted], cache: true}
  - {id: show, command: 'cat sorted', inputs: [sort.sorted]}
"""
MAKE = 'printf "b\\na\\n" > data; echo make >> $1\n'


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("caching") / "c", "w1", "w2", settings=QUIET) as c:
        yield c


class Folder:
    """A folder with a pipeline whose jobs note that they ran."""

    def __init__(self, c: Cluster, folder: Path) -> None:
        self.c = c
        self.folder = folder
        self.count = folder / "count"
        (folder / "p.yaml").write_text(PIPELINE.replace("COUNT", str(self.count)))
        self.write(MAKE)

    def write(self, script: str) -> None:
        (self.folder / "make.sh").write_text(script)

    def run(self, *options: str) -> tuple[str, list[str]]:
        """Run the pipeline. Return the id of the run, and the jobs that noted that they ran."""
        self.count.write_text("")
        done = self.c.cli("submit", *options, "p.yaml", cwd=self.folder)
        assert done.returncode == 0, done
        run = done.stdout.strip()
        assert self.c.client.run(run).wait(30).ok
        return run, self.count.read_text().split()


def test_a_changed_script_and_a_changed_input_run_again(c: Cluster, tmp_path: Path) -> None:
    folder = Folder(c, tmp_path)
    first, ran = folder.run()
    assert ran == ["make", "sort"]
    second, ran = folder.run()
    assert ran == [] and c.printed(second, "show") == "a\nb\n"
    jobs = {job.id: job.cached_from for job in c.client.status(second).jobs}
    assert jobs == {"make": f"{first}/make", "sort": f"{first}/sort", "show": None}
    folder.write(f"# another comment\n{MAKE}")
    _, ran = folder.run()
    assert ran == ["make"], "the script changed, and left the same file"
    folder.write(MAKE.replace("b", "c"))
    last, ran = folder.run()
    assert ran == ["make", "sort"] and c.printed(last, "show") == "a\nc\n"


def test_results_are_reused_after_the_master_was_killed(c: Cluster, tmp_path: Path) -> None:
    folder = Folder(c, tmp_path)
    first, ran = folder.run()
    assert ran == ["make", "sort"]
    c.kill_master()
    c.restart_master()
    second, ran = folder.run()
    assert ran == [] and c.printed(second, "show") == "a\nb\n"
    assert c.client.status(second).jobs[1].cached_from == f"{first}/sort"
    c.kill_master()
    c.restart_master()
    assert c.client.status(second).jobs[1].cached_from == f"{first}/sort"
    assert c.client.status(second).summary.reused == 2


def test_a_run_without_cache_runs_every_job_and_keeps_the_results(c: Cluster, tmp_path: Path) -> None:
    folder = Folder(c, tmp_path)
    folder.run()
    anew, ran = folder.run("--no-cache")
    assert ran == ["make", "sort"]
    third, ran = folder.run()
    assert ran == [] and c.client.status(third).jobs[0].cached_from == f"{anew}/make"
    folder.count.write_text("")
    again = c.cli("rerun", "--no-cache", third).stdout.strip()
    assert c.client.run(again).wait(30).ok and folder.count.read_text().split() == ["make", "sort"]


def test_the_command_line_shows_what_was_reused(c: Cluster, tmp_path: Path) -> None:
    text = "name: one\nproject: false\njobs:\n  - {id: only, command: echo hello; echo err >&2, cache: {version: V}}\n"
    (tmp_path / "one.yaml").write_text(text.replace("V", str(tmp_path.name)))
    first = c.cli("run", "one.yaml", cwd=tmp_path)
    second = c.cli("run", "one.yaml", cwd=tmp_path)
    assert first.stdout == second.stdout == "hello\n"
    assert second.stderr.splitlines()[-1].endswith("1 COMPLETED; 1 of 1 job reused") and "err\n" in second.stderr
    (source, target) = [line.split()[1] for line in (first.stderr, second.stderr)]
    shown = c.json("status", target)
    assert shown["reused"] == 1 and shown["jobs"][0]["cached_from"] == f"{source}/only"
    status = c.cli("status", target).stdout
    assert "1 COMPLETED; 1 of 1 job reused" in status and f"cached from {source}/only" in status
    assert f"it is over: COMPLETED: cached from {source}/only" in c.cli("why", f"{target}/only").stdout
    logs = c.cli("logs", target)
    assert (logs.returncode, logs.stdout) == (0, "")
    assert logs.stderr == f"titan: {target}/only reused a result: titan logs {source}/only\n"


ARRAY = """\
name: sweep
project: false
jobs:
  - {id: items, command: "titan context result 'ITEMS'"}
  - {id: each, command: 'echo "$1" >> COUNT', args: ["${item}"], expand: items, cache: true}
  - {id: part, command: 'echo "part $1" >> COUNT', foreach: PARTS, cache: true}
  - {id: twin, command: 'echo "$TITAN_JOB" >> COUNT', args: [same], foreach: 2, cache: true}
"""


def test_jobs_of_arrays_and_expansions_are_reused_one_by_one(c: Cluster, tmp_path: Path) -> None:
    count = tmp_path / "count"

    def ran(items: str, parts: str) -> list[str]:
        count.write_text("")
        text = ARRAY.replace("ITEMS", items).replace("PARTS", parts).replace("COUNT", str(count))
        (tmp_path / "sweep.yaml").write_text(text)
        run = c.cli("submit", "sweep.yaml", cwd=tmp_path).stdout.strip()
        assert c.client.run(run).wait(30).ok
        return sorted(count.read_text().splitlines())

    assert ran("[1, 2]", "[x, y]") == ["1", "2", "part x", "part y", "twin[0]", "twin[1]"]
    assert ran("[0, 1, 2]", "[w, x, y]") == ["0", "part w"]


CALLS = """\
import sys
import titan

@titan.task(cache={{"version": sys.argv[1]}})
def work(x):
    with open({count!r}, "a") as file:
        file.write(f"{{x}}\\n")
    return {{"x": x, "big": bytes(200_000)}}

@titan.task(cache=True)
def join(*parts):
    return sum(part["x"] for part in parts)

with titan.Client() as client:
    print(client.call(work, 1).result()["x"], [part["x"] for part in client.map(work, [1, 2])])
    print(client.compute(join(work(1), work(3))).result())
"""


def test_calls_of_a_task_are_reused_by_another_program(c: Cluster, tmp_path: Path) -> None:
    count = tmp_path / "count"
    (tmp_path / "calls.py").write_text(CALLS.format(count=str(count)))

    def ran(version: str) -> list[str]:
        count.write_text("")
        command = [sys.executable, str(tmp_path / "calls.py"), version]
        done = subprocess.run(command, capture_output=True, text=True, env=c.environment(), timeout=60, check=False)
        assert done.stdout == "1 [1, 2]\n4\n", done
        return count.read_text().split()

    assert ran("1") == ["1", "2", "3"]
    assert ran("1") == []
    assert ran("2") == ["1", "2", "3"]
