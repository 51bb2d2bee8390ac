"""Settings of the Python interpreter in servers."""

from __future__ import annotations

import gc
import sys

from titan.host.large_files import reuse_memory


def freeze_imports() -> None:
    """Exempt imported objects from garbage collection, which would spend 12 ms on them."""
    gc.freeze()


def tune_interpreter(*, anew: bool = False) -> None:
    """Exempt the state from garbage collection, and shorten the switch interval of threads.

    The state is large, old and free of cycles. Set `anew` if this process had an earlier state,
    which may be garbage by now.
    """
    # The thread of the journal holds the interpreter only briefly, but needs it at once.
    sys.setswitchinterval(0.0005)
    if anew:
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    # Take large buffers from freed memory. Mapping new memory costs more.
    reuse_memory()
