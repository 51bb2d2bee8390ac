"""Why a job is CANCELLED, as decisions read it. The sentence beside it is for people."""

from __future__ import annotations

from enum import IntEnum


class Cause(IntEnum):
    """Numbers are journaled: they never change, and new ones come at the end."""

    NONE = 0
    """It is not CANCELLED, or an older Titan did not say."""
    ASKED = 1
    """A user asked for it."""
    ANCESTOR = 2
    """An ancestor will never complete."""
    NOT_NEEDED = 3
    """A handler of whose jobs none died."""
    ANCESTOR_NOT_NEEDED = 4
    """It waited for such a handler."""
    SERVICE = 5
    """A service that it depends on was stopped, by a user, before it had begun."""
    DEADLINE = 6
    """The deadline of its run passed."""
    REPLACED = 7
    """Its schedule made another run in place of its own."""
    REJECTED = 8
    """A gate that was rejected, by somebody or the clock."""


CONSEQUENCES = (Cause.ANCESTOR, Cause.NOT_NEEDED, Cause.ANCESTOR_NOT_NEEDED)
"""Of what became of others: such a job waits again when those are tried again."""
UNNEEDED = (Cause.NOT_NEEDED, Cause.ANCESTOR_NOT_NEEDED)
"""A run did not fail because of these."""


def cause_of_old(reason: str) -> Cause:
    """What an older Titan, which journaled the sentence alone, meant by it. For replays; the
    sentences are those of its time.

    >>> cause_of_old("its ancestor a is DEAD: exit code 1"), cause_of_old("not needed"), cause_of_old("cancelled by a user")
    (<Cause.ANCESTOR: 2>, <Cause.NOT_NEEDED: 3>, <Cause.NONE: 0>)
    """
    if reason == "not needed":
        return Cause.NOT_NEEDED
    if not reason.startswith("its ancestor "):
        return Cause.NONE
    return Cause.ANCESTOR_NOT_NEEDED if reason.endswith(" was not needed") else Cause.ANCESTOR


def is_release_of_old(outcome: int, reason: str) -> bool:
    """Whether a note of an older Titan says that an affinity was released.

    >>> is_release_of_old(-1, "affinity released: worker w2, where its parent ran, is draining")
    True
    >>> is_release_of_old(-1, "worker w1 was set aside: no space left"), is_release_of_old(-1, "the gate opened")
    (True, False)
    """
    return outcome == -1 and (reason.startswith("affinity released: ") or " was set aside: " in reason)
