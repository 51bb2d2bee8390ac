"""The states of a run's jobs as text.

In a COMPLETED run, CANCELLED jobs are those that were not needed, such as failure handlers.
"""

from __future__ import annotations

from titan.sdk.status import RunSummary

UNNEEDED = "not needed"


def tally_text(run: RunSummary) -> str:
    """Return `3 COMPLETED, 1 not needed; 2 of 4 jobs reused`."""
    states = ", ".join(f"{n} {UNNEEDED if state == 'CANCELLED' and run.ok else state}" for state, n in run.tally.items())
    jobs = f"job{'s' if run.count != 1 else ''}"
    return f"{states}; {run.reused:,} of {run.count:,} {jobs} reused" if run.reused else states


def done_text(run: RunSummary) -> str:
    """Return `3/4`: the COMPLETED jobs, and all jobs but those not needed or SKIPPED."""
    unneeded = run.tally.get("SKIPPED", 0) + (run.tally.get("CANCELLED", 0) if run.ok else 0)
    return f"{run.tally.get('COMPLETED', 0)}/{run.count - unneeded}"
