"""Handlers for the files that jobs left: the master finds the worker that holds the folder, passes
the request on, and adds the outputs that it keeps itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from titan.core.state.state import NO_WORKER, Job, State
from titan.errors import EnvironmentFault, NotFound, TitanError
from titan.master import views
from titan.master.core_loop import CoreLoop
from titan.master.handlers.history import HistoryHandler
from titan.master.handlers.workers import WorkerHandler
from titan.master.relays import Relays, broken, error_of_worker
from titan.model.dag import JobTemplate, Kind
from titan.model.files import SHARED_FOLDER, StoredFile
from titan.model.left_files import PAGE
from titan.model.patterns import is_pattern, matches, path_of_match
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import error_of

ANSWER_S = 60.0
"""Longest time that a worker may take for a page of a list."""
FIRST_REQUEST = 1 << 41
"""Above the request ids that workers draw and those of `disk`, below those of `relays`."""


class _Place(NamedTuple):
    """Folder of an attempt. `remark`: why it cannot be read, or is not all that the job left; with
    a `peer` of None it cannot be read."""

    attempt: int
    worker: str
    peer: Peer | None
    shared: bool = False
    remark: str = ""
    away: bool = False
    """The worker is not connected."""


class _Listing(NamedTuple):
    """Request for a page whose worker has not answered yet."""

    peer: Peer
    request: int
    place: _Place
    outputs: list[msg.LeftFileRow]
    template: JobTemplate
    timer: asyncio.TimerHandle


class LeftFileHandler:
    def __init__(self, core: CoreLoop, workers: WorkerHandler, past: HistoryHandler, relays: Relays) -> None:
        self._core = core
        self._workers = workers
        self._past = past
        self._relays = relays
        self._requests = FIRST_REQUEST
        self._open: dict[int, _Listing] = {}

    def on_list_left_files(self, peer: Peer, message: msg.ListLeftFiles) -> None:
        self._with_run(peer, message, lambda state: self._list(peer, message, state))

    def on_fetch_left_file(self, peer: Peer, message: msg.FetchLeftFile) -> None:
        self._with_run(peer, message, lambda state: self._fetch(peer, message, state))

    def on_folder_listed(self, peer: Peer, message: msg.FolderListed) -> None:
        listing = self._take(peer, message.request)
        if listing is None:
            return
        kept = {row.path for row in listing.outputs}
        of = _output_finder(listing.template)
        rows = [
            msg.LeftFileRow(row.path, row.size, row.modified_at, row.kind, row.target, of(row.path))
            for row in message.files
            if row.path not in kept
        ]
        remark = "; ".join(filter(None, (listing.place.remark, message.remark)))
        about = (message.more, remark, message.removed_at, message.removed_by)
        place = listing.place
        answer = msg.LeftFiles(listing.request, place.attempt, place.worker, listing.outputs + rows, *about)
        self._core.release(partial(listing.peer.send, answer))

    def on_error(self, peer: Peer, message: msg.Error) -> None:
        """Pass the error of a worker on to the client."""
        listing = self._take(peer, message.request)
        if listing is not None:
            listing.peer.send(error_of(listing.request, error_of_worker(message, listing.place.worker)))

    def forget(self, peer: Peer) -> None:
        """Drop the requests of a closed connection, and expect no answer from its worker."""
        for number, listing in list(self._open.items()):
            if listing.peer is peer:
                self._drop(number)
            elif listing.place.peer is peer:
                self._fail(number, broken(listing.place.worker))

    async def close(self) -> None:
        for number in list(self._open):
            self._drop(number)

    # -- private -----------------------------------------------------------------------------------
    def _with_run(self, peer: Peer, message: msg.ListLeftFiles | msg.FetchLeftFile, use: Callable[[State], None]) -> None:
        """Call `use` with the state that holds the run. Its errors are sent to the client."""
        self._core.turn()
        if self._past.is_live(message.run):
            use(self._core.state)
        else:
            self._past.with_run(peer, message.request, message.run, use)

    def _list(self, peer: Peer, message: msg.ListLeftFiles, state: State) -> None:
        job = state.jobs[views.find_job(state, views.find_run(state, message.run), message.job)]
        place = self._place(state, job, message.attempt)
        outputs = [] if message.after or place.attempt != job.attempt else _outputs_of(job)
        if place.peer is None:
            answer = msg.LeftFiles(message.request, place.attempt, place.worker, outputs, False, place.remark, away=place.away)
            self._core.release(partial(peer.send, answer))
            return
        self._requests += 1
        number = self._requests
        late = EnvironmentFault(f"worker {place.worker} has not listed the folder within {ANSWER_S:g} s: its disk is slow or hangs")
        timer = asyncio.get_running_loop().call_later(ANSWER_S, self._fail, number, late)
        self._open[number] = _Listing(peer, message.request, place, outputs, job.template, timer)
        about = (message.run, message.job, place.attempt, message.after)
        place.peer.send(msg.ListFolder(number, *about, max(1, min(message.limit, PAGE)), place.shared))

    def _fetch(self, peer: Peer, message: msg.FetchLeftFile, state: State) -> None:
        job = state.jobs[views.find_job(state, views.find_run(state, message.run), message.job)]
        place = self._place(state, job, message.attempt)
        if place.peer is None:
            raise EnvironmentFault(place.remark)
        number = self._relays.begin(peer, message.request, place.peer, place.worker, message.offset)
        about = (message.run, message.job, place.attempt, message.path, message.offset, message.size)
        place.peer.send(msg.SendLeftFile(number, *about, place.shared))

    def _place(self, state: State, job: Job, attempt: int) -> _Place:
        """Return the folder of an attempt, 0 for the newest. Raises NotFound."""
        name = f"{job.run.id}/{job.name}"
        if not 0 <= attempt <= job.attempt:
            raise NotFound(f"{name} has had {job.attempt} attempts; there is no attempt {attempt}")
        if job.cached_from:
            return _Place(job.attempt, "", None, remark=f"{name} did not run: what it reused was left by {job.cached_from}")
        attempt = attempt or job.attempt
        if not attempt:
            kind = "is a gate, which has no folder" if job.template.kind == Kind.GATE else "has not started, so it left no files"
            return _Place(0, "", None, remark=f"{name} {kind}")
        number = _worker_of(job, attempt)
        worker = state.worker_name(number) if number != NO_WORKER else ""
        if job.template.function:
            gone = f"{name} is a call: calls run in the folder of their runner, which is removed with the runner"
            return _Place(attempt, worker, None, remark=gone)
        if not worker:
            return _Place(attempt, "", None, remark=f"it is not recorded which worker ran attempt {attempt} of {name}")
        cwd = job.template.cwd
        remark = ""
        if cwd == SHARED_FOLDER:
            remark = "these are the files of all jobs of the run on this worker, which share a folder"
        elif cwd.startswith("/"):
            remark = f"{name} ran in {cwd} of worker {worker}: what it left there is not listed"
        peer = self._peer_of(worker)
        if peer is None:
            return _Place(attempt, worker, None, remark=self._away(worker), away=True)
        return _Place(attempt, worker, peer, cwd == SHARED_FOLDER, remark)

    def _peer_of(self, worker: str) -> Peer | None:
        number = self._core.state.worker_numbers.get(worker)
        return None if number is None else self._workers.peers.get(number)

    def _away(self, name: str) -> str:
        number = self._core.state.worker_numbers.get(name)
        known = self._core.state.workers.get(number) if number is not None else None
        state = views.worker_state(known) if known is not None else "forgotten"
        return f"worker {name} is away ({state}): what the job left there is listed when it is back"

    def _take(self, worker: Peer, number: int) -> _Listing | None:
        listing = self._open.get(number)
        if listing is None or listing.place.peer is not worker:
            return None
        return self._drop(number)

    def _drop(self, number: int) -> _Listing:
        listing = self._open.pop(number)
        listing.timer.cancel()
        return listing

    def _fail(self, number: int, error: TitanError) -> None:
        listing = self._drop(number)
        listing.peer.send(error_of(listing.request, error))


def _worker_of(job: Job, attempt: int) -> int:
    """Return the number of the worker that ran an attempt; NO_WORKER if it is not recorded."""
    if attempt == job.attempt and job.worker != NO_WORKER:
        return job.worker
    return next((past.worker for past in reversed(job.history or []) if past.attempt == attempt and past.outcome >= 0), NO_WORKER)


def _outputs_of(job: Job) -> list[msg.LeftFileRow]:
    """Return the outputs of a COMPLETED job, which the master keeps, sorted by path."""
    paths = dict(job.template.outputs)
    rows = []
    for output in job.outputs:
        about = (output.size, job.finished_at, output.kind, b"", output.of or output.name, output.hash)
        rows.append(msg.LeftFileRow(_path_of(paths, output).encode(), *about))
    return sorted(rows, key=lambda row: row.path)


def _path_of(paths: dict[str, str], output: StoredFile) -> str:
    if output.of:
        return path_of_match(output.of, paths[output.of], output.name)
    return paths[output.name]


def _output_finder(template: JobTemplate) -> Callable[[bytes], str]:
    """Return a function that finds the output to which a file belongs; "" for none. Outputs are in
    the folder while the attempt goes on, and if it failed."""
    plain = {path.encode(): name for name, path in template.outputs if not is_pattern(path)}
    patterns = [(name, path) for name, path in template.outputs if is_pattern(path)]

    def find(path: bytes) -> str:
        end = len(path)
        while plain and end > 0:
            if (name := plain.get(path[:end])) is not None:
                return name
            end = path.rfind(b"/", 0, end)
        text = path.decode(errors="replace") if patterns else ""
        return next((name for name, pattern in patterns if matches(pattern, text)), "")

    return find
