"""Garbage collection under random submissions, results, retries, archiving and restarts. Content
that something refers to stays; all other content is removed in the end.

The oracle keeps the content of each run, schedule, pipeline, key and name. It asks the core only
which of these exist.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from support.core import CLIENT, Master, dag, register, replay, results, submit
from titan.content.blobs import put
from titan.content.directory import DirectoryStore
from titan.core import inputs
from titan.core.events import events as ev
from titan.core.state import snapshot
from titan.core.state.state import State
from titan.host.clock import SteadyClock
from titan.master import garbage_collection as garbage
from titan.master.content_names import Registry
from titan.master.core_loop import CoreLoop
from titan.master.garbage_collection import GarbageCollector
from titan.master.history.database import CHUNK_JOBS, History, compressed, kept_run
from titan.model.dag import DagSpec, JobTemplate
from titan.model.files import StoredFile
from titan.model.settings import Settings
from titan.model.states import Outcome, RunState
from titan.model.timing import Timing
from titan.model.values import RETURNED_AT, by_content
from titan.sdk.growing import Shape, payload_of_expansion

GRACE_S = 3600.0
SETTINGS = Settings(prefetch=0, file_grace_s=GRACE_S)
CONTENTS = st.lists(st.integers(0, 40), min_size=5, max_size=5)
NAMES = st.sampled_from(["a", "b"])
OUTCOMES = st.sampled_from([Outcome.SUCCEEDED, Outcome.SUCCEEDED, Outcome.EXITED])


class FakeCore:
    """The part of a core loop that the collector uses."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self.clock = SteadyClock()

    @property
    def state(self) -> State:
        return self._master.state

    async def settled(self) -> None:
        pass


class Contents(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.master = Master(SETTINGS)
        self.count = 0
        self.of_run: dict[str, set[str]] = {}
        self.of_other: dict[tuple[str, str], set[str]] = {}
        """(kind, name) -> content of a schedule, pipeline or key."""
        self.of_name: dict[str, str] = {}
        """Name in perm_files/ -> its content. The store may lack this content."""
        self.to_forget: list[str] = []
        """Runs that are live again, but still have a row in the history."""
        self._open()
        self.master.see(register(slots=8))

    def _open(self) -> None:
        self.store = DirectoryStore(self.home / "files", spare_bytes=0)
        self.registry = Registry(self.home / "perm_files", self.store)
        self.history = History(self.home / "history.sqlite")

    def teardown(self) -> None:
        """End and archive all runs, and remove everything else. Only content with a name in
        perm_files/ may be left."""
        for kind, name in list(self.of_other):
            self._remove(kind, name)
        for name in list(self.master.state.runs):
            self.master.see(inputs.CancelRequested(CLIENT, 6, name, ""))
            self._leave(name)
        self._forget()
        self.history.prune(before=float("inf"), most_bytes=0)
        self._age()
        asyncio.run(self._collect([]))
        try:
            assert {hash_ for hash_, _ in self.store.sizes()} <= set(self.of_name.values())
        finally:
            self.history.close()
            shutil.rmtree(self.home)

    # -- what is referred to -----------------------------------------------------------------------
    @invariant()
    def what_is_referred_to_is_there(self) -> None:
        history = self.history.there(list(self.of_run))
        for run, hashes in self.of_run.items():
            if run in self.master.state.runs or run in history:
                assert all(map(self.store.has, hashes)), run
        for holder, hashes in self.of_other.items():
            assert all(map(self.store.has, hashes)), holder

    # -- clients -----------------------------------------------------------------------------------
    def _stage(self, numbers: list[int], later: Callable[[], Any]) -> list[str]:
        """Stage content as a client does before it submits, then call `later`. The store must still
        have the content afterwards."""
        datas = [b"content %d" % n for n in numbers]
        hashes = [hashlib.sha256(data).hexdigest() for data in datas]
        for hash_, data in zip(hashes, datas, strict=True):
            if not self.store.touch(hash_):
                put(self.store, hash_, data)
        later()
        assert all(map(self.store.touch, hashes)), "a client was told that it is here"
        return hashes

    def _spec(self, hashes: list[str]) -> DagSpec:
        script, archive, function, arguments, planned = hashes
        jobs = {
            "script": JobTemplate(file="s.sh", file_hash=script, retries=0, outputs=(("out", "o"),)),
            "archive": JobTemplate(file="s.sh", archive=archive, retries=0),
            "call": JobTemplate(function=function, retries=0),
            "planner": JobTemplate(function=function, retries=0),
        }
        planner = payload_of_expansion(Shape("x", JobTemplate(file="p.sh", file_hash=planned), ()), 0)
        payloads = [b"", b"", by_content(RETURNED_AT, bytes.fromhex(arguments), 10), planner]
        return replace(dag({"script": "", "archive": "script", "call": "", "planner": "call"}, jobs), payloads=payloads)

    @rule(numbers=CONTENTS, between=st.sampled_from(["", "collect", "restart"]))
    def a_run_is_submitted(self, numbers: list[int], between: str) -> None:
        hashes = self._stage(numbers, lambda: self._between(between))
        self.count += 1
        name = f"r{self.count}"
        self.master.see(submit(self._spec(hashes), run=name))
        self.of_run[name] = set(hashes)

    def _between(self, what: str) -> None:
        if what == "collect":
            asyncio.run(self._collect([]))
        elif what == "restart":
            self.the_master_is_restarted()

    @rule(numbers=CONTENTS, name=NAMES, kind=st.sampled_from(["schedule", "pipeline"]))
    def something_is_kept_by_name(self, numbers: list[int], name: str, kind: str) -> None:
        hashes = self._stage(numbers, lambda: None)
        spec = self._spec(hashes)
        if kind == "schedule":
            self.master.see(inputs.ScheduleRequested(1, 1, "", name, spec, Timing(every_s=1e6), "queue", "skip", False, True))
        else:
            self.master.see(inputs.PipelineSaveRequested(1, 1, name, spec, True))
        self.of_other[kind, name] = set(hashes)

    @rule(name=NAMES)
    def a_schedule_makes_a_run(self, name: str) -> None:
        if ("schedule", name) in self.of_other:
            self.count += 1
            self.master.see(inputs.ScheduleRunRequested(1, 1, f"r{self.count}", f"k{self.count}", name))
            if f"r{self.count}" in self.master.state.runs:
                self.of_run[f"r{self.count}"] = set(self.of_other["schedule", name])

    @rule(numbers=CONTENTS, name=NAMES)
    def a_key_is_published(self, numbers: list[int], name: str) -> None:
        hash_ = self._stage(numbers[:1], lambda: None)[0]
        self.master.see(inputs.PublishRequested(CLIENT, 8, name, hash_, 10, 0, 0, 0, True))
        self.of_other["key", name] = {hash_}

    @rule(numbers=CONTENTS, name=NAMES, resolved=st.booleans())
    def a_file_is_dropped_into_perm_files(self, numbers: list[int], name: str, resolved: bool) -> None:
        data = b"content %d" % numbers[0]
        (self.home / "perm_files" / name).write_bytes(data)
        hash_ = hashlib.sha256(data).hexdigest()
        if resolved:
            assert self.registry.resolve(name)[0] == hash_
        self.of_name[name] = hash_

    @rule(name=NAMES)
    def a_name_is_removed(self, name: str) -> None:
        if self.of_name.pop(name, ""):
            (self.home / "perm_files" / name).unlink()

    @rule(name=NAMES, kind=st.sampled_from(["schedule", "pipeline", "key"]))
    def a_holder_is_removed(self, name: str, kind: str) -> None:
        if (kind, name) in self.of_other:
            self._remove(kind, name)

    def _remove(self, kind: str, name: str) -> None:
        match kind:
            case "schedule":
                self.master.see(inputs.RemovalRequested(1, 1, name))
            case "pipeline":
                self.master.see(inputs.PipelineRemovalRequested(1, 1, name))
            case _:
                self.master.see(inputs.UnpublishRequested(CLIENT, 8, name))
        del self.of_other[kind, name]

    # -- runs --------------------------------------------------------------------------------------
    @rule(outcomes=st.lists(OUTCOMES, min_size=4, max_size=4), number=st.integers(0, 40))
    def attempts_end(self, outcomes: list[Outcome], number: int) -> None:
        """Report the end of all attempts that are held now. Repeated calls end whole runs."""
        for (lease, n), outcome in zip(list(self.master.state.workers[1].held.items()), outcomes, strict=False):
            job = self.master.state.jobs[n]
            report = results(1, (lease, outcome))
            if outcome is Outcome.SUCCEEDED:
                hash_ = self._stage([number], lambda: None)[0]
                output = (StoredFile("out", hash_, 10),) if job.template.outputs else ()
                value = by_content(RETURNED_AT, bytes.fromhex(hash_), 10) if job.template.function else b""
                report = replace(report, outputs=[output] if output else [], values=[value] if value else [])
                if output or value:
                    self.of_run[job.run.id].add(hash_)
            self.master.see(report, at=self.master.now + 1.0)

    @rule()
    def runs_leave_for_the_history(self) -> None:
        for name in list(self.master.state.runs):
            self._leave(name)

    def _leave(self, name: str) -> None:
        state, run = self.master.state, self.master.state.runs.get(name)
        if run is None or run.state in (RunState.RUNNING, RunState.OPENING):
            return
        chunks = [compressed(chunk) for chunk in snapshot.dump_run(state, run, CHUNK_JOBS)]
        self.history.put([kept_run(state, run, chunks, 0)])
        self.to_forget = [other for other in self.to_forget if other != name]
        self.master.see(inputs.HistoryKept([name]))

    @rule(keep_s=st.sampled_from([1.0, 10.0, 20.0]))
    def runs_leave_the_history(self, keep_s: float) -> None:
        self.history.prune(before=self.master.now - keep_s, most_bytes=1 << 40)

    @rule(run=st.integers(1, 9))
    def a_run_is_retried(self, run: int) -> None:
        name = f"r{run}"
        chunks = [] if name in self.master.state.runs else self.history.chunks(name)
        decision = self.master.see(inputs.DeadRetried(CLIENT, 8, name, "", "ann", "", chunks))
        if any(isinstance(event, ev.RunRestored) for event in decision.events):
            self.to_forget.append(name)

    @rule()
    def the_history_forgets_what_is_live(self) -> None:
        self._forget()

    def _forget(self) -> None:
        for name in self.to_forget:
            self.history.forget(name)
        self.to_forget.clear()

    @rule()
    def the_master_is_restarted(self) -> None:
        self.master.state = replay(self.master.events, SETTINGS)
        self.history.close()
        self._open()
        self.master.see(inputs.MasterBooted("c", self.master.state.term + 1))
        held = self.master.state.workers[1].held
        self.master.see(register(slots=8, held=dict.fromkeys(held, 1.0)))

    # -- time --------------------------------------------------------------------------------------
    @rule()
    def the_grace_passes(self) -> None:
        self._age()

    def _age(self) -> None:
        for hash_, _ in list(self.store.sizes()):
            path = self.store.folder / hash_
            then = path.stat().st_mtime - GRACE_S - 1
            os.utime(path, (then, then))

    @precondition(lambda self: self.of_run)
    @rule(
        meanwhile=st.lists(st.sampled_from(["leave", "prune", "retry", "forget", "submit", "end"]), max_size=6), aged=st.booleans()
    )
    def garbage_is_collected(self, meanwhile: list[str], aged: bool) -> None:
        if aged:
            self._age()
        asyncio.run(self._collect(meanwhile))

    async def _collect(self, meanwhile: list[str]) -> None:
        core = cast(CoreLoop, FakeCore(self.master))
        collector = GarbageCollector(core, self.history, self.store, self.registry)
        collector._started -= garbage.START_S
        collector.history_is_whole.set()
        named = [hash_ for hash_ in self.of_name.values() if self.store.has(hash_)]
        work = asyncio.ensure_future(collector.collect())
        do: dict[str, Callable[[], None]] = {
            "leave": self.runs_leave_for_the_history,
            "prune": lambda: self.runs_leave_the_history(4.0),
            "retry": lambda: self.a_run_is_retried(1),
            "forget": self._forget,
            "submit": lambda: self.a_run_is_submitted([1, 2, 3, 4, 5], ""),
            "end": lambda: self.attempts_end([Outcome.SUCCEEDED, Outcome.EXITED] * 2, 7),
        }
        for what in meanwhile:
            await asyncio.sleep(0)
            if what == "end":
                time.sleep(0.001)  # the threads of the collector continue meanwhile
            do[what]()
        await work
        assert all(map(self.store.has, named)), "what has a name stays"


garbage.SLICE_JOBS = 1
Contents.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestContents = Contents.TestCase


class ContentsAtLength(Contents):
    pass


ContentsAtLength.TestCase.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
TestContentsAtLength = pytest.mark.slow(ContentsAtLength.TestCase)
