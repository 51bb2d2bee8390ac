"""What the worker has to give to attempts besides slots, and who has it. Pure: part of the worker's
machine.

The master sends no more than fits by what it knows. What it does not know yet, such as an attempt
that it gave up and that takes a while to end, is here: an attempt starts when what it asks for is
free. Which GPUs it gets is decided here too, where their users are: so the choice outlives every
restart of the master, and ends with the process.
"""

from __future__ import annotations

from titan.model.dag import JobTemplate
from titan.model.demand import MILLI, NOTHING, Amounts, amount_text, amounts_of, fits_beside, minus, plus, within

KINDS = ("cpus", "memory", "gpus")


class Resources:
    """`gpus` are the devices as CUDA_VISIBLE_DEVICES names them."""

    def __init__(self, cpus: float = 0.0, memory: int = 0, gpus: tuple[str, ...] = ()) -> None:
        self.total: Amounts = (round(cpus * MILLI), memory, len(gpus))
        self.taken: Amounts = NOTHING
        self.gpus = gpus
        self._given: dict[int, tuple[Amounts, tuple[str, ...]]] = {}
        """By lease."""
        self._users: dict[str, int] = {}
        """GPU -> the lease that has it."""

    def problem_of(self, template: JobTemplate) -> str:
        """Why such an attempt can never start here, "" if it can."""
        if template.needs is None:
            return ""
        asked = amounts_of(template.needs)
        if within(asked, self.total):
            return ""
        what = next(i for i in range(3) if asked[i] > self.total[i])
        return f"it asks for {KINDS[what]} {amount_text(what, asked[what])}; this worker has {amount_text(what, self.total[what])}"

    def take(self, lease: int, template: JobTemplate) -> tuple[str, ...] | None:
        """The GPUs that the attempt gets, the lowest that are free; None if not all that it asks
        for is free."""
        if template.needs is None:
            return ()
        asked = amounts_of(template.needs)
        if asked == NOTHING:
            return ()
        if not fits_beside(asked, self.taken, self.total):
            return None
        gpus = tuple([gpu for gpu in self.gpus if gpu not in self._users][: asked[2]])
        assert len(gpus) == asked[2] and lease not in self._given, lease
        self.taken = plus(self.taken, asked)
        self._given[lease] = asked, gpus
        self._users.update(dict.fromkeys(gpus, lease))
        return gpus

    def give_back(self, lease: int) -> None:
        """The attempt's processes are gone. One that took nothing gives nothing back."""
        given = self._given.pop(lease, None)
        if given is not None:
            amounts, gpus = given
            self.taken = minus(self.taken, amounts)
            for gpu in gpus:
                del self._users[gpu]
