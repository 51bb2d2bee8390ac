"""`Gate`: a human decision as a job of a DAG."""

from __future__ import annotations

from collections.abc import Iterable

from titan.sdk.failure_fields import MAX_WAIT_S
from titan.sdk.job import Job


class Gate(Job):
    """A human decision as a job of a DAG. It takes no slot. Its dependents run once it is approved.

    - `message`: the question to decide, up to 4,096 characters.
    - `max_wait`: seconds after which an undecided gate is rejected; default 48 h.
    - `webhook`: an http or https URL that is called when the gate opens; see docs/gates.md.
    - `delay`: seconds from the end of its parents until the gate opens.
    - `always`: True to open also if parents failed.
    - `condition`: expression that must be true; see `Job`.

    A rejected gate is CANCELLED together with its dependents, and its run is FAILED. Raises
    InvalidGraph.

    >>> Gate("ship", "Ship the release?", parents=["test"], max_wait=3600)
    Job('ship', type='gate', parents=['test'])
    """

    __slots__ = ()

    def __init__(
        self,
        id: str,
        message: str = "",
        parents: Iterable[str | Job] = (),
        *,
        max_wait: float = MAX_WAIT_S,
        webhook: str = "",
        delay: float = 0.0,
        always: bool = False,
        condition: str | bool = "",
    ) -> None:
        super().__init__(
            id,
            parents=parents,
            delay=delay,
            type="gate",
            message=message,
            max_wait=max_wait,
            webhook=webhook,
            always=always,
            condition=condition,
        )
