"""Resources of a worker besides slots, and their reservation for attempts. Pure: part of the
worker's state machine.

The master sends no more attempts than fit by its own state. But that state can differ from the
worker's: an attempt that the master gave up takes a while to end. So the worker starts an attempt
only when the resources that it asks for are free. The worker also assigns the GPUs. So an
assignment outlives a restart of the master, and ends with the attempt's processes.
"""

from __future__ import annotations

from titan.model.dag import JobTemplate
from titan.model.demand import MILLI, NOTHING, Amounts, amount_text, amounts_of, fits_beside, minus, plus, within

KINDS = ("cpus", "memory", "gpus")


class Resources:
    """Resources of a worker. `gpus` are the names of the devices in CUDA_VISIBLE_DEVICES."""

    def __init__(self, cpus: float = 0.0, memory: int = 0, gpus: tuple[str, ...] = ()) -> None:
        self.total: Amounts = (round(cpus * MILLI), memory, len(gpus))
        self.taken: Amounts = NOTHING
        self.gpus = gpus
        self._reserved: dict[int, tuple[Amounts, tuple[str, ...]]] = {}
        """lease -> reserved amounts and GPUs."""
        self._users: dict[str, int] = {}
        """GPU -> lease that it is reserved for."""

    def problem_of(self, template: JobTemplate) -> str:
        """Return the reason why an attempt with this template can never start here, "" if it
        can."""
        if template.needs is None:
            return ""
        asked = amounts_of(template.needs)
        if within(asked, self.total):
            return ""
        kind = next(i for i in range(3) if asked[i] > self.total[i])
        return f"it asks for {KINDS[kind]} {amount_text(kind, asked[kind])}; this worker has {amount_text(kind, self.total[kind])}"

    def take(self, lease: int, template: JobTemplate) -> tuple[str, ...] | None:
        """Reserve the resources that the attempt asks for. Return its GPUs, which are the first
        free ones. Return None and reserve nothing if a resource is not free."""
        if template.needs is None:
            return ()
        asked = amounts_of(template.needs)
        if asked == NOTHING:
            return ()
        if not fits_beside(asked, self.taken, self.total):
            return None
        gpus = tuple([gpu for gpu in self.gpus if gpu not in self._users][: asked[2]])
        assert len(gpus) == asked[2] and lease not in self._reserved, lease
        self.taken = plus(self.taken, asked)
        self._reserved[lease] = asked, gpus
        self._users.update(dict.fromkeys(gpus, lease))
        return gpus

    def give_back(self, lease: int) -> None:
        """Free the resources of an attempt whose processes are gone. An attempt without a
        reservation is ignored."""
        reserved = self._reserved.pop(lease, None)
        if reserved is not None:
            amounts, gpus = reserved
            self.taken = minus(self.taken, amounts)
            for gpu in gpus:
                del self._users[gpu]
