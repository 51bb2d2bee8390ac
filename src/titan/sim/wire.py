"""Between the core's words and the protocol's: the part of the master's shell that has no sockets in it."""

from __future__ import annotations

from hashlib import sha256

from titan.core import inputs as seen
from titan.protocol import messages as pm


def input_of(message: pm.Message, *, origin: int, worker: int, run: str, jitter: float) -> seen.Input | None:
    """What the core sees in a message. `worker` is whose connection it is, `run` the id of a new run or
    of the one that the message adds to.
    """
    match message:
        case pm.Submit(request, key, dag):
            return seen.DagSubmitted(origin, request, run, key, dag)
        case pm.OpenRun() as o:
            return seen.RunBegun(origin, o.request, run, o.key, o.name, o.version, o.templates, o.count, o.deadline_s, o.group)
        case pm.Grow() as g:
            how = (g.before, g.before_children and worker > 0)
            return seen.RunGrowthRequested(origin, g.request, worker, g.lease, g.run, g.key, g.dag, *how)
        case pm.AddSchedule() as a:
            policies = (a.overlap, a.catch_up, a.paused, a.replace)
            return seen.ScheduleRequested(origin, a.request, a.key, a.name, a.dag, a.timing, *policies)
        case pm.PauseSchedule(request, name, paused):
            return seen.PauseRequested(origin, request, name, paused)
        case pm.RemoveSchedule(request, name):
            return seen.RemovalRequested(origin, request, name)
        case pm.RunSchedule(request, key, name):
            return seen.ScheduleRunRequested(origin, request, run, key, name)
        case pm.AddJobs(request, position, ids, template_of, args, parents, payloads):
            return seen.JobsArrived(origin, request, run, position, ids, template_of, args, parents, payloads)
        case pm.Cancel(request, run_id, job):
            return seen.CancelRequested(origin, request, run_id, job)
        case pm.Decide(request, run_id, job, approve, by, comment, key, token):
            digest = sha256(token.encode()).digest() if token else b""
            return seen.GateDecisionMade(origin, request, run_id, job, approve, by, comment, key, digest)
        case pm.TellWorker(request, name, now):
            return seen.WorkerToldToLeave(origin, request, name, now)
        case pm.StopService(request, run_id, job):
            return seen.ServiceStopRequested(origin, request, run_id, job)
        case pm.ReplaceService() as r:
            what = (r.run, r.job, r.file, r.file_hash, r.command, r.argv, r.args)
            return seen.ServiceReplaceRequested(origin, r.request, *what)
        case pm.Register() as r:
            return seen.WorkerRegistered(
                origin=origin,
                request=r.request,
                name=r.name,
                incarnation=r.incarnation,
                capabilities=r.capabilities,
                slots=r.slots,
                facts=r.facts,
                leases=r.leases,
                started=r.started,
                draining=r.draining,
                draws=r.draws,
                draw_of=r.draw_of,
            )
    if not worker:
        return None  # only a registered worker says the rest
    match message:
        case pm.Heartbeat() as h:
            return seen.WorkerBeat(worker, h.leases, h.started, h.draws, h.draw_of, h.facts)
        case pm.Awaiting(_, leases):
            return seen.LeasesAwaiting(worker, leases)
        case pm.Started(_, leases, ats):
            return seen.AttemptsStarted(worker, leases, ats)
        case pm.Results(_, leases, outcomes, codes, reasons, started, finished, cpu_s, peak_bytes, values, outputs):
            columns = (leases, outcomes, codes, reasons, started, finished, cpu_s, peak_bytes)
            return seen.ResultsReported(worker, *columns, jitter, values, outputs)
        case pm.ServiceStates(_, leases, serials, started, ready_ats, ports, restarts, reasons, next_starts):
            return seen.ServicesSeen(worker, leases, serials, started, ready_ats, ports, restarts, reasons, next_starts)
        case pm.Progress(_, leases, fractions, texts):
            return seen.ProgressSeen(worker, leases, fractions, texts)
        case pm.Statuses(_, leases, texts):
            return seen.StatusesSeen(worker, leases, texts)
        case pm.Draining():
            return seen.WorkerDraining(worker)
        case pm.Leaving():
            return seen.WorkerLeaving(worker)
    return None


def describe(message: pm.Message) -> str:
    """One short line for the trace."""
    name = type(message).__name__
    leases: list[int] = getattr(message, "leases", [])
    told = " ".join([f"{n >> 32}.{n & 0xFFFFFFFF}" for n in leases])
    match message:
        case pm.Dispatch(_, _, _, _, jobs, attempts):
            return f"{name} [{told}] {' '.join([f'{j}#{a}' for j, a in zip(jobs, attempts, strict=True)])}"
        case pm.Results(_, _, outcomes):
            return f"{name} [{told}] {outcomes}"
        case pm.Register():
            return f"{name} {message.name} {message.incarnation} [{told}]"
        case pm.Submitted(_, run, _):
            return f"{name} {run}"
        case (
            pm.Cancel(_, run, job)
            | pm.RetryDead(_, run, job)
            | pm.PurgeDead(_, run, job)
            | pm.StopService(_, run, job)
            | pm.ReplaceService(_, run, job)
        ):
            return f"{name} {run}/{job}"
        case pm.Decide() | pm.Decided():
            return f"{name} {message.run}/{message.job} by {message.by}"
        case pm.Error(_, code, text):
            return f"{name} {code}: {text}"
    return f"{name} [{told}]" if leases else name
