"""Parameters of a pipeline, given to each command that reads one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster

PIPELINE = """\
name: greet
params:
  name: {required: true, help: Who is greeted}
  times: {type: integer, default: 1}
jobs:
  - id: greet
    command: echo "hello $1 ${params.times}"
    args: ['${params.name}']
"""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("params") / "c", "w1", settings=QUIET) as c:
        yield c


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "greet.yaml"
    path.write_text(PIPELINE)
    return str(path)


def test_run_and_submit_take_values_of_parameters(c: Cluster, file: str) -> None:
    done = c.cli("run", file, "--param", "name=ada lovelace", "--param", "times=3")
    assert (done.returncode, "hello ada lovelace 3\n" in done.stdout) == (0, True), done
    submitted = c.cli("submit", "--param", "name=$HOME", file)
    run = submitted.stdout.strip()
    assert c.client.run(run).wait(30).ok, submitted
    assert c.printed(run, "greet") == "hello $HOME 1\n"


def test_a_saved_pipeline_and_a_schedule_keep_their_values(c: Cluster, file: str) -> None:
    assert c.cli("save", "greeting", file, "--param", "name=eve").returncode == 0
    done = c.cli("run", "greeting")
    assert (done.returncode, "hello eve 1\n" in done.stdout) == (0, True), done
    refused = c.cli("run", "--param", "name=bob", "greeting")
    assert (refused.returncode, "greeting was saved with its values" in refused.stderr) == (2, True), refused
    assert c.cli("schedule", "add", "nightly", file, "--every", "1d", "--param", "name=kay").returncode == 0
    run = c.cli("schedule", "run", "nightly").stdout.strip()
    assert c.client.run(run).wait(30).ok
    assert c.printed(run, "greet") == "hello kay 1\n"


def test_help_lists_the_parameters_of_a_file(c: Cluster, file: str, tmp_path: Path) -> None:
    for words in (("run", "--help", file), ("submit", file, "--help"), ("schedule", "add", "n", file, "--help")):
        listed = " ".join(c.cli(*words).stdout.split())
        assert "--param name=STRING Who is greeted [required] --param times=INTEGER [default: 1]" in listed, words
    (tmp_path / "none.yaml").write_text("name: x\nparams: [\n")
    broken = c.cli("run", "--help", "none.yaml", cwd=tmp_path)
    assert (broken.returncode, "none.yaml:3: syntax: " in broken.stdout) == (0, True), broken


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("FILE",), ":3: params.name: is required: pass --param name=VALUE"),
        (("FILE", "--param", "nmae=x"), ":2: params: 'nmae' is not declared: did you mean 'name'?"),
        (("FILE", "--param", "name=x", "--param", "times=many"), ":4: params.times: must be an integer, not 'many'"),
        (("FILE", "--param", "name"), "--param name: write --param NAME=VALUE"),
        (("FILE", "--param", "name=a", "--param", "name=b"), "--param name is given twice: leave one out"),
        (("--param", "name=a", "--", "true"), "--param applies only to a pipeline, a .yaml file: true is none"),
    ],
)
def test_a_wrong_value_of_a_parameter_is_an_error_of_one_line(c: Cluster, file: str, words: tuple[str, ...], message: str) -> None:
    done = c.cli("run", *[file if word == "FILE" else word for word in words])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert message in done.stderr
