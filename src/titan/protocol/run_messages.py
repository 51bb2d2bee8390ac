"""The row of a run, and messages about its graph and its attempts."""

from __future__ import annotations

import msgspec

from titan.model.dag import JobTemplate
from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, ExitCode, Measured, Name, StateNumber, Text


class RunRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Run as users see it. `tally`: number of jobs in each state, by the state's number.

    `schedule`: the schedule that started the run, for the nominal time `scheduled_at`.
    `deadline_at`: the run's deadline. `actor`: the user who requested the run. `reused`: number of
    jobs that reused an earlier result. For a run in the history, RunStatus has these fields and
    Runs does not.
    """

    run: Name
    dag: Name
    version: Name
    state: StateNumber
    jobs: Count
    tally: Column[Count]
    submitted_at: Measured
    finished_at: Measured
    schedule: Name = ""
    scheduled_at: Measured = 0.0
    deadline_at: Measured = 0.0
    group: Name = ""
    actor: Name = ""
    reused: Count = 0


class GetGraph(Message, frozen=True):
    """Read the graph of a run with at most `limit` jobs from position `after` in the DAG."""

    run: Name
    after: Count = 0
    limit: Count = 5000


class Graph(Message, frozen=True):
    """Page of a run's graph, in columns: the job's id, the index of its template in `templates`,
    and the positions of its parents. Jobs that were added to the run later come last.

    `next`: the `after` of the next page, 0 if this is the last. `total`: number of the run's jobs.
    A page has fewer jobs than the limit if their templates are large.
    """

    templates: Column[JobTemplate]
    ids: Column[Name]
    template_of: Column[Count]
    parents: Column[Column[Count]]
    next: Count = 0
    total: Count = 0


class GetAttempts(Message, frozen=True):
    """Read the attempts of `job`. `job` "": of all jobs from position `after` in the DAG on, about
    `limit` attempts."""

    run: Name
    job: Name = ""
    after: Count = 0
    limit: Count = 10000


class AttemptRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Attempt of a job. Times are in seconds since the epoch, 0 for not yet or not known.

    `worker`: "" while the job is queued for the attempt. `outcome`: name of an Outcome, "CANCELLED"
    for an attempt that a cancellation ended, "" while the attempt goes on. `exit_code`: -1 for
    none.
    """

    job: Name
    attempt: Count
    worker: Name
    queued_at: Measured
    sent_at: Measured
    started_at: Measured
    finished_at: Measured
    outcome: Name = ""
    exit_code: ExitCode = -1
    reason: Text = ""
    cpu_s: Measured = 0.0
    peak_bytes: Count = 0


class Attempts(Message, frozen=True):
    """Page of attempts, by job and then by time. `next`: the `after` of the next page, 0 if this is
    the last. The master remembers a limited number of attempts of a job: the newest."""

    attempts: Column[AttemptRow]
    next: Count = 0
