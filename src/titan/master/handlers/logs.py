"""Handler for clients that read and follow the output of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from titan.core.events import events as ev
from titan.core.state.state import Job, Run, State
from titan.errors import EnvironmentFault, NotFound, TitanError
from titan.master import views
from titan.master.handlers.history import HistoryHandler
from titan.master.log_store import LogStore
from titan.model.states import TERMINAL, JobState, RunState
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import error_of


class LogHandler:
    def __init__(self, state: State, logs: LogStore, past: HistoryHandler) -> None:
        self._state = state
        self._logs = logs
        self._past = past
        self._streams: dict[tuple[int, int], asyncio.Task[None]] = {}
        """(connection, request) -> the task that sends the output."""
        self._followers: dict[tuple[str, str], dict[asyncio.Event, None]] = {}

    def on_output(self, run: str, job: str) -> None:
        """Wake the followers of a job and of its run. The job has new output or a new state."""
        for followers in (self._followers.get((run, job)), self._followers.get((run, ""))):
            for event in followers or ():
                event.set()

    def note(self, events: list[ev.Event]) -> None:
        """Wake the followers of the jobs that the events concern."""
        if not self._followers:
            return
        jobs = self._state.jobs
        for event in events:
            for number in () if type(event) is ev.ProgressReported else getattr(event, "jobs", ()):
                self.on_output(jobs[number].run.id, jobs[number].name)

    def unwatch(self, peer: Peer, request: int) -> None:
        stream = self._streams.get((peer.number, request))
        if stream is not None:
            stream.cancel()

    def forget(self, peer: Peer) -> None:
        """End the streams of a closed connection."""
        for key in [key for key in self._streams if key[0] == peer.number]:
            self._streams[key].cancel()

    async def close(self) -> None:
        for task in list(self._streams.values()):
            task.cancel()
        await asyncio.gather(*self._streams.values(), return_exceptions=True)

    def on_read_logs(self, peer: Peer, message: msg.ReadLogs) -> None:
        """Begin to send output. A TitanError is sent to the client as an error reply."""
        if self._past.is_live(message.run):
            self._start(peer, message, self._state)
        else:
            self._past.with_run(peer, message.request, message.run, lambda state: self._start(peer, message, state))

    def _start(self, peer: Peer, message: msg.ReadLogs, state: State) -> None:
        run = views.find_run(state, message.run)
        if not message.job:
            self._keep(peer, message, self._stream_run(peer, message, run))
            return
        job = state.jobs[views.find_job(state, run, message.job)]
        if message.attempt > job.attempt or message.attempt < 0:
            raise NotFound(f"{message.run}/{message.job} has had {job.attempt} attempts; there is no attempt {message.attempt}")
        self._keep(peer, message, self._stream(peer, message, job))

    def _keep(self, peer: Peer, message: msg.ReadLogs, stream: Coroutine[Any, Any, None]) -> None:
        key = (peer.number, message.request)
        task = asyncio.get_running_loop().create_task(stream)
        self._streams[key] = task
        task.add_done_callback(lambda _: self._streams.pop(key, None))

    async def _stream_run(self, peer: Peer, message: msg.ReadLogs, run: Run) -> None:
        """Send the output of all jobs of a run, in the order of arrival.

        With `follow`, continue until the run is over.
        """
        with self._woken(peer, message) as event:
            begin = 0
            while True:
                event.clear()
                over = run.open == 0 and run.state is not RunState.OPENING
                for at, job, attempt, stream, offset, data in self._logs.run_pieces(run.id, begin):
                    begin = at + 1
                    skipped = self._logs.skipped(run.id, job, attempt, stream, offset)
                    peer.send(msg.LogChunk(message.request, attempt, stream, offset, skipped=skipped, job=job), data)
                    await peer.drain()
                if over or not message.follow:
                    peer.send(msg.LogChunk(message.request, 0, 1, 0, True), b"")
                    return
                await event.wait()

    @contextmanager
    def _woken(self, peer: Peer, message: msg.ReadLogs) -> Iterator[asyncio.Event]:
        """Yield an asyncio.Event that is set when the job, or any job of the run, has news.

        Errors of the body are sent to the client as error replies.
        """
        key, event = (message.run, message.job), asyncio.Event()
        followers = self._followers.setdefault(key, {})
        followers[event] = None
        try:
            yield event
        except ConnectionError:
            pass
        except (TitanError, OSError) as e:
            peer.send(
                error_of(message.request, e if isinstance(e, TitanError) else EnvironmentFault(f"the log cannot be read: {e}"))
            )
        finally:
            del followers[event]
            if not followers:
                self._followers.pop(key, None)

    async def _stream(self, peer: Peer, message: msg.ReadLogs, job: Job) -> None:
        """Send the output of one attempt.

        Attempt 0 means the newest attempt and all later ones. With `follow`, continue until the
        attempt is over, or for attempt 0 until the job is over.
        """
        attempt = message.attempt or max(job.attempt, 1)
        offsets: dict[int, int] = {}
        with self._woken(peer, message) as event:
            while True:
                event.clear()
                over = job.state in TERMINAL or (message.attempt > 0 and not _is_at(job.attempt, job.state, attempt))
                newest = job.attempt
                for stream, offset, data in self._logs.pieces(message.run, message.job, attempt, offsets):
                    skipped = self._logs.skipped(message.run, message.job, attempt, stream, offset)
                    peer.send(msg.LogChunk(message.request, attempt, stream, offset, skipped=skipped), data)
                    await peer.drain()
                if not message.attempt and newest > attempt:
                    attempt, offsets = attempt + 1, {}
                    continue
                if over or not message.follow:
                    peer.send(msg.LogChunk(message.request, attempt, 1, offsets.get(1, 0), True), b"")
                    return
                await event.wait()


def _is_at(current: int, state: JobState, attempt: int) -> bool:
    """Return whether the attempt may still write output."""
    return current <= attempt and state in (
        JobState.DISPATCHED,
        JobState.RUNNING,
        JobState.QUEUED,
        JobState.WAITING,
        JobState.DELAYED,
    )
