"""`outputs` and `inputs` in Python and in pipeline files: their effect, and the errors for invalid
values."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan.errors import InvalidGraph, InvalidPipeline
from titan.sdk.job import DAG, Job
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage

TRAIN = Job("train", command="true", outputs={"model": "out/model.bin", "v1.2/log": "log"})


def test_an_input_makes_its_job_a_parent() -> None:
    use = Job("use", command="true", inputs={"in.bin": TRAIN.output("model"), "l": "train.v1.2/log"})
    spec = stage(DAG("d", [TRAIN, use])).spec
    assert spec.parents == [(), ("train",)]
    assert spec.templates[1].inputs == (("in.bin", "train", "model"), ("l", "train", "v1.2/log"))
    assert spec.templates[0].outputs == (("model", "out/model.bin"), ("v1.2/log", "log"))


def test_an_input_without_a_path_has_the_path_of_its_output() -> None:
    spec = stage(DAG("d", [TRAIN, Job("use", command="true", inputs=["train.model", TRAIN.output("v1.2/log")])])).spec
    assert spec.templates[1].inputs == (("out/model.bin", "train", "model"), ("log", "train", "v1.2/log"))


def test_arrays_give_and_take_by_position() -> None:
    part = Job("part.a", command="true", foreach=3, outputs=["p.txt"])
    each = Job("each", command="true", foreach=3, inputs=["part.a[${index}].p.txt"])
    one = Job("one", command="true", inputs={"first": "part.a[0].p.txt"})
    spec = stage(DAG("d", [part, each, one])).spec
    assert spec.parents[3:] == [("part.a[0]",), ("part.a[1]",), ("part.a[2]",), ("part.a[0]",)]
    assert spec.templates[1].inputs == (("p.txt", "part.a[${index}]", "p.txt"),)


def test_the_outputs_of_a_whole_array() -> None:
    parts = Job("part", command="true", foreach=3, outputs={"data": "out/p.txt"})
    named = Job("named", command="true", inputs={"in": "part.data", "first": "part[0].data"})
    spec = stage(DAG("d", [parts, named, Job("listed", command="true", inputs=[parts.output("data")])])).spec
    assert spec.templates[1].inputs == (("in", "part[#]", "data"), ("first", "part[0]", "data"))
    assert spec.templates[2].inputs == (("", "part[*]", "data"),)
    assert set(spec.parents[3]) == set(spec.parents[4]) == {"part[0]", "part[1]", "part[2]"}
    many = Job("part", command="true", foreach=10_001, outputs=["x"])
    with pytest.raises(InvalidGraph, match="job 'use': inputs: has 10,001 files; the limit is 10,000"):
        stage(DAG("d", [many, Job("use", command="true", inputs={"in": "part.x"})]))
    with pytest.raises(InvalidGraph, match="lies in 'in'"):
        stage(DAG("d", [parts, Job("use", command="true", inputs={"in": "part.data", "in/0/x": "part[0].data"})]))


def test_an_input_from_a_gated_job_waits_for_the_job_and_its_gate() -> None:
    gated = Job("train", command="true", outputs=["m"], hitl_message="well?")
    spec = stage(DAG("d", [gated, Job("use", command="true", inputs=["train.m"])])).spec
    assert spec.parents == [(), ("train",), ("train.gate", "train")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"outputs": {"model": "../m"}}, "outputs: '../m' must be a plain path"),
        ({"outputs": "model"}, "outputs: must be a mapping, or a list of paths"),
        ({"outputs": ["a", "a"]}, "outputs: 'a' is listed twice"),
        ({"outputs": {"": "a"}}, "outputs: an output's name"),
        ({"inputs": {"/in": "train.model"}}, "inputs: '/in' must be a plain path"),
        ({"inputs": {"in": "train"}}, "must be JOB.OUTPUT"),
        ({"inputs": {"in": 3}}, "must be a string"),
        ({"inputs": {"in": "train.model", "in/x": "train.model"}}, "lies in 'in'"),
        ({"inputs": {"in": "part[${item}].x"}}, "only placeholder allowed here is ${index}"),
        ({"outputs": [f"o{i}" for i in range(257)]}, "the limit is 256"),
    ],
)
def test_invalid_file_fields_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidGraph) as caught:
        Job("j", command="true", **fields)  # type: ignore[arg-type]
    assert words in str(caught.value) and str(caught.value).startswith("job 'j': ")


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (["train.nope"], "'train.nope' is not an output of a job of this DAG: job 'train' has model, v1.2/log"),
        (["nobody.model"], "there are train.model"),
        (["train.model", "train.model"], "'out/model.bin' appears twice"),
        (["train[${index}].model"], "this is a single job"),
    ],
)
def test_an_input_that_no_job_gives_is_refused(inputs: list[str], words: str) -> None:
    with pytest.raises(InvalidGraph) as caught:
        stage(DAG("d", [TRAIN, Job("use", command="true", inputs=inputs)]))
    assert words in str(caught.value)


def test_two_jobs_may_be_meant() -> None:
    jobs = [Job("a", command="true", outputs=["b.c"]), Job("a.b", command="true", outputs=["c"])]
    with pytest.raises(InvalidGraph, match="may mean"):
        stage(DAG("d", [*jobs, Job("use", command="true", inputs=["a.b.c"])]))
    meant = Job("use", command="true", inputs=[jobs[1].output("c")])
    assert stage(DAG("d", [*jobs, meant])).spec.parents[2] == ("a.b",)
    with pytest.raises(InvalidGraph, match="the job declares no output 'x'"):
        TRAIN.output("x")


def test_in_a_pipeline_file(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(
        "name: p\njobs:\n  - id: train\n    command: 'true'\n    outputs: {model: out/model.bin}\n"
        "  - id: use\n    command: 'true'\n    inputs: {data/model.bin: train.model}\n"
    )
    spec = stage(load_pipeline(path)).spec
    assert spec.templates[1].inputs == (("data/model.bin", "train", "model"),) and spec.parents[1] == ("train",)
    for old, new, words in (
        ("train.model", "train.nope", "p.yaml:8: inputs: 'train.nope' is not an output"),
        ("{model: out/model.bin}", "../x", "p.yaml:5: outputs: must be a mapping, {model: out/model.bin}, or a list"),
        ("{model: out/model.bin}", "[/x]", "p.yaml:5: outputs: '/x' must be a plain path"),
    ):
        wrong = tmp_path / "wrong" / "p.yaml"
        wrong.parent.mkdir(exist_ok=True)
        wrong.write_text(path.read_text().replace(old, new))
        with pytest.raises(InvalidPipeline) as caught:
            load_pipeline(wrong)
        assert words in str(caught.value)


def test_patterns_and_optional_files() -> None:
    split = Job("split", command="x", outputs=["parts/*.csv", {"path": "log", "optional": True}])
    listed = Job("listed", command="x", inputs=["split.parts/*.csv", split.output("log", optional=True)])
    named = Job("named", command="x", inputs={"in": "split.parts/*.csv", "l": {"from": "split.log", "optional": True}})
    spec = stage(DAG("d", [split, listed, named])).spec
    assert spec.templates[0].outputs == (("parts/*.csv", "parts/*.csv"), ("log", "log"))
    assert spec.templates[0].optional_outputs == ("log",)
    assert spec.templates[1].inputs == (("parts", "split", "parts/*.csv"), ("log", "split", "log"))
    assert spec.templates[2].inputs == (("in", "split", "parts/*.csv"), ("l", "split", "log"))
    assert spec.templates[1].optional_inputs == spec.templates[2].optional_inputs == (1,)
    with pytest.raises(InvalidGraph, match=r"'log' is an optional output of 'split', .* write \{from: split.log, optional: true\}"):
        stage(DAG("d", [split, Job("use", command="x", inputs=["split.log"])]))


def test_an_expansion_gives_the_files_of_the_jobs_that_it_will_make() -> None:
    jobs = [
        Job("plan", command="x", outputs=["data"]),
        Job("work", command="x", expand="plan", args=["${item}"], inputs=["plan.data"], outputs=["out.txt"]),
        Job("join", command="x", inputs=["work[*].out.txt"]),
        Job("numbered", command="x", inputs={"in": "work.out.txt"}),
    ]
    spec = stage(DAG("d", jobs)).spec
    assert spec.parents == [(), ("plan",), ("work",), ("work",)]
    assert [t.inputs for t in spec.templates[2:]] == [(("", "work[*]", "out.txt"),), (("in", "work[#]", "out.txt"),)]
    with pytest.raises(InvalidGraph, match=r"'plan\[\*\]': 'plan' is no array: write plan.data"):
        stage(DAG("d", [jobs[0], Job("use", command="x", inputs=["plan[*].data"])]))


@pytest.mark.parametrize("item", [{"path": "a", "optional": "yes"}, {"optional": True}, {"path": "a", "often": True}])
def test_invalid_options_of_a_file_are_refused(item: dict[str, object]) -> None:
    with pytest.raises(InvalidGraph, match="must have path, and may have optional: true or false"):
        Job("j", command="x", outputs=[item])
