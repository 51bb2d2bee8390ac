"""Conversion of a schedule into its row in messages."""

from __future__ import annotations

from titan.core.state.state import Schedule
from titan.protocol import messages as msg


def schedule_row(s: Schedule) -> msg.ScheduleRow:
    return msg.ScheduleRow(
        name=s.name,
        dag=s.dag.name,
        version=s.dag.version,
        jobs=len(s.dag.ids),
        timing=s.timing,
        overlap=s.overlap,
        catch_up=s.catch_up,
        paused=s.paused,
        next_at=s.due,
        last_at=s.last_at,
        last_run=s.last_run,
        waiting=len(s.waiting),
        fired=s.fired,
        skipped=s.skipped,
        missed=s.missed,
        added_at=s.added_at,
    )
