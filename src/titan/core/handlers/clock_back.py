"""Start of a master whose clock is behind the times in the journal. The clock of an earlier start
was then ahead."""

from __future__ import annotations

from titan.core.apply.clock import timing_at
from titan.core.events import events as ev
from titan.core.turn import Turn
from titan.model.timing import next_time


def set_back(turn: Turn, behind_s: float) -> None:
    """Move recorded times in the future back to now. Schedules continue with their next nominal
    time after now; timers wait for the rest of their time."""
    ahead: dict[str, float] = {}
    for schedule in turn.state.schedules.values():
        due = next_time(timing_at(schedule, turn.now), turn.now)
        if 0 < due < schedule.due:
            ahead[schedule.name] = due
    hours = behind_s / 3600
    notice = f"the clock is {hours:.1f} h behind the times recorded here, so an earlier start had a clock that was ahead"
    turn.emit(ev.ClockSetBack(list(ahead), list(ahead.values()), notice, turn.now))
