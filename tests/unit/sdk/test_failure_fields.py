"""Fields about failures and gates in Python and in pipelines: valid values, their effect, and the
errors for invalid values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from titan import DAG, Gate, Job
from titan.errors import InvalidGraph, InvalidPipeline
from titan.model import dag as model
from titan.model.graph import resolve
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage


def spec(*jobs: Job) -> model.DagSpec:
    return stage(DAG("d", jobs)).spec


def template(dag: model.DagSpec, job: str) -> model.JobTemplate:
    return dag.templates[dag.template_of[dag.ids.index(job)]]


def parents(dag: model.DagSpec) -> dict[str, tuple[str, ...]]:
    return dict(zip(dag.ids, dag.parents, strict=True))


def test_failure_fields_of_a_job_are_in_its_template() -> None:
    made = spec(Job("a", command="x", backoff=2, backoff_max=30, no_retry=[64, 2, 2], on_failure="continue"), Job("b", command="x"))
    assert template(made, "a").retry == model.Retry(2.0, 30.0, (2, 64))
    assert template(made, "a").on_failure == "continue"
    assert (template(made, "b").retry, template(made, "b").on_failure, template(made, "b").kind) == (None, "", "")


def test_a_gate_becomes_a_template_of_its_kind() -> None:
    made = spec(Job("a", command="x"), Gate("g", "well?", ["a"], max_wait=60, webhook="https://example.org/hook?x=1", delay=2))
    assert template(made, "g") == model.JobTemplate(
        kind="gate", gate=model.Gate("well?", 60.0, "https://example.org/hook?x=1"), delay_s=2.0, retries=0
    )
    assert Job("g", type="gate", message="m").max_wait == 48 * 3600 and Gate("g").parents == ()
    assert repr(Gate("g")) == "Job('g', type='gate')"


def test_a_handler_waits_for_the_jobs_that_name_it() -> None:
    alarm = Job("alarm", command="x")
    made = spec(
        Job("a", command="x", on_failure={"run": alarm}),
        Job("part", command="x", foreach=2, on_failure={"run": "alarm"}),
        alarm,
        Job("after", command="x", parents=["alarm"]),
    )
    assert parents(made)["alarm"] == ("a", "part[0]", "part[1]")
    assert template(made, "alarm").kind == "handler" and template(made, "a").kind == ""
    assert parents(made)["after"] == ("alarm",)


def test_a_gate_behind_a_job_takes_its_children() -> None:
    made = spec(
        Job("a", command="x", hitl_message="well?", max_wait_seconds=9, webhook="http://h/"),
        Job("part", command="x", foreach=2, parents=["a"], hitl_message="and?"),
        Job("one", command="x", parents=["a", "part[1]"]),
        Job("each", command="x", foreach=2, parents=["part[${index}]"]),
        Job("alarm", command="x"),
        Job("b", command="x", parents=["part"], on_failure={"run": "alarm"}),
    )
    assert parents(made) == {
        "a": (),
        "a.gate": ("a",),
        "part[0]": ("a.gate",),
        "part[1]": ("a.gate",),
        "part.gate": ("part[0]", "part[1]"),
        "one": ("a.gate", "part.gate"),
        "each[0]": ("part.gate",),
        "each[1]": ("part.gate",),
        "alarm": ("b",),
        "b": ("part.gate",),
    }
    assert template(made, "a.gate").gate == model.Gate("well?", 9.0, "http://h/")
    assert DAG("d", [Job("a", command="x", hitl_message="m")]).size == 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"backoff": 0}, "backoff: must be more than 0"),
        ({"backoff": "5"}, "backoff: must be a number of seconds or a duration such as 90s, 1h30m or 2d, not '5'"),
        ({"backoff": float("nan")}, "backoff: must be more than 0"),
        ({"backoff_max": True}, "backoff_max: must be a number of seconds or a duration such as 90s, 1h30m or 2d, not True"),
        ({"no_retry": 2}, "no_retry: must be a list of exit codes, not 2"),
        ({"no_retry": [0]}, "no_retry: must be exit codes, 1 to 255, not 0"),
        ({"no_retry": ["2"]}, "no_retry: each exit code must be an integer, not '2'"),
        ({"no_retry": range(1, 100)}, "no_retry: has more than 64 exit codes"),
        ({"on_failure": "ignore"}, "on_failure: must be cancel, continue or {run: JOB}, not 'ignore'"),
        ({"on_failure": {"start": "b"}}, "on_failure: must name a handler as {run: JOB}"),
        ({"on_failure": {"run": "a b"}}, "on_failure: run: 'a b' is not a job id"),
        ({"on_failure": None}, "on_failure: must be cancel"),
        ({"hitl_message": 5}, "hitl_message: must be a string, not 5"),
        ({"hitl_message": "m" * 5000}, "hitl_message: exceeds 4,096 characters"),
        ({"hitl_message": "m", "max_wait_seconds": 0}, "max_wait_seconds: must be more than 0"),
        ({"message": "m"}, "message: applies only to type gate: use hitl_message"),
        ({"webhook": "http://h/"}, "webhook: applies only to type gate, or with hitl_message"),
        ({"type": "batch"}, "type: must be run (the default), gate or service, not 'batch'"),
        ({"type": "gate"}, "command: a gate runs nothing"),
    ],
)
def test_bad_failure_fields_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidGraph) as error:
        Job("a", command="x", **fields)
    assert str(error.value).startswith(f"job 'a': {says}"), error.value


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"webhook": "ftp://h/"}, "webhook: must be an http or https URL"),
        ({"webhook": "http://user:secret@h/"}, "webhook: must be an http or https URL without a user name"),
        ({"webhook": "http://h/ x"}, "webhook: must be an http"),
        ({"webhook": "http:///x"}, "webhook: must be an http"),
        ({"webhook": 5}, "webhook: must be a string"),
        ({"webhook": "http://h/" + "x" * 3000}, "webhook: exceeds 2,048"),
        ({"max_wait": -1}, "max_wait: must be more than 0"),
        ({"args": ["x"]}, "args: does not apply to a gate"),
        ({"retries": 3, "timeout": 5}, "timeout: does not apply to a gate"),
        ({"on_failure": "continue"}, "on_failure: does not apply to a gate"),
        ({"on_failure": {"run": "b"}}, "on_failure: does not apply to a gate"),
        ({"foreach": 2}, "foreach: does not apply to a gate"),
        ({"hitl_message": "m"}, "hitl_message: does not apply to a gate"),
    ],
)
def test_bad_fields_of_gates_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidGraph) as error:
        Job("a", type="gate", **fields)
    assert str(error.value).startswith(f"job 'a': {says}"), error.value


@pytest.mark.parametrize(
    ("jobs", "says"),
    [
        ([Job("a", command="x", on_failure={"run": "b"})], "job 'a': on_failure: the handler 'b' is not a job of the DAG"),
        ([Job("a", command="x", on_failure={"run": "a"})], "job 'a': on_failure: a job cannot be its own handler"),
        (
            [Job("a", command="x", on_failure={"run": "b"}), Job("b", command="x", parents=["a"])],
            "job 'a': on_failure: 'b' has parents",
        ),
        ([Job("a", command="x", on_failure={"run": "b"}), Gate("b")], "job 'a': on_failure: 'b' is a gate"),
        (
            [Job("a", command="x", on_failure={"run": "b"}), Job("b", command="x", foreach=2)],
            "job 'a': on_failure: 'b' is an array",
        ),
        (
            [Job("a", command="x", hitl_message="m"), Job("a.gate", command="x")],
            "job 'a.gate': id: the gate after 'a' has this id",
        ),
        (
            [Job("a", command="x", on_failure={"run": "b"}), Job("b", command="x", on_failure={"run": "a"})],
            "the jobs depend on each other in a cycle",
        ),
    ],
)
def test_faults_that_only_the_whole_graph_shows_are_refused(jobs: list[Job], says: str) -> None:
    with pytest.raises(InvalidGraph) as error:
        stage(DAG("d", jobs))
    assert str(error.value).startswith(says), error.value


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (model.JobTemplate(kind="gate", gate=model.Gate(max_wait_s=0.0)), "max_wait must be more than 0 seconds"),
        (model.JobTemplate(kind="gate", gate=model.Gate(max_wait_s=float("nan"))), "max_wait must be 0 to"),
        (model.JobTemplate(kind="gate", gate=model.Gate(webhook="file:///etc/passwd")), "webhook must be an http"),
        (model.JobTemplate(kind="gate", gate=model.Gate("m\0")), "message holds a NUL"),
        (model.JobTemplate(kind="gate", gate=model.Gate(), command="x"), "give exactly one of file and command"),
        (
            model.JobTemplate(kind="gate", gate=model.Gate(), on_failure="continue"),
            "on_failure continue: a gate cannot have it, because a rejected gate cancels",
        ),
        (
            model.JobTemplate(command="x", gate=model.Gate()),
            "a job of type gate needs the fields of a gate, and only such a job may have them",
        ),
        (model.JobTemplate(command="x", retry=model.Retry(-1.0)), "backoff must be 0 to"),
        (model.JobTemplate(command="x", retry=model.Retry(final_codes=(300,))), "no_retry must be exit codes, 1 to 255, not 300"),
        (
            model.JobTemplate(function="0" * 64, on_failure="continue"),
            "on_failure continue: a call cannot have it, because the children of a call need its value",
        ),
    ],
)
def test_the_master_refuses_what_no_sdk_sends(template: model.JobTemplate, says: str) -> None:
    with pytest.raises(InvalidGraph) as error:
        resolve(model.DagSpec("d", "", [template], ["a"], [0], [()], [()]))
    assert says in str(error.value)


# -- pipelines -------------------------------------------------------------------------------------
def pipeline(folder: Path, text: str) -> DAG:
    path = folder / "p.yaml"
    path.write_text(f"name: p\nproject: false\njobs:\n{text}")
    return load_pipeline(path)


def test_a_pipeline_file_reads_all_failure_fields(tmp_path: Path) -> None:
    made = pipeline(
        tmp_path,
        "  - {id: a, command: x, backoff: 1.5, backoff_max: 9, no_retry: [2, 64], on_failure: {run: alarm}}\n"
        "  - {id: b, command: x, on_failure: continue, hitl_message: well?, max_wait_seconds: 60, webhook: 'http://h/'}\n"
        "  - {id: g, type: gate, message: now?, max_wait: 5, webhook: 'http://h/', delay: 1, depends_on: [a, b]}\n"
        "  - {id: r, type: run, command: x, depends_on: [g]}\n"
        "  - {id: alarm, command: x}\n",
    )
    jobs = {job.id: job for job in made.jobs}
    assert (jobs["a"].backoff, jobs["a"].backoff_max, jobs["a"].no_retry, jobs["a"].handler) == (1.5, 9.0, (2, 64), "alarm")
    assert (jobs["b"].on_failure, jobs["b"].hitl_message, jobs["b"].max_wait_seconds) == ("continue", "well?", 60.0)
    assert (jobs["g"].type, jobs["g"].message, jobs["g"].max_wait, jobs["g"].webhook) == ("gate", "now?", 5.0, "http://h/")
    assert parents(stage(made).spec)["g"] == ("a", "b.gate")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("  - {id: g, type: gate, command: x}\n", "4: command: does not apply to a gate, which runs nothing: leave it out"),
        ("  - id: g\n    type: gate\n    retries: 2\n", "6: retries: does not apply to a gate"),
        ("  - id: a\n    command: x\n    message: m\n", "6: message: applies only to type: gate: use hitl_message"),
        ("  - id: a\n    command: x\n    max_wait: 5\n", "6: max_wait: applies only to type: gate: use max_wait_seconds"),
        ("  - id: a\n    command: x\n    webhook: 'http://h/'\n", "6: webhook: applies only to type: gate"),
        ("  - id: a\n    command: x\n    max_wait_seconds: 5\n", "6: max_wait_seconds: applies only with hitl_message"),
        ("  - id: g\n    type: gate\n    max_wait: 0\n", "6: max_wait: must be more than 0"),
        (
            "  - id: g\n    type: gate\n    max_wait: 2 days\n",
            "6: max_wait: must be a number of seconds or a duration such as 90s, 1h30m or 2d, not the string '2 days'",
        ),
        ("  - id: g\n    type: gate\n    webhook: example.org\n", "6: webhook: must be an http or https URL"),
        ("  - id: a\n    command: x\n    no_retry: 2\n", "6: no_retry: must be a list of exit codes, [2, 64], not the number 2"),
        ("  - id: a\n    command: x\n    no_retry: [256]\n", "6: no_retry: must be exit codes, 1 to 255, not 256"),
        ("  - id: a\n    command: x\n    on_failure: retry\n", "6: on_failure: must be cancel, continue or {run: JOB}"),
        ("  - id: a\n    command: x\n    on_failure: {run: b}\n", "6: on_failure: the handler 'b' is not a job of the DAG"),
        ("  - id: a\n    command: x\n    on_failure: {do: b}\n", "6: on_failure: must name a handler as {run: JOB}"),
        (
            "  - id: a\n    command: x\n    hitl_message: m\n  - {id: a.gate, command: x}\n",
            "7: id: the gate after 'a' has this id",
        ),
        ("  - id: a\n    command: x\n    type: cron\n", "6: type: must be run (the default), gate or service, not 'cron'"),
    ],
)
def test_bad_failure_fields_of_pipelines_are_refused_with_their_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidPipeline) as error:
        pipeline(tmp_path, text)
    assert str(error.value).partition("p.yaml:")[2].startswith(says), error.value
