"""Messages become inputs: checked, with times and texts as they may be, and none for what is no business of the core.

A shell does before it what only it can (which artifacts are here, what of an attempt's output was lost), and says what it alone
knows: whose connection it is, the id of a new run, a draw of chance.
"""

from __future__ import annotations

from hashlib import sha256

from titan.core import inputs as seen
from titan.errors import ProtocolError
from titan.gateway.admission import changed_facts, check_columns, check_draws, check_registration, check_results, facts_of
from titan.model.plain import plain
from titan.protocol import messages as msg

MAX_REASON = 500
MAX_TEXT = 1024


def digest_of(token: str) -> bytes:
    """What the core knows of the token of a gate: SHA-256, 32 bytes."""
    return sha256(token.encode()).digest()


def registration(it: msg.Register, *, origin: int, host: str, cluster: str) -> seen.WorkerRegistered:
    """What a worker holds counts only if it is of this `cluster`. Raises CallerError, ProtocolError."""
    check_registration(it)
    ours = it.cluster == cluster
    return seen.WorkerRegistered(
        origin=origin,
        request=it.request,
        name=it.name,
        incarnation=it.incarnation,
        capabilities=tuple(dict.fromkeys(it.capabilities)),
        slots=it.slots,
        facts=facts_of(it, host),
        leases=it.leases if ours else [],
        started=it.started if ours else [],
        draining=it.draining,
        draws=it.draws if ours else (),
        draw_of=it.draw_of if ours else [],
    )


def worker_input(it: msg.Message, worker: int, *, jitter: float) -> seen.Input | None:
    """What the core sees in a message of a registered worker. Raises ProtocolError."""
    match it:
        case msg.Heartbeat():
            check_columns(it)
            check_draws(it)
            facts = changed_facts(it) if it.facts else {}
            return seen.WorkerBeat(worker, it.leases, it.started, it.draws, it.draw_of, facts)
        case msg.Results():
            check_results(it)
            reasons = [plain(reason) for reason in it.reasons]
            columns = (it.leases, it.outcomes, it.exit_codes, reasons, it.started, it.finished, it.cpu_s, it.peak_bytes)
            lost = [plain(why) for why in it.lost]
            return seen.ResultsReported(worker, *columns, jitter, it.values, it.outputs, lost)
        case msg.Started():
            check_columns(it)
            return seen.AttemptsStarted(worker, it.leases, it.ats)
        case msg.Awaiting():
            check_columns(it)
            return seen.LeasesAwaiting(worker, it.leases)
        case msg.ServiceStates():
            check_columns(it)
            reasons = [plain(reason, MAX_REASON) for reason in it.reasons]
            about = (it.leases, it.serials, it.started, it.ready_ats, it.ports, it.restarts, reasons, it.next_starts)
            return seen.ServicesSeen(worker, *about)
        case msg.Progress():
            check_columns(it)
            if not all(fraction == -1.0 or 0.0 <= fraction <= 1.0 for fraction in it.fractions):
                raise ProtocolError("a progress that is not 0 to 1, nor -1")
            return seen.ProgressSeen(worker, it.leases, it.fractions, [plain(text, MAX_TEXT) for text in it.messages])
        case msg.Statuses():
            check_columns(it)
            return seen.StatusesSeen(worker, it.leases, [plain(text, MAX_TEXT) for text in it.texts])
        case msg.Draining():
            return seen.WorkerDraining(worker)
        case msg.Leaving():
            return seen.WorkerLeaving(worker)
    return None


def client_input(it: msg.Message, *, origin: int, actor: str = "", run: str = "") -> seen.Input | None:
    """What the core sees in a message of a client. `run`: the id of a new run, or of the one that the message adds to; `actor`: who
    asks."""
    match it:
        case msg.Submit(request, key, dag):
            return seen.DagSubmitted(origin, request, run, key, dag, actor)
        case msg.OpenRun():
            head = (it.key, it.name, it.version, it.templates, it.count, it.deadline_s, it.group)
            return seen.RunBegun(origin, it.request, run, *head, actor)
        case msg.AddJobs(request, position, ids, template_of, args, parents, payloads):
            return seen.JobsArrived(origin, request, run, position, ids, template_of, args, parents, payloads)
        case msg.Cancel(request, of_run, job):
            return seen.CancelRequested(origin, request, of_run, job, actor)
        case msg.Decide():
            digest = digest_of(it.token) if it.token else b""
            return seen.GateDecisionMade(origin, it.request, it.run, it.job, it.approve, it.by, it.comment, it.key, digest, actor)
        case msg.TellWorker(request, name, now):
            return seen.WorkerToldToLeave(origin, request, name, now, actor)
        case msg.StopService(request, of_run, job):
            return seen.ServiceStopRequested(origin, request, of_run, job, actor)
        case msg.ReplaceService():
            return seen.ServiceReplaceRequested(
                origin, it.request, it.run, it.job, it.file, it.file_hash, it.command, it.argv, it.args, actor
            )
        case msg.AddSchedule():
            policies = (it.overlap, it.catch_up, it.paused, it.replace)
            return seen.ScheduleRequested(origin, it.request, it.key, it.name, it.dag, it.timing, *policies, actor)
        case msg.PauseSchedule(request, name, paused):
            return seen.PauseRequested(origin, request, name, paused, actor)
        case msg.RemoveSchedule(request, name):
            return seen.RemovalRequested(origin, request, name, actor)
        case msg.RunSchedule(request, key, name):
            return seen.ScheduleRunRequested(origin, request, run, key, name, actor)
        case msg.SavePipeline():
            return seen.PipelineSaveRequested(origin, it.request, it.name, it.dag, it.replace, actor)
        case msg.RemovePipeline(request, name):
            return seen.PipelineRemovalRequested(origin, request, name, actor)
        case msg.RemoveArtifact(request, key):
            return seen.UnpublishRequested(origin, request, key, actor)
    return None


def asked(it: msg.Message, *, origin: int, actor: str, run: str = "") -> seen.Input:
    """As `client_input`. Raises ProtocolError for what is none."""
    one = client_input(it, origin=origin, actor=actor, run=run)
    if one is None:
        raise ProtocolError(f"a {type(it).__name__} is nothing that a client asks")
    return one


def growth_input(it: msg.Grow, *, origin: int, worker: int, actor: str = "") -> seen.RunGrowthRequested:
    """`worker`: whose job it is that adds; 0 for a client, which cannot put jobs before a job's children."""
    how = (it.before, it.before_children and worker > 0)
    return seen.RunGrowthRequested(origin, it.request, worker, it.lease, it.run, it.key, it.dag, *how, "" if worker else actor)


def publish_input(it: msg.Publish, *, origin: int, worker: int, actor: str = "") -> seen.PublishRequested:
    """`worker`: whose attempt publishes; 0 for a client."""
    what = (it.key, it.hash, it.size, it.kind, worker, it.lease, it.shared)
    return seen.PublishRequested(origin, it.request, *what, "" if worker else actor)


def retry_input(it: msg.RetryDead, *, origin: int, actor: str, chunks: list[bytes]) -> seen.DeadRetried:
    """`chunks`: the run as the history has it, if that is where it is."""
    return seen.DeadRetried(origin, it.request, it.run, it.job, it.by or actor or "a user", it.key, chunks, actor)


def purge_input(it: msg.PurgeDead, *, origin: int, actor: str, chunks: list[bytes]) -> seen.DeadDismissed:
    """`chunks` as in `retry_input`."""
    return seen.DeadDismissed(origin, it.request, it.run, it.job, chunks, actor)
