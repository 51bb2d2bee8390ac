"""An invalid DAG is refused as a whole, with an error that names the job and the reason."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace

from support.core import dag
from titan.errors import InvalidGraph
from titan.model import dag as limits
from titan.model.dag import DagSpec, JobTemplate
from titan.model.graph import find_cycle, resolve
from titan.model.names import CAPABILITY_RULE, NAME_RULE

GOOD = JobTemplate(command="true")


def refusal(spec: DagSpec) -> tuple[str, str]:
    """Return (message, job at fault)."""
    with pytest.raises(InvalidGraph) as caught:
        resolve(spec)
    assert (caught.value.code, caught.value.retryable) == ("invalid_graph", False)
    return str(caught.value), caught.value.job


def refused_template(template: JobTemplate) -> str:
    message, job = refusal(dag({"a": ""}, {"a": template}))
    assert job == "", "a template is the fault of no single job"
    return message


def test_parents_become_positions_without_repeats() -> None:
    assert resolve(dag({"sink": "left right left", "left": "root", "right": "root", "root": ""})) == [(1, 2), (3,), (3,), ()]


def test_a_cycle_is_reported_as_a_path_from_parent_to_child() -> None:
    message, job = refusal(dag({"start": "", "a": "start c", "b": "a", "c": "b", "behind": "c"}))
    assert (message, job) == ("the jobs depend on each other in a cycle: b -> c -> a -> b", "b")


def test_a_cycle_of_two_jobs_is_refused() -> None:
    assert refusal(dag({"a": "b", "b": "a"})) == ("the jobs depend on each other in a cycle: b -> a -> b", "b")


def test_a_job_that_depends_on_itself_is_refused() -> None:
    assert refusal(dag({"a": "", "b": "a b"})) == ("job 'b' depends on itself", "b")


def test_an_unknown_parent_is_refused() -> None:
    assert refusal(dag({"a": "", "b": "nobody"})) == ("job 'b' depends on 'nobody', which is no job of this DAG", "b")


def test_a_job_id_used_twice_is_refused() -> None:
    spec = replace(dag({"a": "", "b": ""}), ids=["a", "a"])
    assert refusal(spec) == ("job id 'a' is used twice; ids must be unique within a DAG", "a")


@pytest.mark.parametrize("name", ["", "-a", ".a", "a/b", "a b", "ä", "a\n", "a" * 129])
def test_a_malformed_id_is_refused(name: str) -> None:
    spec = replace(dag({"a": ""}), ids=[name])
    assert refusal(spec) == (f"job id {name!r} is malformed: an id is {NAME_RULE}", name[:128])


def test_a_graph_without_jobs_is_refused() -> None:
    assert refusal(dag({})) == ("DAG 'd' has no jobs", "")


@pytest.mark.parametrize("name", ["", "n" * 257, "a\nb"])
def test_a_malformed_name_of_a_dag_is_refused(name: str) -> None:
    assert refusal(dag({"a": ""}, name=name)) == ("a DAG's name is 1 to 256 printable characters", "")


def test_a_graph_of_too_many_jobs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_JOBS", 2)
    assert refusal(dag({"a": "", "b": "", "c": ""})) == ("DAG 'd' has 3 jobs; the limit is 2: split it", "")


@pytest.mark.parametrize("column", ["template_of", "args", "parents"])
def test_columns_of_different_length_are_refused(column: str) -> None:
    spec = dag({"a": "", "b": ""})
    assert refusal(replace(spec, **{column: getattr(spec, column)[:1]})) == ("the columns of the DAG differ in length", "")


@pytest.mark.parametrize("position", [-1, 1])
def test_an_unknown_template_is_refused(position: int) -> None:
    assert refusal(replace(dag({"a": ""}), template_of=[position])) == ("a job names a template that does not exist", "")


def test_arguments_that_are_too_long_in_sum_are_refused() -> None:
    half = "x" * (limits.MAX_ARGS_BYTES // 2)
    assert resolve(replace(dag({"a": ""}), args=[(half, half)]))
    message, job = refusal(replace(dag({"a": ""}), args=[(half, half, "x")]))
    assert (message, job) == ("the arguments of job 'a' exceed 131,072 characters: pass a file", "a")


def test_a_nul_in_an_argument_is_refused() -> None:
    assert refusal(replace(dag({"a": ""}), args=[("x\0",)])) == ("an argument of job 'a' holds a NUL character", "a")


@pytest.mark.parametrize(
    "template", [JobTemplate(), JobTemplate(command="a", argv=("b",)), JobTemplate(command="a", file="b", file_hash="0")]
)
def test_a_template_has_exactly_one_of_file_and_command(template: JobTemplate) -> None:
    assert refused_template(template).endswith(": give exactly one of file and command")


@pytest.mark.parametrize("template", [JobTemplate(file="x.py"), JobTemplate(file="x.py", file_hash="0", archive="1")])
def test_a_file_comes_from_a_hash_or_from_an_archive_but_not_from_both(template: JobTemplate) -> None:
    message = refused_template(template)
    assert message == "job specification 'x.py': a file is either staged by hash or part of a project archive"


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a/..", "x\0"])
def test_a_file_stays_inside_its_project(path: str) -> None:
    assert refused_template(JobTemplate(file=path, archive="0")).endswith(": the path of a file must stay inside its project")


def test_dots_in_the_name_of_a_file_lead_nowhere() -> None:
    assert resolve(dag({"a": ""}, {"a": JobTemplate(file="a..b/..c", archive="0")})) == [()]


@pytest.mark.parametrize(
    "template",
    [
        JobTemplate(command="a\0"),
        JobTemplate(argv=("a", "b\0")),
        replace(GOOD, env=(("", "x"),)),
        replace(GOOD, env=(("a=b", "x"),)),
        replace(GOOD, env=(("a", "\0"),)),
    ],
)
def test_an_environment_that_no_process_can_have_is_refused(template: JobTemplate) -> None:
    assert refused_template(template).endswith(": a NUL character, or an environment name that is empty or holds '='")


@pytest.mark.parametrize("word", ["", "A B", "-gpu", "x" * 65])
def test_a_malformed_requirement_is_refused(word: str) -> None:
    message = refused_template(replace(GOOD, requirement=word))
    assert message == f"job specification 'true': requirement {word!r} is malformed: a capability is {CAPABILITY_RULE}"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"retries": -1}, "retries must be 0 to 1000"),
        ({"retries": 1001}, "retries must be 0 to 1000"),
        ({"priority": 1_000_001}, "priority must be within +-1,000,000"),
        ({"priority": -1_000_001}, "priority must be within +-1,000,000"),
        ({"delay_s": -0.5}, "delay must be 0 to 316,224,000 seconds"),
        ({"delay_s": math.nan}, "delay must be 0 to 316,224,000 seconds"),
        ({"delay_s": math.inf}, "delay must be 0 to 316,224,000 seconds"),
        ({"timeout_s": -1.0}, "timeout must be 0 to 316,224,000 seconds"),
        ({"timeout_s": math.nan}, "timeout must be 0 to 316,224,000 seconds"),
    ],
)
def test_numbers_out_of_range_are_refused(change: dict[str, float], rule: str) -> None:
    assert refused_template(replace(GOOD, **change)) == f"job specification 'true': {rule}"


@pytest.mark.parametrize("change", [{"retries": 1000}, {"priority": -1_000_000}, {"delay_s": 316_224_000.0}, {"timeout_s": 0.0}])
def test_numbers_at_the_limits_are_accepted(change: dict[str, float]) -> None:
    assert resolve(dag({"a": ""}, {"a": replace(GOOD, **change)})) == [()]


def test_a_working_directory_is_a_path_or_a_folder_that_the_worker_finds() -> None:
    assert "must be an absolute path, shared or script" in refused_template(JobTemplate(command="true", cwd="srv"))
    assert "a command has no script" in refused_template(JobTemplate(command="true", cwd="script"))
    assert "outputs and inputs" in refused_template(JobTemplate(command="true", cwd="shared", outputs=(("a", "a"),)))
    for template in (JobTemplate(command="true", cwd="shared"), JobTemplate(file="a/b.py", archive="h", cwd="script")):
        assert resolve(dag({"a": ""}, {"a": template})) == [()]


def test_a_chain_of_100_000_needs_no_stack() -> None:
    chain = [(), *((i,) for i in range(99_999))]
    assert find_cycle(chain) == []
    assert len(find_cycle([(99_999,), *chain[1:]])) == 100_000
