"""Jobs of the Titan SDK as jobs of Titan: ids, parents, arguments and folders."""

from __future__ import annotations

import doctest
from pathlib import Path
from types import ModuleType

import pytest

import titan.compat
from titan.compat import Accepted, TitanClient, TitanJob, approvals, job
from titan.compat import titan_sdk as names
from titan.compat.client import state_of
from titan.errors import CallerError, InvalidGraph
from titan.sdk.job import DAG
from titan.sdk.staging import stage
from titan.sdk.status import JobStatus


@pytest.mark.parametrize("module", [job, approvals], ids=lambda module: module.__name__)
def test_the_examples_of_the_docstrings(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert done.attempted and not done.failed


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "s.py"
    path.write_text("pass\n")
    return str(path)


def test_an_id_with_the_prefix_is_the_id_without(script: str) -> None:
    made = TitanJob("DAG-train", script)
    assert made.id == "DAG-train", "the program finds what it gave"
    assert made.as_job([]).id == "train"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("", []),
        ("  a   b ", ["a", "b"]),
        ("'4 2' \"x\"", ["'4", "2'", '"x"']),
        ("it's a\\ b", ["it's", "a\\", "b"]),
        ("a|b", ["a", "b"]),
        ("a\tb \t c", ["a\tb", "c"]),
    ],
)
def test_arguments_are_split_at_blanks_and_quotes_are_letters(script: str, args: str, words: list[str]) -> None:
    assert list(TitanJob("a", script, args=args).as_job([]).args) == words


def test_the_folder_in_which_a_job_runs(script: str) -> None:
    packed = TitanJob("a", "p.zip/src/s.py", is_archive=True)
    plain = TitanJob("a", script)
    assert [made.as_job([]).cwd for made in (packed, plain)] == [None, None]
    assert [made.as_job([], shared_cwd=True).cwd for made in (packed, plain)] == ["script", "shared"]


def test_a_service_is_kept_and_has_no_gate(script: str) -> None:
    made = TitanJob("api", script, job_type="SERVICE", port=8099, hitl_message="Ship?").as_job([])
    assert made.service is not None
    assert (made.type, made.service.port, made.service.keep, made.hitl_message) == ("service", 8099, True, None)


def test_the_gate_after_a_job_has_the_name_of_the_titan_sdk(script: str) -> None:
    first = TitanJob("DAG-a", script, hitl_message="Go on?", max_wait_seconds=60).as_job([])
    second = TitanJob("b", script).as_job(job.plain_parents(["hitl-gate-a", "DAG-a"], {"a"}))
    spec = stage(DAG("d", [first, second]), gate_id=job.gate_id).spec
    assert spec.ids == ["a", "hitl-gate-a", "b"]
    assert list(spec.parents) == [(), ("a",), ("hitl-gate-a",)]
    gate = spec.templates[spec.template_of[1]].gate
    assert gate is not None and (gate.message, gate.max_wait_s) == ("Go on?", 60)
    taken = TitanJob("hitl-gate-a", script).as_job([])
    with pytest.raises(InvalidGraph, match="job 'hitl-gate-a': id: the gate after 'a' has this id"):
        stage(DAG("d", [first, taken]), gate_id=job.gate_id)


def test_the_answer_is_that_of_the_titan_sdk_and_knows_its_run() -> None:
    answer = Accepted("r-1")
    assert answer == "DAG_ACCEPTED" and str(answer) == f"{answer}" == "DAG_ACCEPTED" and answer.run == "r-1"


def status(state: str, cause: str | None = None) -> JobStatus:
    return JobStatus("hitl-gate-a", state, 0, None, None, 0.0, None, None, "", cause=cause)


@pytest.mark.parametrize(
    ("state", "cause", "shown"),
    [
        *(("PAUSED", None, "WAITING"), ("COMPLETED", None, "APPROVED"), ("CANCELLED", "REJECTED", "REJECTED")),
        *(("WAITING", None, "CLEARED"), ("CANCELLED", "ANCESTOR", "CLEARED")),
    ],
)
def test_the_state_of_a_gate_is_a_word_of_the_titan_sdk(state: str, cause: str | None, shown: str) -> None:
    assert approvals.status_of(status(state, cause)) == shown


@pytest.mark.parametrize(
    ("state", "named"),
    [
        *(("WAITING", "PENDING"), ("DELAYED", "PENDING"), ("QUEUED", "PENDING"), ("DISPATCHED", "PENDING")),
        *(("RUNNING", "RUNNING"), ("FAILED", "RETRYING"), ("PAUSED", "PAUSED")),
        *(("COMPLETED", "COMPLETED"), ("DEAD", "FAILED"), ("CANCELLED", "CANCELLED")),
    ],
)
def test_the_states_have_the_names_of_the_titan_sdk(state: str, named: str) -> None:
    assert state_of(status(state)) == named


def test_a_job_behind_a_rejected_gate_is_cancelled_and_the_gate_rejected() -> None:
    assert state_of(status("CANCELLED", "REJECTED")) == "REJECTED"
    assert state_of(status("CANCELLED", "ANCESTOR")) == "CANCELLED"


def test_only_keys_of_gates_are_about_gates() -> None:
    assert approvals.gate_of("titan:hitl:status:hitl-gate-a") == "hitl-gate-a"
    assert approvals.gate_of("titan:hitl:message:hitl-gate-a", approvals.MESSAGE) == "hitl-gate-a"
    for other in ("hitl-gate-a", "titan:hitl:status:", "titan:hitl:status:review", "titan:hitl:ts:hitl-gate-a"):
        assert approvals.gate_of(other) == ""


def test_packets_are_refused_with_the_page_to_read() -> None:
    with pytest.raises(CallerError, match=r"operation 0x09.*docs/migrating-from-titan\.md"):
        TitanClient("127.0.0.1", 1)._send_request(0x09, "")


def test_the_modules_have_the_names_of_the_titan_sdk() -> None:
    assert all(getattr(names, name) is getattr(titan.compat, name) for name in ("TitanClient", "TitanJob"))
    assert names.TITAN_PORT == titan.compat.TITAN_PORT
