"""Decisions read the cause of a cancellation. Journals and snapshots of an older Titan have only
the reason text."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

import titan.core
from support.core import FIRST, Master, dag, submit
from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.handlers.cancel import is_consequence, is_unneeded
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.model.causes import Cause, cause_of_old


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("cancelled by a user", Cause.NONE),
        ("its ancestor a is DEAD: exit code 1", Cause.ANCESTOR),
        ("its ancestor a was cancelled by a user", Cause.ANCESTOR),
        ("not needed", Cause.NOT_NEEDED),
        ("its ancestor alarm was not needed", Cause.ANCESTOR_NOT_NEEDED),
        ("the deadline of its run passed, 60 s after it was submitted", Cause.NONE),
    ],
)
def test_the_reason_text_of_an_older_titan_gives_the_cause(reason: str, cause: Cause) -> None:
    assert cause_of_old(reason) is cause
    master = two_jobs()
    apply(master.state, ev.JobsCancelled([FIRST], reason, 1.0))
    assert master.job(0).cause is cause
    assert is_consequence(master.job(0)) is (cause is not Cause.NONE)
    assert is_unneeded(master.job(0)) is (cause in (Cause.NOT_NEEDED, Cause.ANCESTOR_NOT_NEEDED))


def test_the_cause_counts_whatever_the_sentence_says() -> None:
    master = two_jobs()
    apply(master.state, ev.JobsCancelled([FIRST], "not needed", 1.0, cause=Cause.ASKED))
    assert not is_consequence(master.job(0)) and not is_unneeded(master.job(0))
    apply(master.state, ev.JobsCancelled([FIRST + 1], "anything", 1.0, cause=Cause.ANCESTOR))
    assert is_consequence(master.job(1)) and not is_unneeded(master.job(1))


@pytest.mark.parametrize("older", [False, True])
def test_snapshots_keep_the_cause_of_a_cancellation(older: bool) -> None:
    master = two_jobs()
    apply(master.state, ev.JobsCancelled([FIRST], "its ancestor x is DEAD: why", 1.0, cause=Cause.ANCESTOR))
    chunks = [msgspec.msgpack.decode(chunk) for chunk in snapshot.dump(master.state)]
    if older:
        chunks = [chunk[:-1] if chunk[0] == "jobs" else chunk for chunk in chunks]
    loaded = State(master.state.settings)
    snapshot.load(loaded, [msgspec.msgpack.encode(chunk) for chunk in chunks])
    assert [loaded.jobs[FIRST + i].cause for i in (0, 1)] == [Cause.ANCESTOR, Cause.NONE]


def test_no_decision_reads_a_sentence() -> None:
    """No code of the core compares a reason or searches in it."""
    reads = re.compile(
        r"reason\b[^,()]*\.(startswith|endswith|find|index|partition)\(|\breason (==|!=) |[\"A-Z] in [a-z.]*reason\b"
    )
    for path in Path(titan.core.__file__).parent.rglob("*.py"):
        found = [line for line in path.read_text().splitlines() if reads.search(line)]
        assert not found, (path.name, found)


def two_jobs() -> Master:
    master = Master()
    master.see(submit(dag({"a": "", "b": ""})))
    return master
