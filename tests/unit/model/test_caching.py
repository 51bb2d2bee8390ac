"""The key of a job with caching: what counts and what does not, and which jobs may have a cache."""

from __future__ import annotations

import msgspec
import pytest

from titan.errors import InvalidGraph
from titan.model.caching import MAX_IGNORED, KeyFacts, cache_key, cache_problem
from titan.model.dag import Cache, DagSpec, Gate, JobTemplate, Limits, Needs, Parallel, Retry, Service
from titan.model.files import FOLDER, PROGRAM, StoredFile
from titan.model.graph import resolve

JOB = JobTemplate(command="sort", cache=Cache())
FACTS = KeyFacts(
    "a", ("x",), b"payload", [StoredFile("in/a", "a" * 64, 7), StoredFile("in/b", "b" * 64, 7)], [("p", b"j1")], [("KEY", 1, 5.0)]
)

SAME = {
    "requirement": "GPU", "priority": 9, "delay_s": 3.0, "affinity": True, "retries": 7, "timeout_s": 9.0,
    "needs": Needs(cpus=2.0), "retry": Retry(1.0), "limits": Limits(memory=1 << 30), "run_at": 5.0, "on_failure": "continue",
    "session": "s", "log_limit": 8192, "optional_inputs": (0,), "inputs": (("in/a", "p", "a"),),
    "cache": Cache(max_age_s=5.0), "when": "always", "condition": "true", "secrets": ("KEY",),
    "parallel": Parallel("p", 1),
}  # fmt: skip
"""Other values of fields that do not count, and of fields that count only by their content."""
OTHER = {
    "file": "x.py", "file_hash": "0" * 64, "archive": "1" * 64, "command": "sort -r", "argv": ("sort",), "function": "2" * 64,
    "env": (("A", "1"),), "driver": "process", "python": "/usr/bin/python3", "kind": "new", "gate": Gate(),
    "service": Service(), "outputs": (("a", "a"),), "cwd": "script", "stdin": "3" * 64, "optional_outputs": ("a",),
    "fills_results": True,
}  # fmt: skip
"""Other values of fields that count."""


def test_every_field_of_a_template_is_decided_on() -> None:
    assert not SAME.keys() & OTHER.keys()
    fields = set(JobTemplate.__struct_fields__)
    assert SAME.keys() | OTHER.keys() == fields, "a new field counts for the key: add it to OTHER, or to caching._NOT_COUNTED"


@pytest.mark.parametrize("field", SAME)
def test_a_field_that_decides_when_and_where_does_not_count(field: str) -> None:
    changed = msgspec.structs.replace(JOB, **{field: SAME[field]})
    assert cache_key(changed, FACTS) == cache_key(JOB, FACTS)


@pytest.mark.parametrize("field", OTHER)
def test_a_field_that_decides_what_is_done_counts(field: str) -> None:
    changed = msgspec.structs.replace(JOB, **{field: OTHER[field]})
    assert cache_key(changed, FACTS) != cache_key(JOB, FACTS)


@pytest.mark.parametrize(
    "change",
    [
        {"args": ("x", "")},
        {"args": ()},
        {"payload": b"payloae"},
        {"files": FACTS.files[:1]},
        {"files": [FACTS.files[0], StoredFile("in/b", "c" * 64, 7)]},
        {"files": [FACTS.files[0], StoredFile("in/c", "b" * 64, 7)]},
        {"files": [FACTS.files[0], StoredFile("in/b", "b" * 64, 7, PROGRAM)]},
        {"files": [FACTS.files[0], StoredFile("in/b", "b" * 64, 7, FOLDER)]},
        {"values": [("p", b"j2")]},
        {"values": [("q", b"j1")]},
        {"values": []},
        {"secrets": [("KEY", 2, 5.0)]},
        {"secrets": [("KEY", 1, 6.0)]},
    ],
)
def test_what_a_job_is_given_counts(change: dict[str, object]) -> None:
    assert cache_key(JOB, msgspec.structs.replace(FACTS, **change)) != cache_key(JOB, FACTS)


def test_neither_the_id_of_a_job_nor_the_order_of_its_files_counts() -> None:
    other = msgspec.structs.replace(FACTS, name="b[7]", files=FACTS.files[::-1])
    assert cache_key(JOB, other) == cache_key(JOB, FACTS)


def test_parents_without_a_result_do_not_count_for_a_script() -> None:
    other = msgspec.structs.replace(FACTS, values=[("first", b""), *FACTS.values])
    assert cache_key(JOB, other) == cache_key(JOB, FACTS)


def test_a_call_gets_its_values_by_position() -> None:
    call = JobTemplate(function="f" * 64, cache=Cache())
    first, renamed, turned, shifted = [
        cache_key(call, KeyFacts("c", values=values))
        for values in (
            [("a-0", b"i1"), ("a-1", b"")],
            [("b-3", b"i1"), ("b-4", b"")],
            [("a-0", b""), ("a-1", b"i1")],
            [("a-0", b"i1")],
        )
    ]
    assert first == renamed and len({first, turned, shifted}) == 3


def test_jobs_of_an_array_that_are_given_the_same_count_by_their_position() -> None:
    alike = msgspec.structs.replace(JOB, cache=Cache(by_position=True))
    keys = {cache_key(alike, msgspec.structs.replace(FACTS, name=name)) for name in ("a[0]", "a[1]", "a[11]")}
    assert len(keys) == 3
    assert cache_key(alike, msgspec.structs.replace(FACTS, name="b[1]")) in keys


def test_a_version_counts_and_ignored_variables_do_not() -> None:
    def key(cache: Cache, **env: str) -> str:
        return cache_key(JobTemplate(command="x", env=tuple(env.items()), cache=cache), KeyFacts("a"))

    assert key(Cache(version="1")) != key(Cache(version="2"))
    assert key(Cache(), A="1", LOG="debug") != key(Cache(), A="1", LOG="info")
    quiet = Cache(ignore=("LOG",))
    assert key(quiet, A="1", LOG="debug") == key(quiet, LOG="info", A="1") == key(quiet, A="1")
    assert key(quiet, A="2") != key(quiet, A="1")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (JobTemplate(command="x", kind="service", service=Service(), cache=Cache()), "a service does not end"),
        (JobTemplate(kind="gate", gate=Gate(), cache=Cache()), "decided by people"),
        (JobTemplate(command="x", kind="handler", cache=Cache()), "a failure handler runs because of a failure"),
        (JobTemplate(command="x", when="always", cache=Cache()), "a job that also runs after failures"),
        (JobTemplate(command="x", cwd="/srv/data", cache=Cache()), "leave cwd out and name the files as inputs"),
        (JobTemplate(command="x", cwd="shared", cache=Cache()), "leave cwd out"),
        (JobTemplate(command="x", cache=Cache(version="x" * 257)), "version must be at most 256"),
        (JobTemplate(command="x", cache=Cache(version="a\nb")), "version must be at most 256 printable"),
        (JobTemplate(command="x", cache=Cache(max_age_s=-1.0)), "for must be 0 to"),
        (JobTemplate(command="x", cache=Cache(max_age_s=float("nan"))), "for must be 0 to"),
        (JobTemplate(command="x", cache=Cache(ignore=("A=",))), "'A=', which is no name of a variable"),
        (JobTemplate(command="x", cache=Cache(ignore=("",))), "no name of a variable"),
        (JobTemplate(command="x", cache=Cache(ignore=("A",) * (MAX_IGNORED + 1))), "the limit is 64"),
    ],
)
def test_templates_that_cannot_have_a_cache(template: JobTemplate, words: str) -> None:
    problem = cache_problem(template)
    assert problem.startswith("cache: ") and words in problem and "\n" not in problem


@pytest.mark.parametrize(
    "template",
    [JobTemplate(command="x"), JOB, JobTemplate(file="a.py", file_hash="0" * 64, cwd="script", cache=Cache(version="3"))],
)
def test_templates_that_may(template: JobTemplate) -> None:
    assert cache_problem(template) == ""


def test_a_dag_with_a_cache_that_cannot_be_is_refused() -> None:
    template = JobTemplate(command="x", cwd="/srv", cache=Cache())
    with pytest.raises(InvalidGraph, match="job specification 'x': cache: the files in the job's cwd may change"):
        resolve(DagSpec("d", "", [template], ["a"], [0], [()], [()]))
