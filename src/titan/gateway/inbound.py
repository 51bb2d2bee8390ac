"""Conversion of messages into checked inputs of the core.

Messages that do not concern the core give no input. Before the conversion, the shell checks that
artifacts exist, and adds to results the reasons why output was lost. The shell also supplies the
connection, the id of a new run and random numbers.
"""

from __future__ import annotations

from hashlib import sha256

from titan.core import inputs
from titan.errors import ProtocolError
from titan.gateway.admission import changed_facts, check_columns, check_draws, check_registration, check_results, facts_of
from titan.model.plain import plain
from titan.protocol import messages as msg

MAX_REASON = 500
MAX_TEXT = 1024


def digest_of(token: str) -> bytes:
    """Return the digest (SHA-256, 32 bytes) of a gate's token. The core keeps only the digest."""
    return sha256(token.encode()).digest()


def registration(message: msg.Register, *, origin: int, host: str, cluster: str) -> inputs.WorkerRegistered:
    """Return the input of a registration. Attempts of another cluster than `cluster` are left out.

    Raises CallerError, ProtocolError.
    """
    check_registration(message)
    ours = message.cluster == cluster
    return inputs.WorkerRegistered(
        origin=origin,
        request=message.request,
        name=message.name,
        incarnation=message.incarnation,
        capabilities=tuple(dict.fromkeys(message.capabilities)),
        slots=message.slots,
        facts=facts_of(message, host),
        leases=message.leases if ours else [],
        started=message.started if ours else [],
        draining=message.draining,
        draws=message.draws if ours else (),
        draw_of=message.draw_of if ours else [],
    )


def worker_input(message: msg.Message, worker: int, *, jitter: float) -> inputs.Input | None:
    """Return the input for a message of a registered worker, None if there is none. Raises
    ProtocolError."""
    match message:
        case msg.Heartbeat():
            check_columns(message)
            check_draws(message)
            facts = changed_facts(message) if message.facts else {}
            return inputs.WorkerBeat(worker, message.leases, message.started, message.draws, message.draw_of, facts)
        case msg.Results():
            check_results(message)
            reasons = [plain(reason) for reason in message.reasons]
            columns = (
                message.leases,
                message.outcomes,
                message.exit_codes,
                reasons,
                message.started,
                message.finished,
                message.cpu_s,
                message.peak_bytes,
            )
            lost = [plain(why) for why in message.lost]
            return inputs.ResultsReported(worker, *columns, jitter, message.values, message.outputs, lost)
        case msg.Started():
            check_columns(message)
            return inputs.AttemptsStarted(worker, message.leases, message.ats)
        case msg.Awaiting():
            check_columns(message)
            return inputs.LeasesAwaiting(worker, message.leases)
        case msg.ServiceStates():
            check_columns(message)
            reasons = [plain(reason, MAX_REASON) for reason in message.reasons]
            about = (
                message.leases,
                message.serials,
                message.started,
                message.ready_ats,
                message.ports,
                message.restarts,
                reasons,
                message.next_starts,
            )
            return inputs.ServicesSeen(worker, *about)
        case msg.Progress():
            check_columns(message)
            if not all(fraction == -1.0 or 0.0 <= fraction <= 1.0 for fraction in message.fractions):
                raise ProtocolError("a progress is neither 0 to 1 nor -1")
            return inputs.ProgressSeen(
                worker, message.leases, message.fractions, [plain(text, MAX_TEXT) for text in message.messages]
            )
        case msg.Statuses():
            check_columns(message)
            return inputs.StatusesSeen(worker, message.leases, [plain(text, MAX_TEXT) for text in message.texts])
        case msg.Draining():
            return inputs.WorkerDraining(worker)
        case msg.Leaving():
            return inputs.WorkerLeaving(worker)
    return None


def client_input(message: msg.Message, *, origin: int, actor: str = "", run: str = "") -> inputs.Input | None:
    """Return the input for a message of a client, None if there is none.

    `run`: the id of a new run, or of the run that the message adds to. `actor`: the requesting
    user.
    """
    match message:
        case msg.Submit(request, key, dag):
            return inputs.DagSubmitted(origin, request, run, key, dag, actor)
        case msg.OpenRun():
            head = (message.key, message.name, message.version, message.templates, message.count, message.deadline_s, message.group)
            return inputs.RunBegun(origin, message.request, run, *head, actor, message.source, message.fresh)
        case msg.AddJobs(request, position, ids, template_of, args, parents, payloads):
            return inputs.JobsArrived(origin, request, run, position, ids, template_of, args, parents, payloads)
        case msg.Cancel(request, of_run, job, unstarted):
            return inputs.CancelRequested(origin, request, of_run, job, actor, unstarted)
        case msg.Decide():
            digest = digest_of(message.token) if message.token else b""
            return inputs.GateDecisionMade(
                origin,
                message.request,
                message.run,
                message.job,
                message.approve,
                message.by,
                message.comment,
                message.key,
                digest,
                actor,
            )
        case msg.TellWorker(request, name, now):
            return inputs.WorkerToldToLeave(origin, request, name, now, actor)
        case msg.StopService(request, of_run, job):
            return inputs.ServiceStopRequested(origin, request, of_run, job, actor)
        case msg.ReplaceService():
            return inputs.ServiceReplaceRequested(
                origin,
                message.request,
                message.run,
                message.job,
                message.file,
                message.file_hash,
                message.command,
                message.argv,
                message.args,
                actor,
            )
        case msg.AddSchedule():
            policies = (message.overlap, message.catch_up, message.paused, message.replace)
            return inputs.ScheduleRequested(
                origin, message.request, message.key, message.name, message.dag, message.timing, *policies, actor
            )
        case msg.PauseSchedule(request, name, paused):
            return inputs.PauseRequested(origin, request, name, paused, actor)
        case msg.RemoveSchedule(request, name):
            return inputs.RemovalRequested(origin, request, name, actor)
        case msg.RunSchedule(request, key, name):
            return inputs.ScheduleRunRequested(origin, request, run, key, name, actor)
        case msg.SavePipeline():
            return inputs.PipelineSaveRequested(origin, message.request, message.name, message.dag, message.replace, actor)
        case msg.RemovePipeline(request, name):
            return inputs.PipelineRemovalRequested(origin, request, name, actor)
        case msg.RemoveArtifact(request, key):
            return inputs.UnpublishRequested(origin, request, key, actor)
    return None


def request_input(message: msg.Message, *, origin: int, actor: str, run: str = "") -> inputs.Input:
    """Return the input as `client_input` does. Raises ProtocolError if the message gives no
    input."""
    request = client_input(message, origin=origin, actor=actor, run=run)
    if request is None:
        raise ProtocolError(f"a {type(message).__name__} is not a request of a client")
    return request


def growth_input(message: msg.Grow, *, origin: int, worker: int, actor: str = "") -> inputs.RunGrowthRequested:
    """Return the input of an addition to a run.

    `worker`: the worker of the requesting job; 0 for a client, which has no job whose children
    could wait for the added jobs.
    """
    placement = (message.before, message.before_children and worker > 0)
    return inputs.RunGrowthRequested(
        origin, message.request, worker, message.lease, message.run, message.key, message.dag, *placement, "" if worker else actor
    )


def publish_input(message: msg.Publish, *, origin: int, worker: int, actor: str = "") -> inputs.PublishRequested:
    """Return the input of a publication. `worker`: the worker of the attempt; 0 for a client."""
    content = (message.key, message.hash, message.size, message.kind, worker, message.lease, message.shared)
    return inputs.PublishRequested(origin, message.request, *content, "" if worker else actor)


def retry_input(message: msg.RetryDead, *, origin: int, actor: str, chunks: list[bytes]) -> inputs.DeadRetried:
    """Return the input of a retry. `chunks`: the run from the history, if it is not in memory."""
    return inputs.DeadRetried(
        origin, message.request, message.run, message.job, message.by or actor or "a user", message.key, chunks, actor
    )


def purge_input(message: msg.PurgeDead, *, origin: int, actor: str, chunks: list[bytes]) -> inputs.DeadDismissed:
    """Return the input of a purge. `chunks` as in `retry_input`."""
    return inputs.DeadDismissed(origin, message.request, message.run, message.job, chunks, actor)
