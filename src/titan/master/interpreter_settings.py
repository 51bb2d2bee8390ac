"""How the interpreter of a server is set."""

from __future__ import annotations

import gc
import sys

from titan.host.large_files import reuse_memory


def freeze_imports() -> None:
    """Exempt what was imported from collections: a walk over all of it takes 12 ms."""
    gc.freeze()


def tune_interpreter(*, anew: bool = False) -> None:
    """The state is large, old and free of cycles: keep the collector from walking it, and the
    threads from waiting.

    `anew`: an earlier state of this process may be garbage by now.
    """
    # the journal's thread needs the interpreter for moments only, but at once
    sys.setswitchinterval(0.0005)
    if anew:
        gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    # so that a message of many MiB has memory of its own, which grows in place and goes back when
    # it is done
    reuse_memory()
