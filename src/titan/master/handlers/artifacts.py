"""Handlers that publish, find, list and remove files under keys.

Errors: a TitanError that a handler raises is sent to the peer as an error reply.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from titan.content.blobs import BlobStore
from titan.core.handlers.files import output_of
from titan.core.state.state import Job, Run, State
from titan.errors import CallerError, Conflict, NotFound
from titan.gateway.inbound import publish_input, request_input
from titan.master import views
from titan.master.core_loop import CoreLoop
from titan.master.handlers.history import HistoryHandler
from titan.model.files import FOLDER, Published, StoredFile, is_run
from titan.net.peer import Peer
from titan.protocol import messages as msg

MOST_ROWS = 10_000


class ArtifactHandler:
    def __init__(self, core: CoreLoop, content: BlobStore, past: HistoryHandler) -> None:
        self._core = core
        self._content = content
        self._past = past

    def on_publish(self, peer: Peer, message: msg.Publish) -> None:
        """Publish a file that was uploaded before."""
        worker = peer.worker
        if bool(message.lease) != bool(worker):
            raise CallerError("a worker must publish for an attempt, and a client must not name an attempt")
        if not 0 <= message.kind <= FOLDER or not self._content.touch(message.hash):
            raise NotFound(f"the file to publish as {message.key[:200]!r} is not on the master: upload it first")
        self._core.see(publish_input(message, origin=peer.number, worker=worker, actor=peer.actor))

    def on_find_artifact(self, peer: Peer, message: msg.FindArtifact) -> None:
        self._core.turn()
        worker = peer.worker
        state, key = self._core.state, message.key
        if worker:
            holder = state.workers.get(worker)
            number = holder.held.get(message.lease) if holder is not None else None
            if number is None:
                raise Conflict("this attempt is no longer current")
            run = state.jobs[number].run
            if key in run.published:
                self._send(peer, message.request, _rows(f"{run.id}/{key}", run.published[key]))
                return
        name, _, rest = key.partition("/")
        if is_run(name) and rest:
            self._of_run(peer, message.request, name, lambda state, run: _found(state, run, rest))
        elif key in state.published:
            self._send(peer, message.request, _rows(key, state.published[key]))
        else:
            raise NotFound(f"nothing is published as {key[:200]!r}: `titan artifacts` lists all keys")

    def on_remove_artifact(self, peer: Peer, message: msg.RemoveArtifact) -> None:
        self._core.see(request_input(message, origin=peer.number, actor=peer.actor))

    def on_list_artifacts(self, peer: Peer, message: msg.ListArtifacts) -> None:
        self._core.turn()
        name, _, rest = message.prefix.partition("/")
        most = min(message.limit if message.limit > 0 else MOST_ROWS, MOST_ROWS)
        if is_run(name):
            self._of_run(peer, message.request, name, lambda state, run: _all_of(state, run, rest, most))
        else:
            self._send(peer, message.request, _newest(self._core.state.published, message.prefix, most))

    def _of_run(self, peer: Peer, request: int, name: str, rows: Callable[[State, Run], list[msg.ArtifactRow]]) -> None:
        """Answer with rows of a run, from the state or the history."""

        def answer(state: State) -> list[msg.Message]:
            return [msg.Artifacts(request, rows(state, views.find_run(state, name)))]

        if self._past.is_live(name):
            for message in answer(self._core.state):
                self._core.release(partial(peer.send, message))
        else:
            self._past.answer(peer, request, name, answer)

    def _send(self, peer: Peer, request: int, rows: list[msg.ArtifactRow]) -> None:
        message = msg.Artifacts(request, rows)
        self._core.release(lambda: peer.send(message))


def _rows(key: str, versions: list[Published]) -> list[msg.ArtifactRow]:
    """Return one row for each version of a key, the newest first."""
    return [msg.ArtifactRow(key, v.hash, v.size, v.kind, v.at, v.by) for v in reversed(versions)]


def _output_row(job: Job, output: StoredFile) -> msg.ArtifactRow:
    about = (output.hash, output.size, output.kind, job.finished_at, f"{job.run.id}/{job.name}")
    return msg.ArtifactRow(f"{job.run.id}/{job.name}.{output.name}", *about)


def _found(state: State, run: Run, key: str) -> list[msg.ArtifactRow]:
    """Return the versions of a key of the run. A key JOB.OUTPUT also finds an output of a job."""
    if key in run.published:
        return _rows(f"{run.id}/{key}", run.published[key])
    for at in [at for at, letter in enumerate(key) if letter == "."]:
        number = state.find(run, key[:at])
        if number is not None and (output := output_of(state.jobs[number], key[at + 1 :])) is not None:
            return [_output_row(state.jobs[number], output)]
    raise NotFound(f"run {run.id} has published nothing as {key[:200]!r}: `titan artifacts {run.id}` lists its keys and outputs")


def _all_of(state: State, run: Run, prefix: str, most: int) -> list[msg.ArtifactRow]:
    """Return the newest version of each key of the run, then the outputs of its jobs."""
    rows = _newest(run.published, prefix, most, f"{run.id}/")
    if any(template.outputs for template in run.templates):
        for number in run.numbers():
            job = state.jobs[number]
            rows += [_output_row(job, output) for output in job.outputs if f"{job.name}.{output.name}".startswith(prefix)]
            if len(rows) >= most:
                break
    return rows[:most]


def _newest(keys: dict[str, list[Published]], prefix: str, most: int, before: str = "") -> list[msg.ArtifactRow]:
    found = sorted(key for key in keys if key.startswith(prefix))[:most]
    return [_rows(before + key, keys[key][-1:])[0] for key in found]
