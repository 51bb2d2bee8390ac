"""Signals of a command that has started a cluster."""

from __future__ import annotations

import signal
from types import FrameType


def interrupt_on_sigterm() -> None:
    """Make SIGTERM act as Ctrl-C from now on, so that this process stops its children before it
    ends."""

    def on_term(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_term)
