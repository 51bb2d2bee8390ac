"""Signals of a command that has started a cluster."""

from __future__ import annotations

import signal
from types import FrameType


def interrupt_on_sigterm() -> None:
    """From now on SIGTERM ends this process as Ctrl-C does: what it started is stopped first."""

    def on_term(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_term)
