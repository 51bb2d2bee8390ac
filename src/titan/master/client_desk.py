"""What clients ask: submissions and cancellations become inputs, questions are answered from the state, logs and artifacts flow."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial

from titan.core import events as ev
from titan.core import inputs as seen
from titan.core.state import Job, State
from titan.errors import CallerError, EnvironmentFault, NotFound, ProtocolError, TitanError
from titan.gateway.inbound import asked
from titan.master import views
from titan.master.artifact_desk import ArtifactDesk
from titan.master.collect import Collector
from titan.master.core_loop import CoreLoop
from titan.master.failure_desk import FailureDesk
from titan.master.file_desk import FileDesk
from titan.master.growth_desk import GrowthDesk
from titan.master.history_desk import HistoryDesk
from titan.master.intake import Intake
from titan.master.log_store import LogStore
from titan.master.outlet import Outlet
from titan.master.registry import Registry
from titan.master.scale_view import scale_view
from titan.master.schedule_desk import ScheduleDesk
from titan.master.secret_desk import SecretDesk
from titan.master.store_desk import StoreDesk
from titan.master.store_lanes import StoreLanes
from titan.master.watch import WatchHub, whole_run
from titan.master.webhook_targets import Targets
from titan.model.dag import DagSpec, JobTemplate
from titan.model.names import run_id
from titan.model.states import TERMINAL, JobState
from titan.model.values import BY_CONTENT_BYTES, artifact_of
from titan.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob, error_of

MAX_OPENINGS = 16


class ClientDesk:
    def __init__(
        self,
        core: CoreLoop,
        logs: LogStore,
        registry: Registry,
        intake: Intake,
        outlet: Outlet,
        hub: WatchHub,
        past: HistoryDesk,
        secret_desk: SecretDesk,
        store: StoreDesk,
        files: FileDesk,
        artifacts: ArtifactDesk,
        stop: Callable[[], None],
        webhooks: Targets,
    ) -> None:
        self._core = core
        self._logs = logs
        self._registry = registry
        self._intake = intake
        self._outlet = outlet
        self._hub = hub
        self._past = past
        self._secrets = secret_desk
        self._webhooks = webhooks
        self._stop = stop
        self._files = files
        self._artifacts = artifacts
        self._lanes = StoreLanes(store)
        self._collector = Collector(core.state)
        self._failures = FailureDesk(core, past)
        self.schedules = ScheduleDesk(core, check=self._check_dag, new_run=self._new_run)
        self.growth = GrowthDesk(core, check=self._check_dag)
        self._opening: dict[tuple[int, int], str] = {}
        """(connection, request) -> the run of a submission that comes in parts."""
        self._streams: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._followers: dict[tuple[str, str], dict[asyncio.Event, None]] = {}
        self._last_run = ""

    @property
    def _state(self) -> State:
        return self._core.state

    def on_message(self, peer: Peer, message: msg.Message, blob: Blob) -> None:
        """Raises TitanError, which becomes the answer."""
        match message:
            case msg.Submit():
                self._submit(peer, message)
            case msg.OpenRun():
                self._open_run(peer, message)
            case msg.AddJobs():
                self._add_jobs(peer, message)
            case msg.Cancel() if not self._past.is_live(message.run):
                # Cancelling what is over cancels nothing.
                self._past.answer(peer, message.request, message.run, lambda _: [msg.Cancelled(message.request, 0)])
            case msg.Cancel():
                self._core.see(asked(message, origin=peer.number))
            case msg.AddSchedule() | msg.ListSchedules() | msg.PauseSchedule() | msg.RemoveSchedule() | msg.RunSchedule():
                self.schedules.on_message(peer, message)
            case msg.Grow() | msg.SavePipeline() | msg.RemovePipeline() | msg.ListPipelines() | msg.GetPipeline():
                self.growth.on_message(peer, message)
            case msg.StopService() if not self._past.is_live(message.run):
                # Stopping what is over stops nothing.
                self._past.answer(peer, message.request, message.run, lambda _: [msg.ServicesStopped(message.request, 0)])
            case msg.StopService():
                self._core.see(asked(message, origin=peer.number))
            case msg.ReplaceService():
                self._replace_service(peer, message)
            case msg.ListServices():
                self._answer(peer, lambda: views.services(self._state, message))
            case msg.GetRun():
                self._answer_of(peer, message, message.run, lambda state: [views.run_status(state, message)])
            case msg.ReadValues():
                self._answer_of(peer, message, message.run, lambda state: [*Collector(state).some_of(message)])
            case msg.Why():
                self._answer_of(peer, message, message.run, lambda state: [views.why(state, message, self._core.clock.now())])
            case msg.ListRuns():
                self._core.turn()
                self._past.runs(peer, message)
            case msg.ListWorkers():
                self._answer(peer, lambda: views.workers(self._state, message))
            case msg.TellWorker():
                self._core.see(asked(message, origin=peer.number))
            case msg.GetScale():
                self._answer(peer, lambda: scale_view(self._state, message, self._core.clock.now()))
            case msg.ListDead():
                self._core.turn()
                self._past.dead(peer, message)
            case msg.Watch():
                self._core.turn()
                if self._past.is_live(message.run):
                    self._hub.watch(peer, message)
                else:
                    self._past.answer(peer, message.request, message.run, lambda state: whole_run(state, message))
            case msg.Unwatch():
                self._hub.unwatch(peer, message.watch)
                self._collector.unwatch(peer, message.watch)
                stream = self._streams.get((peer.number, message.watch))
                if stream is not None:
                    stream.cancel()
            case msg.ReadLogs():
                self._read_logs(peer, message)
            case msg.Stage():
                peer.send(msg.Staged(message.request, self._registry.lacks(message.hashes)))
            case msg.Put():
                self._intake.put(peer, message, blob)
            case msg.Fetch():
                self._outlet.send(peer, message)
            case msg.StoreCommands():
                self._lanes.put(peer, message)
            case msg.CloseLane():
                self._lanes.close(peer, message.lane)
            case msg.Resolve():
                peer.send(msg.Resolved(message.request, *self._registry.resolve(message.name)))
            case msg.Ping():
                peer.send(msg.Pong(message.request))
            case msg.Stop():
                self._core.release(lambda: peer.send(msg.Pong(message.request)))
                self._core.release(self._stop)
            case _ if self._files.on_message(peer, message, blob) or self._artifacts.on_message(peer, message):
                pass
            case _ if not (self._failures.on_message(peer, message) or self._secrets.on_message(peer, message)):
                raise ProtocolError(f"a {type(message).__name__} is nothing that a client asks")

    def on_closed(self, peer: Peer) -> None:
        self._hub.forget(peer)
        self._lanes.forget(peer)
        self._collector.forget(peer)
        for key in [key for key in self._opening if key[0] == peer.number]:
            self._core.see(seen.SubmitterGone(self._opening.pop(key)))
        for key in [key for key in self._streams if key[0] == peer.number]:
            self._streams[key].cancel()

    def on_output(self, run: str, job: str) -> None:
        """New output of a job is here, or its state changed: whoever follows it looks again."""
        for event in self._followers.get((run, job), ()):
            event.set()

    def note(self, events: list[ev.Event]) -> None:
        """Wakes the followers of jobs that these events are about, and tells who collects what was returned."""
        self._failures.note(events)
        tell = self._collector.note(events)
        if tell is not None:
            self._core.release(tell)
        if not self._followers:
            return
        jobs = self._state.jobs
        for event in events:
            for number in () if type(event) is ev.ProgressReported else getattr(event, "jobs", ()):
                self.on_output(jobs[number].run.id, jobs[number].name)

    def submitted(self, origin: int, request: int, run: str) -> Callable[[], None] | None:
        """A submission was accepted: what to do after the answer."""
        self._opening.pop((origin, request), None)
        if self._past.is_live(run):
            return self._collector.begin(origin, request, run)
        expected = self._collector.expected(origin, request)
        self._collector.refused(origin, request)
        if expected is None:
            return None
        peer, wanted = expected
        return lambda: self._past.collected(peer, request, run, wanted)

    def refused(self, origin: int, request: int) -> None:
        """A submission was not accepted."""
        self._opening.pop((origin, request), None)
        self._collector.refused(origin, request)

    async def close(self) -> None:
        for task in list(self._streams.values()):
            task.cancel()
        await asyncio.gather(*self._streams.values(), return_exceptions=True)

    # -- runs -----------------------------------------------------------------------------------------------------------
    def _submit(self, peer: Peer, it: msg.Submit) -> None:
        self._check_payloads(it.dag.payloads)
        self._check_submission(peer, it, it.dag.templates)
        self._core.see(asked(it, origin=peer.number, run=self._new_run()))

    def _open_run(self, peer: Peer, it: msg.OpenRun) -> None:
        place = (peer.number, it.request)
        if place in self._opening or sum(key[0] == peer.number for key in self._opening) >= MAX_OPENINGS:
            raise CallerError(f"{MAX_OPENINGS} submissions in parts at once on a connection, each under a request id of its own")
        self._check_submission(peer, it, it.templates)
        run = self._opening[place] = self._new_run()
        self._core.see(asked(it, origin=peer.number, run=run))

    def _add_jobs(self, peer: Peer, it: msg.AddJobs) -> None:
        place = (peer.number, it.request)
        run = self._opening.get(place)
        if run is None:  # the submission was answered already
            return
        try:
            self._check_payloads(it.payloads)
        except NotFound:
            del self._opening[place]
            self._collector.refused(*place)
            self._core.see(seen.SubmitterGone(run))
            raise
        self._core.see(asked(it, origin=peer.number, run=run))
        # The next when this is decided and others had their turn: a large DAG holds up nobody.
        peer.pause_reading("submission")
        asyncio.get_running_loop().call_soon(peer.resume_reading, "submission")

    def _check_submission(self, peer: Peer, it: msg.Submit | msg.OpenRun, templates: list[JobTemplate]) -> None:
        if self._core.low_space:
            raise EnvironmentFault("the disk under the master's journal is nearly full: free space there, then submit again")
        if len(it.key) > 128:
            raise CallerError("a submission key is at most 128 characters")
        self._check_artifacts(templates)
        if not (it.key and (it.key in self._state.keys or it.key in self._state.archived)):  # else it is a run already
            self._secrets.check(templates)
            self._check_webhooks(templates)
        if it.collect:
            self._collector.expect(peer, it.request, it.wanted)

    def _check_dag(self, dag: DagSpec) -> None:
        self._check_payloads(dag.payloads)
        self._check_artifacts(dag.templates)
        self._secrets.check(dag.templates)
        self._check_webhooks(dag.templates)

    def _check_webhooks(self, templates: list[JobTemplate]) -> None:
        """Those whose URL says by itself where it leads. Names are judged when they are resolved, at each try."""
        for template in templates:
            gate = template.gate
            if gate is not None and gate.webhook and (problem := self._webhooks.problem(gate.webhook)):
                raise CallerError(f"the webhook of a gate cannot be told: {problem}")

    def _check_artifacts(self, templates: list[JobTemplate]) -> None:
        for template in templates:
            for hash_ in (template.file_hash, template.archive, template.function):
                if hash_ and not self._registry.has(hash_):
                    what = template.file or ("a function" if hash_ == template.function else "an artifact")
                    raise NotFound(f"{what} ({hash_[:12]}) is not on the master: stage it before you submit")

    def _check_payloads(self, payloads: list[bytes]) -> None:
        for payload in [p for p in payloads if len(p) == BY_CONTENT_BYTES]:
            arguments = artifact_of(payload)
            if arguments is not None and not self._registry.has(arguments):
                raise NotFound(f"the arguments of a call ({arguments[:12]}) are not on the master: stage them before you submit")

    def _replace_service(self, peer: Peer, it: msg.ReplaceService) -> None:
        if it.file_hash and not self._registry.has(it.file_hash):
            raise NotFound(f"{it.file} ({it.file_hash[:12]}) is not on the master: stage it before you ask")
        self._core.see(asked(it, origin=peer.number))

    def _new_run(self) -> str:
        """Ids sort by submission, also within a millisecond. The 15th bit of the entropy is the core's, for what schedules make."""
        at_ms = int(self._core.clock.now() * 1000)
        name = run_id(at_ms, secrets.randbits(14))
        while name <= self._last_run or name in self._state.runs:
            at_ms += 1
            name = run_id(at_ms, secrets.randbits(14))
        self._last_run = name
        return name

    def _answer_of(self, peer: Peer, ask: msg.Message, run: str, view: Callable[[State], list[msg.Message]]) -> None:
        """What is asked about a run, wherever that is."""
        self._core.turn()
        if not self._past.is_live(run):
            self._past.answer(peer, ask.request, run, view)
            return
        answer = view(self._state)
        for message in answer:
            self._core.release(partial(peer.send, message))

    def _answer(self, peer: Peer, view: Callable[[], msg.Message]) -> None:
        self._core.turn()
        answer = view()
        self._core.release(lambda: peer.send(answer))

    # -- logs -----------------------------------------------------------------------------------------------------------
    def _read_logs(self, peer: Peer, it: msg.ReadLogs) -> None:
        if self._past.is_live(it.run):
            self._start_logs(peer, it, self._state)
        else:
            self._past.with_run(peer, it.request, it.run, lambda state: self._start_logs(peer, it, state))

    def _start_logs(self, peer: Peer, it: msg.ReadLogs, state: State) -> None:
        run = views.find_run(state, it.run)
        job = state.jobs[views.find_job(state, run, it.job)]
        if it.attempt > job.attempt or it.attempt < 0:
            raise NotFound(f"{it.run}/{it.job} has had {job.attempt} attempts; there is no attempt {it.attempt}")
        key = (peer.number, it.request)
        task = asyncio.get_running_loop().create_task(self._stream_logs(peer, it, job))
        self._streams[key] = task
        task.add_done_callback(lambda _: self._streams.pop(key, None))

    async def _stream_logs(self, peer: Peer, it: msg.ReadLogs, job: Job) -> None:
        """All output of one attempt. With `follow` and attempt 0: of every attempt from the newest on, until the job is over."""
        attempt = it.attempt or max(job.attempt, 1)
        seen_bytes: dict[int, int] = {}
        place, event = (it.run, it.job), asyncio.Event()
        followers = self._followers.setdefault(place, {})
        followers[event] = None
        try:
            while True:
                event.clear()
                over = job.state in TERMINAL or (it.attempt > 0 and not _is_at(job.attempt, job.state, attempt))
                newest = job.attempt
                for stream, offset, data in self._logs.pieces(it.run, it.job, attempt, seen_bytes):
                    peer.send(msg.LogChunk(it.request, attempt, stream, offset), data)
                    await peer.drain()
                if not it.attempt and newest > attempt:
                    attempt, seen_bytes = attempt + 1, {}
                    continue
                if over or not it.follow:
                    peer.send(msg.LogChunk(it.request, attempt, 1, seen_bytes.get(1, 0), True), b"")
                    return
                await event.wait()
        except ConnectionError:
            pass
        except (TitanError, OSError) as e:
            peer.send(error_of(it.request, e if isinstance(e, TitanError) else EnvironmentFault(f"the log cannot be read: {e}")))
        finally:
            del followers[event]
            if not followers:
                self._followers.pop(place, None)


def _is_at(current: int, state: JobState, attempt: int) -> bool:
    """Whether that attempt may still print."""
    return current <= attempt and state in (
        JobState.DISPATCHED,
        JobState.RUNNING,
        JobState.QUEUED,
        JobState.WAITING,
        JobState.DELAYED,
    )
