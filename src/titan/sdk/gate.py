"""`Gate`: a human decision as a job of a DAG."""

from __future__ import annotations

from collections.abc import Iterable

from titan.sdk.failure_fields import MAX_WAIT_S
from titan.sdk.job import Job


class Gate(Job):
    """A human decision as a job of a DAG: it takes no slot; what waits for it runs when somebody
    approves it.

    - `message`: what is to be decided, up to 4,096 characters.
    - `max_wait`: seconds after which it is rejected if nobody decided; default 48 h.
    - `webhook`: an http or https URL that is told when it opens; see docs/gates.md.
    - `delay`: seconds from the end of its parents until it opens.

    A rejected gate is CANCELLED with what waits for it, and its run is FAILED. Raises InvalidGraph.

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
    ) -> None:
        super().__init__(id, parents=parents, delay=delay, type="gate", message=message, max_wait=max_wait, webhook=webhook)
