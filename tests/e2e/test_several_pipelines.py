"""Pipeline files with several documents, and the commands that take them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster

ONE = "name: one\nenv: {WHO: '${params.who}'}\nparams: {who: ada}\njobs: [{id: a, command: 'echo one $WHO'}]\n"
TWO = "name: two\njobs: [{id: a, command: echo two}]\n"


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("several") / "c", "w1", settings=QUIET) as c:
        yield c


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "both.yaml"
    path.write_text(f"{ONE}---\n{TWO}")
    return path


def test_submit_makes_a_run_of_each_document(c: Cluster, file: Path) -> None:
    submitted = c.cli("submit", str(file), "--param", "who=eve", "--group", "both")
    runs = submitted.stdout.split()
    assert (submitted.returncode, len(runs)) == (0, 2), submitted
    assert all(c.client.run(run).wait(30).ok for run in runs)
    assert [c.printed(run, "a") for run in runs] == ["one eve\n", "two\n"]
    assert {summary.run for summary in c.client.runs(group="both")} == set(runs)
    again = c.cli("rerun", runs[0], "--new-files")
    assert (again.returncode, "its file holds several pipelines" in again.stderr) == (2, True), again


def test_nothing_is_submitted_if_one_document_is_wrong(c: Cluster, file: Path) -> None:
    before = len(c.client.runs())
    file.write_text(f"{ONE}---\n{TWO.replace('command', 'comand')}")
    refused = c.cli("submit", str(file))
    assert (refused.returncode, refused.stdout, "both.yaml:7: comand: unknown key" in refused.stderr) == (2, "", True), refused
    assert len(c.client.runs()) == before


@pytest.mark.parametrize(
    "words",
    [("run",), ("save", "both"), ("add", "last"), ("simulate",), ("schedule", "add", "both", "--every", "1d")],
    ids=lambda words: words[0],
)
def test_other_commands_refuse_several_pipelines_and_name_titan_submit(c: Cluster, file: Path, words: tuple[str, ...]) -> None:
    refused = c.cli(*words, str(file))
    assert refused.returncode == 2, refused
    assert "both.yaml:5: ---: a second pipeline begins: only `titan submit` takes several" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
