"""Typed reports of processes in the short form that tests compare: (name, fields)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from titan.worker.processes.reports import Exited, LogFailed, Lost, Output, Refused, Report, Started, Withdrawn

NAMES: dict[type[Report], str] = {
    Started: "started",
    Refused: "refused",
    Withdrawn: "withdrawn",
    Output: "output",
    LogFailed: "log_failed",
    Exited: "exited",
    Lost: "lost",
}


def named(reports: Iterable[Report]) -> list[tuple[Any, ...]]:
    """Return the reports as (name, fields). A refusal is (name, key, errno, text)."""
    return [(NAMES[type(report)], *(report[:3] if isinstance(report, Refused) else report)) for report in reports]
