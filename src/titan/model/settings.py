"""Intervals (seconds) and limits (bytes, counts) of the cluster that a site may set, with
defaults."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    heartbeat_s: float = 5.0
    """Interval at which a worker reports its attempts."""
    loss_s: float = 30.0
    """Silence after which a worker is LOST: the master fences its attempts and queues them
    again."""
    name_guard_s: float = 10.0
    """The master rejects a second worker with the same name until the first one was silent for this
    long."""
    missing_s: float = 10.0
    """Age of a dispatch after which the attempt counts as lost if its worker's heartbeat does not
    list it."""
    prefetch: int = 1
    """Number of attempts that may wait on a worker for each of its slots, so that a free slot need
    not wait for the master. The master recalls waiting attempts for idle workers. 0: no attempts
    wait, regardless of the next two settings."""
    prefetch_s: float = 0.05
    """Seconds of work that may wait for each slot if attempts are short. The default allows 50
    attempts of a millisecond."""
    prefetch_max: int = 1000
    """Maximum number of attempts that wait for each slot."""
    hold_s: float = 5.0
    """Time for which later jobs may overtake a job whose CPUs, memory or GPUs are not free. After
    this time the master keeps room for the job on one worker."""
    backoff_base_s: float = 0.5
    """Wait before the first retry. The wait doubles with each retry, jittered between half and the
    whole."""
    backoff_max_s: float = 60.0
    webhook_tries: int = 12
    """Maximum number of tries to deliver a gate's webhook. A 4xx answer other than 408, 425 and 429
    ends the tries at once."""
    webhook_timeout_s: float = 10.0
    """Timeout of one try."""
    webhook_backoff_s: float = 1.0
    """Wait after the first failed try. The wait doubles with each try, jittered between half and
    the whole."""
    webhook_backoff_max_s: float = 600.0
    release_slice: int = 10_000
    """Number of a new run's jobs that the master examines in one turn, to make those without
    parents ready. Other work then gets its turn."""
    poison_losses: int = 2
    """Number of workers lost during a job's attempts at which the job is DEAD. A loss before the
    worker reported the attempt's start counts half."""
    run_jobs: int = 1_000_000
    """Maximum number of jobs in a run, including jobs added while it runs."""
    growth_depth: int = 1_000
    """Maximum depth of added jobs. A job that was submitted with its run adds jobs of depth 1, a
    job of depth 1 adds jobs of depth 2, and so on."""
    stop_grace_s: float = 5.0
    """Time from SIGTERM to SIGKILL for a job that is stopped."""
    scale: dict[str, tuple[int, int]] = {}
    """Minimum and maximum number of burst workers, by the capability that they offer. Several
    capabilities are joined by +. Set by `titan master --scale`."""
    scale_every_s: float = 15.0
    """Interval between two reviews of the number of burst workers."""
    scale_up: float = 1.0
    """Number of queued jobs per slot above which burst workers are started at once."""
    scale_patience_s: float = 60.0
    """If fewer jobs than `scale_up` are queued per slot, burst workers are started once jobs were
    queued at every review for this long."""
    scale_cooldown_s: float = 30.0
    """Pause after burst workers of a capability were started or retired. During the pause no such
    worker is started."""
    burst_slots: int = 1
    """Number of jobs that a burst worker runs at once."""
    burst_idle_s: float = 45.0
    """Idle time after which a burst worker is retired if nothing is queued for it."""
    burst_start_s: float = 120.0
    """Time after which the master gives up a requested burst worker that has not registered."""
    forget_s: float = 7 * 86_400.0
    """Time after which the master removes a worker that left or was lost from its state."""
    keep_runs: int = 10_000
    """Number of finished runs in the master's memory. Older runs are only in the history, and
    clients read them with the same requests."""
    keep_jobs: int = 100_000
    """Maximum number of jobs of the finished runs in memory."""
    keep_s: float = 86_400.0
    """Maximum age of the finished runs in memory."""
    history_s: float = 90 * 86_400.0
    """Age at which a run leaves the history, together with its output."""
    history_bytes: int = 20 * 1024 * 1024 * 1024
    """Maximum size of history and output. Beyond it the oldest runs are deleted first."""
    file_bytes: int = 16 * 1024 * 1024 * 1024
    """Maximum size of a job's output or of other content that is sent to the master."""
    file_grace_s: float = 3600.0
    """Time for which the master keeps content that nothing refers to, counted from the last upload
    or request."""
    cache_results: int = 20_000
    """Maximum number of results that are kept for jobs with `cache`. The result that was not used
    for the longest time is dropped first, also for the next two limits."""
    cache_bytes: int = 10 * 1024 * 1024 * 1024
    """Maximum size of the outputs and large values of these results."""
    cache_s: float = 30 * 86_400.0
    """Time after its last use at which such a result is dropped."""
    connections: int = 10_000
    """Maximum number of connections, including Redis clients. The limit is lower if the system
    grants the master fewer file descriptors."""
    connections_of_address: int = 1_000
    """Maximum number of connections from one address, except the master's own machine."""
    connections_waiting: int = 256
    """Maximum number of connections that have not completed their handshake. Above this number the
    master closes the connection that has waited longest."""
    keep_journal: bool = False
    """Keep journal segments that no recovery needs, so that a replay or `titan history rebuild` can
    go back to the beginning."""
    snapshot_bytes: int = 32 * 1024 * 1024
    """Bytes of journal after a snapshot at which the master takes the next snapshot."""


class LoggedSettings(msgspec.Struct, frozen=True, array_like=True):
    """Settings on which the effect of an event on the state depends, named as in `Settings`.

    The master journals these settings, so that a replay does not depend on the settings of the
    process that replays. New fields are appended.
    """

    loss_s: float
    forget_s: float
    prefetch: int
    prefetch_s: float
    prefetch_max: int
    scale_every_s: float
    """0: there is no scaling rule."""

    @staticmethod
    def of(settings: Settings) -> LoggedSettings:
        s = settings
        every_s = s.scale_every_s if s.scale else 0.0
        return LoggedSettings(s.loss_s, s.forget_s, s.prefetch, s.prefetch_s, s.prefetch_max, every_s)
