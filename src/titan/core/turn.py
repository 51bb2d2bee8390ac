"""One turn of the core: the events decided so far, which are already applied to the state, and the
effects ordered so far."""

from __future__ import annotations

from titan.core import effects as fx
from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.state.state import Run, State


class Turn:
    """Decisions of one turn.

    A handler decides by calling `emit`. The event is applied at once, so the next decision sees its
    effect on the state. A handler orders effects by calling `order`.
    """

    __slots__ = ("actor", "conditional", "effects", "events", "now", "queued", "runs", "schedules", "state")

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        self.actor = ""
        """Actor of the input that is being handled."""
        self.events: list[ev.Event] = []
        self.effects: list[fx.Effect] = []
        self.conditional: dict[int, None] = {}
        """Jobs with a condition that have become ready, for `settle_conditions`."""
        self.queued: list[int] = []
        """Jobs that became QUEUED in this turn and have inputs or a cache, for `settle_queued`."""
        self.runs: dict[str, Run] = {}
        """Runs in which a job ended in this turn."""
        self.schedules: dict[str, None] = {}
        """Schedules that may be able to make a run for a waiting nominal time at the end of the
        turn."""

    @property
    def asker(self) -> str:
        """The actor as text for a reason; "a user" if unknown."""
        return self.actor or "a user"

    def emit(self, event: ev.Event) -> None:
        apply(self.state, event)
        self.events.append(event)

    def order(self, effect: fx.Effect) -> None:
        self.effects.append(effect)
