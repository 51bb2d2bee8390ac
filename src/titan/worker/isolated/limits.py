"""Setup of a process before it executes the job: the process enters its cgroups and sets its
limits.

Like the warden, which imports it, this module imports nothing of Titan and runs in an interpreter
that need not have Titan. `titan.worker.limits.cgroups` decides which limits apply to a job. The
warden's orders name these steps, which this module carries out:

    {"RLIMIT_AS": bytes, ...}     Set the soft and the hard limit. -1 means no limit. The current
                                  hard limit is never exceeded.
    {"cgroups": [path, ...]}      Write 0 to the cgroup.procs file of each group. The kernel moves
                                  the writing process into the group.
    {"affinity": [cpu, ...]}      Set the CPUs on which the process may run.
"""

from __future__ import annotations

import os
import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def limits_setter(limits: Mapping[str, Any] | None) -> Callable[[], None] | None:
    """Return the function that sets `limits` in the child process, None if there are no limits.
    Raises LookupError for a resource limit that this system lacks."""
    if not limits:
        return None
    chosen = []
    for name, value in limits.items():
        if name in ("cgroups", "affinity"):
            continue
        which = getattr(resource, name, None) if name.startswith("RLIMIT_") else None
        if which is None:
            raise LookupError(f"{name}: no such resource limit on this system")
        hard = resource.getrlimit(which)[1]
        limit = hard if value < 0 else value if hard < 0 else min(value, hard)
        chosen.append((which, (limit, limit)))
    groups = [os.fsencode(path) for path in limits.get("cgroups", ())]
    cpus = limits.get("affinity")

    def set_limits() -> None:
        for path in groups:
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"0")
            finally:
                os.close(fd)
        if cpus:
            os.sched_setaffinity(0, cpus)
        for which, pair in chosen:
            resource.setrlimit(which, pair)

    return set_limits
