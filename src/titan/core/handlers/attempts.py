"""Start and end of attempts: completion, failure with retries, loss, and the effect on
dependents."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from titan.core import effects as fx
from titan.core.events import events as ev
from titan.core.handlers.cancel import cancel_descendants, dismiss
from titan.core.handlers.ready import choose_pins, release, unlock
from titan.core.handlers.result_cache import keep_results
from titan.core.handlers.services import service_retry_at
from titan.core.handlers.sick_workers import BREAKS_LIMIT, is_blameless, note_broken, note_sound
from titan.core.handlers.worker_figures import MAX_CPU_S, made_possible, started_within
from titan.core.inputs import AttemptsStarted, ResultsReported
from titan.core.state.state import Job, State
from titan.core.turn import Turn
from titan.model.backoff import backoff_delay, jittered
from titan.model.dag import MAX_MEMORY, JobTemplate, Retry
from titan.model.files import has_left_all
from titan.model.settings import Settings
from titan.model.states import JobState, Outcome

_GOLDEN = 0.6180339887498949


def on_attempts_started(turn: Turn, received: AttemptsStarted) -> None:
    report_started(turn, received.worker, received.leases, received.ats)


def report_started(turn: Turn, worker: int, leases: Sequence[int], ats: Sequence[float]) -> None:
    """Record the start of current attempts that are not yet known to run. A time of 0 in `ats`
    means that the attempt has not started."""
    state = turn.state
    held = state.workers[worker].held
    times: dict[int, float] = {}
    for lease, at in zip(leases, ats, strict=True):
        number = held.get(lease)
        if at and number is not None and state.jobs[number].state is JobState.DISPATCHED:
            times.setdefault(number, started_within(state.jobs[number], at, turn.now))
    if times:
        turn.emit(ev.JobsStarted(worker, list(times), list(times.values()), turn.now))


def on_results_reported(turn: Turn, received: ResultsReported) -> None:
    """Record results and acknowledge all of them. A result of an attempt that is not current only
    changes the worker's load."""
    state, succeeded = turn.state, Outcome.SUCCEEDED
    jobs, worker = state.jobs, state.workers[received.worker]
    good: list[int] = []
    bad: list[int] = []
    returned: list[int] = []
    ended: list[int] = []
    retired: list[int] = []
    current: dict[int, int] = {}
    implausible: dict[int, int] = {}
    began, ended_at, cpu_s, peak_bytes, now = received.started, received.finished, received.cpu_s, received.peak_bytes, turn.now
    for i, lease in enumerate(received.leases):
        number = worker.held.get(lease)
        if number is None or number in current:
            if lease in worker.ending:
                ended.append(lease)
            elif lease in worker.retiring and lease not in retired:
                retired.append(lease)
            continue
        current[number] = i
        plausible = jobs[number].since <= began[i] <= ended_at[i] <= now and 0.0 <= cpu_s[i] <= MAX_CPU_S
        if not plausible or peak_bytes[i] > MAX_MEMORY:
            implausible[i] = number
        outcome = received.outcomes[i]
        if outcome != succeeded:
            (returned if outcome == Outcome.RETURNED else bad).append(number)
        elif jobs[number].template.outputs and not has_left_all(
            jobs[number].template, received.outputs[i] if received.outputs else ()
        ):
            received = _broken(received, i)
            bad.append(number)
        else:
            good.append(number)
    if implausible:
        received = made_possible(jobs, received, implausible, turn.now)
    if ended:
        turn.emit(ev.LeasesEnded(received.worker, ended, turn.now))
    if retired:
        turn.emit(ev.ServicesRetired(received.worker, retired, turn.now))
    if good:
        at = [current[number] for number in good]
        turn.emit(
            ev.JobsCompleted(
                worker=received.worker,
                jobs=good,
                started=[received.started[i] for i in at],
                finished=[received.finished[i] for i in at],
                cpu_s=[received.cpu_s[i] for i in at],
                peak_bytes=[received.peak_bytes[i] for i in at],
                at=turn.now,
                values=[received.values[i] for i in at] if received.values else [],
                outputs=[received.outputs[i] for i in at] if received.outputs else [],
                reasons=[received.reasons[i] for i in at] if any(map(received.reasons.__getitem__, at)) else [],
                lost=_lost(received, at),
            )
        )
        keep_results(turn, good)
        turn.runs.update((state.jobs[number].run.id, state.jobs[number].run) for number in good)
        if state.workers[received.worker].aside_until:
            note_sound(turn, received.worker)
        dismiss(turn, unlock(turn, good))
    if returned:
        lose(turn, received.worker, returned, [], "handed back by its worker")
    if bad:
        _fail(turn, received, bad, [current[number] for number in bad])
    turn.order(fx.SendAck(received.worker, received.leases))


def _lost(received: ResultsReported, at: list[int]) -> list[str]:
    lost = [received.lost[i] for i in at] if received.lost else []
    return lost if any(lost) else []


def _broken(received: ResultsReported, i: int) -> ResultsReported:
    outcomes, reasons = list(received.outcomes), list(received.reasons)
    outcomes[i], reasons[i] = Outcome.BROKEN, "its worker reported no output files; it may be an older Titan: upgrade the worker"
    return replace(received, outcomes=outcomes, reasons=reasons)


def _fail(turn: Turn, received: ResultsReported, jobs: list[int], at: list[int]) -> None:
    state = turn.state
    blameless = [n for n, i in zip(jobs, at, strict=True) if is_blameless(state.jobs[n], received.outcomes[i])]
    retry_at = [
        0.0
        if is_final(state.jobs[number].template, received.outcomes[i], received.exit_codes[i])
        else _retry_at(state, turn.now, number, received.outcomes[i], received.jitter)
        for number, i in zip(jobs, at, strict=True)
    ]
    turn.emit(
        ev.JobsFailed(
            worker=received.worker,
            jobs=jobs,
            outcomes=[received.outcomes[i] for i in at],
            exit_codes=[received.exit_codes[i] for i in at],
            reasons=[_reason(state.jobs[n], received, i) for n, i in zip(jobs, at, strict=True)],
            started=[received.started[i] for i in at],
            finished=[received.finished[i] for i in at],
            cpu_s=[received.cpu_s[i] for i in at],
            peak_bytes=[received.peak_bytes[i] for i in at],
            retry_at=retry_at,
            at=turn.now,
            values=[received.values[i] for i in at] if received.values else [],
            blameless=blameless,
            lost=_lost(received, at),
        )
    )
    if len(blameless) < len(jobs):
        note_sound(turn, received.worker)
    else:
        note_broken(turn, received.worker, received.reasons[at[-1]])
    bury(turn, [number for number, due in zip(jobs, retry_at, strict=True) if not due], "")


def _retry_at(state: State, now: float, number: int, outcome: int, jitter: float) -> float:
    """Return the time of the next attempt; 0 if there is none."""
    job = state.jobs[number]
    if job.service is not None and (outcome != Outcome.BROKEN or job.service.old_lease):
        return service_retry_at(state, now, number, outcome)
    if is_blameless(job, outcome):
        breaks = job.extra.breaks if job.extra is not None else 0
        return (
            0.0 if breaks + 1 >= BREAKS_LIMIT else now + backoff_s(state.settings, None, breaks, (jitter + number * _GOLDEN) % 1.0)
        )
    if outcome == Outcome.REFUSED or job.failures >= job.template.retries:
        return 0.0
    return now + backoff_s(state.settings, job.template.retry, job.failures, (jitter + number * _GOLDEN) % 1.0)


def is_final(template: JobTemplate, outcome: int, exit_code: int) -> bool:
    """Return True if the job declares that this exit code is not worth a retry."""
    return outcome == Outcome.EXITED and template.retry is not None and exit_code in template.retry.final_codes


def _reason(job: Job, received: ResultsReported, i: int) -> str:
    if is_blameless(job, received.outcomes[i]) and job.extra is not None and job.extra.breaks + 1 >= BREAKS_LIMIT:
        return f"{received.reasons[i]} (workers broke {BREAKS_LIMIT} attempts of this job, which is the limit: see `titan workers`)"
    template = job.template
    final = is_final(template, received.outcomes[i], received.exit_codes[i])
    return f"{received.reasons[i]} (no_retry lists this exit code)" if final else received.reasons[i]


def backoff_s(settings: Settings, retry: Retry | None, failures: int, jitter: float) -> float:
    """Return the wait in seconds after `failures` earlier failures: exponential and capped.
    `jitter` in [0, 1) scales the wait to between half and all of its length."""
    base = (retry.backoff_s if retry is not None else 0.0) or settings.backoff_base_s
    most = (retry.backoff_max_s if retry is not None else 0.0) or max(settings.backoff_max_s, base)
    return jittered(backoff_delay(failures, base, most), jitter)


def bury(turn: Turn, jobs: list[int], reason: str) -> None:
    """Mark jobs DEAD, cancel the dependents that can never run, and make their handlers ready."""
    if not jobs:
        return
    turn.emit(ev.JobsDied(jobs, reason, turn.now))
    for number in jobs:
        job = turn.state.jobs[number]
        turn.runs[job.run.id] = job.run
        cancel_descendants(turn, number, f"its ancestor {job.name} is DEAD: {job.reason}")


def lose(turn: Turn, worker: int, jobs: list[int], blamed: list[int], reason: str, doubted: Sequence[int] = ()) -> None:
    """Record attempts that ended without a result. A job during whose attempts too many workers
    were lost is poison and becomes DEAD; the other jobs are queued again.

    `blamed` jobs were running. `doubted` jobs were next to start and may have been running, because
    a worker that a job takes down at once cannot report the start. A doubt counts half, because the
    job may not be the cause.
    """
    if not jobs:
        return
    state = turn.state
    limit = 2 * state.settings.poison_losses
    weight = {**dict.fromkeys(doubted, 1), **dict.fromkeys(blamed, 2)}
    poison = [n for n, more in weight.items() if 2 * state.jobs[n].losses + state.jobs[n].doubts + more >= limit]
    buried = dict.fromkeys(poison)
    again = [number for number in jobs if number not in buried]
    if again:
        pins, released = choose_pins(state, again)
        left = [[number for number in column if number not in buried] for column in (blamed, doubted)]
        turn.emit(ev.JobsLost(worker, again, left[0], reason, turn.now, pins, left[1]))
        for home, numbers in released.items():
            release(turn, home, numbers)
    for number in poison:
        job = state.jobs[number]
        running, waiting = job.losses + (weight[number] == 2), job.doubts + (weight[number] == 1)
        losses = f"{running} workers were lost while they ran it"
        losses += f", {waiting} when they were about to" if waiting else ""
        bury(turn, [number], f"poison: {losses} ({reason})")
