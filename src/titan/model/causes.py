"""Machine-readable causes of cancellation. Decisions read the cause; the reason text beside it is
for people."""

from __future__ import annotations

from enum import IntEnum


class Cause(IntEnum):
    """Cause of a cancellation. The numbers are journaled: they never change, and new ones are
    appended."""

    NONE = 0
    """The job is not CANCELLED, or an older Titan did not journal a cause."""
    ASKED = 1
    """A user cancelled the job."""
    ANCESTOR = 2
    """An ancestor will never complete."""
    NOT_NEEDED = 3
    """The job is a failure handler, and none of its parents died."""
    ANCESTOR_NOT_NEEDED = 4
    """The job depends on a failure handler that was not needed."""
    SERVICE = 5
    """The job had not begun when a user stopped a service that it depends on."""
    DEADLINE = 6
    """The deadline of the run passed."""
    REPLACED = 7
    """The schedule replaced the run with a new one."""
    REJECTED = 8
    """The job is a gate that a user rejected, or that timed out."""
    SKIPPED = 9
    """An ancestor was skipped, because its condition is false. Jobs that wait are then SKIPPED."""


CONSEQUENCES = (Cause.ANCESTOR, Cause.NOT_NEEDED, Cause.ANCESTOR_NOT_NEEDED, Cause.SKIPPED)
"""Causes that follow from the end of another job. When a user retries that job, the jobs cancelled
for these causes go back to WAITING."""
UNNEEDED = (Cause.NOT_NEEDED, Cause.ANCESTOR_NOT_NEEDED)
"""Causes that do not make a run FAILED."""


def cause_of_old(reason: str) -> Cause:
    """Return the cause for a reason text of an older Titan, which journaled only the text.

    >>> cause_of_old("its ancestor a is DEAD: exit code 1"), cause_of_old("not needed")
    (<Cause.ANCESTOR: 2>, <Cause.NOT_NEEDED: 3>)
    >>> cause_of_old("cancelled by a user")
    <Cause.NONE: 0>
    """
    if reason == "not needed":
        return Cause.NOT_NEEDED
    if not reason.startswith("its ancestor "):
        return Cause.NONE
    return Cause.ANCESTOR_NOT_NEEDED if reason.endswith(" was not needed") else Cause.ANCESTOR


def is_release_of_old(outcome: int, reason: str) -> bool:
    """Return whether an entry of a job's history records the release of an affinity.

    An older Titan journaled only the text.

    >>> is_release_of_old(-1, "affinity released: worker w2, where its parent ran, is draining")
    True
    >>> is_release_of_old(-1, "worker w1 was set aside: no space left")
    True
    >>> is_release_of_old(-1, "the gate opened")
    False
    """
    return outcome == -1 and (reason.startswith("affinity released: ") or " was set aside: " in reason)
