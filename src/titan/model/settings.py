"""Every interval and limit of the cluster that a site may set, with its default. Seconds and bytes."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    heartbeat_s: float = 5.0
    """How often a worker says which attempts it holds."""
    loss_s: float = 30.0
    """A worker that is silent for longer is LOST: its attempts are fenced and queued again."""
    name_guard_s: float = 10.0
    """A second worker of a name is refused while the first was heard from within this time."""
    missing_s: float = 10.0
    """An attempt that was dispatched longer ago than this and that its worker's heartbeat does not
    list is lost."""
    prefetch: int = 1
    """Attempts that may wait on a worker for each of its slots, so that a slot that falls free need
    not wait for the master. They are taken back for a worker that has nothing to do. 0: none,
    whatever the next two say."""
    prefetch_s: float = 0.05
    """Where attempts are short, so much work may wait for each slot: 50 attempts of a millisecond.
    """
    prefetch_max: int = 1000
    """And never more attempts for each slot than this."""
    hold_s: float = 5.0
    """A job whose cpus, memory or GPUs are not free is passed so long by later ones. Then a worker
    holds room for it."""
    backoff_base_s: float = 0.5
    """The wait before the first retry; it doubles with each, and is jittered between half and all
    of it."""
    backoff_max_s: float = 60.0
    webhook_tries: int = 12
    """So often the webhook of a gate is told before it is given up; 4xx answers other than 408, 425
    and 429 end it at once."""
    webhook_timeout_s: float = 10.0
    """What one try may take."""
    webhook_backoff_s: float = 1.0
    """The wait after the first try that failed; it doubles with each, jittered between half and all
    of it."""
    webhook_backoff_max_s: float = 600.0
    release_slice: int = 10_000
    """So many jobs of one new run are looked at, and made ready if they have no parents, before
    anything else gets its turn."""
    poison_losses: int = 2
    """A job whose attempts took down this many workers is DEAD. A loss before its start was
    reported counts half."""
    run_jobs: int = 1_000_000
    """So many jobs a run may have, what it grows by included."""
    growth_depth: int = 1_000
    """A job that was submitted with its run may add jobs (depth 1), those may add jobs (depth 2),
    and so on to this depth."""
    stop_grace_s: float = 5.0
    """From SIGTERM to SIGKILL for a job that is stopped."""
    scale: dict[str, tuple[int, int]] = {}
    """Capability, or several joined by +, -> the fewest and the most burst workers that offer it.
    Set by `titan master --scale`."""
    scale_every_s: float = 15.0
    """How often it is looked whether burst workers should be started or retired."""
    scale_up: float = 1.0
    """More queued jobs per slot than this start burst workers at once."""
    scale_patience_s: float = 60.0
    """Fewer do so when jobs have been queued at every look for so long."""
    scale_cooldown_s: float = 30.0
    """After burst workers were started or retired none of that capability is started for so long.
    """
    burst_slots: int = 1
    """Jobs that a burst worker runs at once."""
    burst_idle_s: float = 45.0
    """A burst worker that had nothing to do for so long, while nothing is queued for it, is
    retired."""
    burst_start_s: float = 120.0
    """One that has not registered so long after it was asked for is given up."""
    forget_s: float = 7 * 86_400.0
    """A worker that left or was lost longer ago than this is forgotten."""
    keep_runs: int = 10_000
    """So many finished runs stay in the master's memory; older ones are in the history alone, and
    can be asked for as before."""
    keep_jobs: int = 100_000
    """And no more than this many jobs of finished runs."""
    keep_s: float = 86_400.0
    """And none that ended longer ago than this."""
    history_s: float = 90 * 86_400.0
    """After this a run leaves the history too, with its output."""
    history_bytes: int = 20 * 1024 * 1024 * 1024
    """So much history and output is kept; beyond it the oldest runs go first."""
    file_bytes: int = 16 * 1024 * 1024 * 1024
    """What one output of a job, or any other content that is sent to the master, may have."""
    file_grace_s: float = 3600.0
    """Content that nothing refers to, and that nobody sent or asked for since, stays on the master
    for so long."""
    connections: int = 10_000
    """So many connections at once, those of Redis clients included; fewer where the system grants
    fewer descriptors."""
    connections_of_address: int = 1_000
    """And so many of one address, other than the master's own machine."""
    connections_waiting: int = 256
    """And so many that have not said who they are: beyond, the one that has waited longest is
    closed."""
    keep_journal: bool = False
    """Whether segments of the log that no recovery needs stay, so that the history can be made anew
    from the beginning."""
    snapshot_bytes: int = 32 * 1024 * 1024
    """So much log since the last snapshot makes the next."""


class LoggedSettings(msgspec.Struct, frozen=True, array_like=True):
    """The settings that decide what an event does to the state, named as in `Settings`.

    They are journaled, so that a journal means the same whatever is set when it is replayed. Fields
    are only added at the end.
    """

    loss_s: float
    forget_s: float
    prefetch: int
    prefetch_s: float
    prefetch_max: int
    scale_every_s: float
    """0: no rule says what to scale."""

    @staticmethod
    def of(settings: Settings) -> LoggedSettings:
        s = settings
        every_s = s.scale_every_s if s.scale else 0.0
        return LoggedSettings(s.loss_s, s.forget_s, s.prefetch, s.prefetch_s, s.prefetch_max, every_s)
