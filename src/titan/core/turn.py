"""One turn of the core: the events decided so far, already applied, and the effects ordered so far."""

from __future__ import annotations

from titan.core import effects as fx
from titan.core.apply.apply import apply
from titan.core.events import events as ev
from titan.core.state.state import Run, State


class Turn:
    """Handlers decide by `emit`, which applies at once, so that the next decision sees it; and
    order by `order`."""

    __slots__ = ("actor", "effects", "events", "now", "runs", "schedules", "state")

    def __init__(self, state: State, now: float) -> None:
        self.state = state
        self.now = now
        self.actor = ""
        """Who asked for what is being handled."""
        self.events: list[ev.Event] = []
        self.effects: list[fx.Effect] = []
        self.runs: dict[str, Run] = {}
        """Runs of which some job came to an end."""
        self.schedules: dict[str, None] = {}
        """Those that may make a run for a time that waits."""

    @property
    def asker(self) -> str:
        """The same, in a sentence."""
        return self.actor or "a user"

    def emit(self, event: ev.Event) -> None:
        apply(self.state, event)
        self.events.append(event)

    def order(self, effect: fx.Effect) -> None:
        self.effects.append(effect)
