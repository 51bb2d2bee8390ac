"""Simulated transfer of files. Files that the master has confirmed survive every crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from titan.model.files import StoredFile
from titan.model.states import Outcome
from titan.protocol import messages as pm
from titan.sim.oracle.files import SIZE, left_by
from titan.sim.oracle.processes import Violation
from titan.sim.world import World
from titan.worker.state_machine import machine as wm
from titan.worker.state_machine import messages

AGAIN_S = 5.0
"""Time without an answer after which a worker repeats its request."""


# -- the master's side -----------------------------------------------------------------------------
class MasterFiles:
    """The durable files of the master."""

    def __init__(self, world: World) -> None:
        self._world = world

    def answer(self, message: pm.Message, send: Callable[[pm.Message], None]) -> bool:
        """Answer a message if it is about files. Return whether the message is about files."""
        world, kept = self._world, self._world.oracle.file_oracle.kept
        match message:
            case pm.SendFile(request, _, _, hash_):
                send(pm.Stored(request, hash_) if hash_ in kept else pm.SendFrom(request, 0))
            case pm.FileEnd(request, hash_):

                def stored() -> None:
                    kept[hash_] = None
                    send(pm.Stored(request, hash_))

                world.clock.after(world.rng.choice((0.0, 0.01, 1.0)), stored)
            case pm.FetchFile(request, hash_):
                if hash_ not in kept:
                    raise Violation(f"file {hash_} is requested, but is not on the master's disk")
                send(pm.FilePiece(request, 0, SIZE))
            case _:
                return False
        return True


# -- a worker's side -------------------------------------------------------------------------------
class WorkerFiles:
    """Uploads and downloads of one process of a worker.

    `later` calls a function after some time, if the process is still alive.
    """

    def __init__(
        self,
        world: World,
        *,
        send: Callable[[pm.Message], None],
        receive: Callable[[Any], None],
        kept: Callable[[int], None],
        later: Callable[[float, Callable[[], None]], object],
        trouble: Callable[[str, Outcome], None],
    ) -> None:
        self._world = world
        self._send = send
        self._receive = receive
        self._kept = kept
        self._later = later
        self._trouble = trouble
        self._requests = 100
        self._sending: dict[int, tuple[int, str]] = {}
        """Request -> (lease, hash)."""
        self._missing: dict[int, dict[str, StoredFile]] = {}
        """Lease -> {hash: file} of unconfirmed outputs."""
        self._stored: dict[int, list[StoredFile]] = {}
        self._fetching: dict[int, str] = {}
        self.local_hashes: dict[str, None] = {}

    def keep(self, assignment: wm.Assignment) -> None:
        self._later(self._world.rng.choice((0.0, 0.1, 3.0)), lambda: self._begin(assignment))

    def _begin(self, assignment: wm.Assignment) -> None:
        world = self._world
        if world.chance(world.faults.fetch_failure / 2):
            world.oracle.process_oracle.record_trouble(assignment.lease, Outcome.BROKEN)
            self._receive(messages.OutputsKept(assignment.lease, (), "output was not written", Outcome.BROKEN))
            self._kept(assignment.lease)
            return
        outputs = left_by(assignment.lease, assignment.template)
        if not outputs:
            self._receive(messages.OutputsKept(assignment.lease, ()))
            self._kept(assignment.lease)
            return
        self._missing[assignment.lease] = {file.hash: file for file in outputs}
        self._stored[assignment.lease] = outputs
        for file in outputs:
            self._offer(assignment.lease, file.hash)

    def _offer(self, lease: int, hash_: str) -> None:
        if hash_ not in self._missing.get(lease, ()):
            return
        self._requests += 1
        self._sending[self._requests] = lease, hash_
        self._send(pm.SendFile(self._requests, "k" * 16, SIZE, hash_))
        self._later(AGAIN_S, lambda: self._offer(lease, hash_))

    def give_up(self, lease: int) -> None:
        self._missing.pop(lease, None)
        self._stored.pop(lease, None)

    def fetch(self, hash_: str) -> None:
        if self._world.chance(self._world.faults.fetch_failure):
            name = messages.FILE_PREFIX + hash_
            self._trouble(name, Outcome.BROKEN)
            self._receive(wm.ArtifactFailed(name, "another content", True))
            return
        self._fetch_again(hash_)

    def _fetch_again(self, hash_: str) -> None:
        if hash_ in self.local_hashes:
            return
        self._requests += 1
        self._fetching[self._requests] = hash_
        self._send(pm.FetchFile(self._requests, hash_))
        self._later(AGAIN_S, lambda: self._fetch_again(hash_))

    def on_message(self, message: pm.Message) -> bool:
        """Handle a message if it is about files. Return whether the message is about files."""
        match message:
            case pm.SendFrom(request):
                lease, hash_ = self._sending.get(request, (0, ""))
                if hash_ in self._missing.get(lease, ()):
                    self._send(pm.FileEnd(request, hash_))
            case pm.Stored(request, hash_):
                lease, _ = self._sending.pop(request, (0, ""))
                if self._missing.get(lease, {}).pop(hash_, None) is not None:
                    self._on_stored(lease)
            case pm.FilePiece(request):
                fetched = self._fetching.pop(request, "")
                if fetched and fetched not in self.local_hashes:
                    self.local_hashes[fetched] = None
                    self._world.trace.count("file fetched")
                    self._receive(wm.ArtifactReady(messages.FILE_PREFIX + fetched))
            case _:
                return False
        return True

    def _on_stored(self, lease: int) -> None:
        if self._missing[lease]:
            return
        del self._missing[lease]
        outputs = self._stored.pop(lease)
        self.local_hashes.update(dict.fromkeys(file.hash for file in outputs))
        self._world.trace.count("outputs kept")
        for file in outputs:
            self._receive(wm.ArtifactReady(messages.FILE_PREFIX + file.hash))
        self._receive(messages.OutputsKept(lease, tuple(outputs)))
        self._kept(lease)
