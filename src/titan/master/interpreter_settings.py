"""Settings of the Python interpreter in servers."""

from __future__ import annotations

import gc
import sys

from titan.host.large_files import reuse_memory


def freeze_imports() -> None:
    """Exempt imported objects from garbage collection, which would take 12 ms for them."""
    gc.freeze()


def tune_interpreter(*, anew: bool = False) -> None:
    """Exempt the state from garbage collection, and shorten the switch interval of threads.

    The state is large, old and free of cycles. `anew`: an earlier state of this process may be
    garbage by now.
    """
    # the thread of the journal holds the interpreter only briefly, but needs it at once
    sys.setswitchinterval(0.0005)
    if anew:
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    # buffers of a few MiB are taken from freed memory and not mapped anew
    reuse_memory()
