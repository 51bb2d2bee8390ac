"""Resources that a job requests from its worker: the values that users may write, their form in the
template, and requests that no worker can meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan.model.dag import Needs
from titan.model.demand import Demand, demand_of, totals_of
from titan.model.sizes import size_of
from titan.sdk.functions import Function
from titan.sdk.job import DAG, Job
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage
from titan.sdk.status import WorkerStatus
from titan.sdk.tasks import plan, task
from titan.sdk.unmet import describe_unmet

GIB = 1 << 30


def template_of(job: Job) -> tuple[str, Needs | None]:
    (template,) = stage(DAG("d", [job])).spec.templates
    return template.requirement, template.needs


def test_a_single_capability_leaves_needs_empty() -> None:
    assert template_of(Job("a", command="x", requirement="GPU")) == ("GPU", None)
    assert template_of(Job("a", command="x", requirement=["GPU", "GPU"])) == ("GPU", None)


def test_several_capabilities_and_resources_are_in_the_template() -> None:
    job = Job("a", command="x", requirement=["GPU", "HIGH_MEM"], cpus=0.5, memory="4GiB", gpus=1)
    assert (job.requirement, job.cpus, job.memory, job.gpus) == (("GPU", "HIGH_MEM"), 0.5, 4 * GIB, 1)
    assert template_of(job) == ("GPU", Needs(0.5, 4 * GIB, 1, ("HIGH_MEM",)))


def test_jobs_that_ask_for_different_things_have_different_templates() -> None:
    jobs = [Job(f"j{i}", command="x", cpus=i % 3, gpus=i % 2) for i in range(12)]
    assert len(stage(DAG("d", jobs)).spec.templates) == 6


def test_a_pipeline_file_reads_capabilities_and_resources(tmp_path: Path) -> None:
    lines = "requirement: [GPU, HIGH_MEM]", "cpus: 1.5", "memory: 512MiB", "gpus: 2"
    text = "name: x\nproject: false\njobs:\n  - id: a\n    command: 'true'\n" + "".join(f"    {line}\n" for line in lines)
    (tmp_path / "p.yaml").write_text(text)
    (job,) = load_pipeline(tmp_path / "p.yaml").jobs
    assert job == Job("a", command="true", requirement=("GPU", "HIGH_MEM"), cpus=1.5, memory=512 << 20, gpus=2)
    (tmp_path / "p.yaml").write_text(text.replace("512MiB", "1048576").replace("[GPU, HIGH_MEM]", "GPU"))
    (job,) = load_pipeline(tmp_path / "p.yaml").jobs
    assert (job.requirement, job.memory) == ("GPU", 1 << 20)


def test_a_task_may_require_several_capabilities() -> None:
    @task(requirement=["GPU", "HIGH_MEM"])
    def f() -> None: ...

    (template,) = plan([f()], Function).spec.templates
    assert (template.requirement, template.needs) == ("GPU", Needs(capabilities=("HIGH_MEM",)))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1e3", 1000),
        ("4k", 4096),
        ("4 Ki", 4096),
        ("1KB", 1000),
        ("1.5 GiB", 3 * GIB // 2),
        ("2TB", 2 * 10**12),
        ("7b", 7),
    ],
)
def test_sizes_are_parsed_with_their_units(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1 PiB", "1e99", "0x10", "1.2.3", "9999TiB", "nan", "inf", "1_000"])
def test_an_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|must be"):
        size_of(text)


@pytest.mark.parametrize("value", [-1, float("nan"), "8", True, None])
def test_invalid_totals_of_a_worker_count_as_zero(value: object) -> None:
    assert totals_of({"cpus": value, "memory_bytes": value, "gpus": value}) == (0, 0, 0)  # type: ignore[dict-item]


def test_the_order_of_capabilities_makes_no_difference() -> None:
    one, other = (stage(DAG("d", [Job("a", command="x", requirement=r)])).spec.templates[0] for r in (["A", "B"], ["B", "A"]))
    assert demand_of(one) == demand_of(other) == Demand(("A", "B"))


# -- at submission ---------------------------------------------------------------------------------
def worker(*capabilities: str, state: str = "ALIVE", cpus: float = 4, memory: int = 8 * GIB, gpus: int = 0) -> WorkerStatus:
    return WorkerStatus("w", state, capabilities, 1, 0, 0.0, 0.0, {"cpus": cpus, "memory_bytes": memory, "gpus": gpus})


def test_a_job_that_some_worker_can_run_is_not_reported() -> None:
    jobs = [Job("a", command="x"), Job("b", command="x", requirement=["GENERAL", "GPU"], gpus=2), Job("c", command="x", cpus=4)]
    assert describe_unmet(DAG("d", jobs), [worker("GENERAL"), worker("GPU", "GENERAL", gpus=2)], "m:1") == []


def test_capabilities_spread_over_several_workers_are_reported() -> None:
    dag = DAG("d", [Job(f"j{i}", command="x", requirement=["A", "B"]) for i in range(3)])
    assert describe_unmet(dag, [worker("A"), worker("B"), worker("A", "B", state="LOST")], "m:1") == [
        "no worker offers A and B; jobs that require it wait until one does. Start one: "
        "titan worker --master m:1 --capability A --capability B"
    ]


def test_resources_that_no_worker_has_are_reported() -> None:
    dag = DAG("d", [Job("a", command="x", memory="16GiB", cpus=0.5)])
    assert describe_unmet(dag, [worker("GENERAL"), worker("GENERAL", cpus=1)], "m:1") == [
        "no worker with GENERAL has enough for jobs that need cpus 0.5 (the most is 4), memory 16 GiB (the most is 8 GiB); "
        f"they wait until one has. Start one: titan worker --master m:1 --cpus 0.5 --memory {16 * GIB}"
    ]
