"""`always` in jobs and pipeline files: which jobs it waits for, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from titan import DAG, Gate, Job, task
from titan.errors import InvalidGraph, InvalidPipeline
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage


def parents_of(*jobs: Any) -> dict[str, list[str]]:
    spec = stage(DAG("d", jobs)).spec
    return {name: list(parents) for name, parents in zip(spec.ids, spec.parents, strict=True)}


def job(name: str, *parents: str, **more: Any) -> Job:
    return Job(name, command="true", parents=parents, **more)


def test_an_always_job_with_parents_waits_only_for_them() -> None:
    found = parents_of(job("a"), job("b"), job("last", "a", always=True))
    assert found["last"] == ["a"]


def test_an_always_job_without_parents_waits_for_all_jobs_but_services_always_jobs_and_dependents() -> None:
    found = parents_of(
        job("last", always=True),
        job("a", hitl_message="well?"),
        job("part", "a", foreach=2),
        job("db", type="service"),
        job("clean", "db", always=True),
        job("mail", "last"),
        job("more", "mail"),
        job("end", always=True),
    )
    assert found["last"] == found["end"] == ["a", "a.gate", "part[0]", "part[1]"]
    assert found["clean"] == ["db"] and found["part[1]"] == ["a.gate"]


def test_an_always_job_without_parents_also_waits_for_calls() -> None:
    @task
    def add(a: int, b: int) -> int:
        return a + b

    last = job("last", always=True)
    call = add(1, 2)
    behind = add.after(last)(3, 4)
    found = parents_of(last, call, behind)
    assert found["last"] == [call.id]


def test_an_array_may_be_always() -> None:
    found = parents_of(job("a"), job("last", always=True, foreach=2))
    assert found["last[0]"] == found["last[1]"] == ["a"]


def test_always_is_in_the_templates_of_gates_and_jobs() -> None:
    spec = stage(DAG("d", [job("a"), Gate("ask", "clean up?", [job("a")], always=True), job("last", always=True)])).spec
    assert [spec.templates[t].when for t in spec.template_of] == ["", "always", "always"]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("  - {id: b, command: x, always: sometimes}", "6: always: must be true or false"),
        ("  - {id: b, command: x, finally: true}", "6: finally: unknown key: did you mean 'always'?"),
        ("  - {id: b, command: x, always: true, expand: a}", "6: always: adds jobs, so it cannot run without its parents"),
        (
            "  - {id: b, command: x, always: true}\n  - {id: c, command: x, on_failure: {run: b}}",
            "6: always: the job is the failure handler of 'c': leave out always or that on_failure",
        ),
    ],
)
def test_an_error_names_its_line(tmp_path: Path, lines: str, says: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"name: p\njobs:\n  - id: a\n    command: x\n    outputs: [o]\n{lines}\n")
    with pytest.raises(InvalidPipeline) as caught:
        load_pipeline(path)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_an_input_that_may_be_missing_must_be_optional() -> None:
    made = job("a", outputs=["o"])
    with pytest.raises(InvalidGraph, match=r"job 'last': inputs: the job runs even if 'a' fails, so 'o' may be missing"):
        parents_of(made, job("last", always=True, inputs=["a.o"]))
    found = parents_of(made, job("b"), job("last", always=True, inputs=[{"from": "a.o", "optional": True}]))
    assert found["last"] == ["a"]
