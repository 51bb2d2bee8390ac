"""The process in which a peer has its turn: starts it, does the work that it is told to, a line
each, and stops it.

    python -m benchmarks.compare.host PEER WORKLOAD FD

Lines come on stdin, the number of tasks each; answers, in JSON, go to FD. What the peer prints
itself goes where stderr goes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

from benchmarks.compare import confine
from benchmarks.compare.peers import load
from benchmarks.compare.workloads import WORKLOADS

PATIENCE_S = 8
"""How long a peer may take to stop when its turn is broken off."""


def main(name: str, workload_name: str, fd: int) -> None:
    runner = os.getppid()
    os.set_inheritable(fd, False)
    os.dup2(2, 1)

    def say(**what: Any) -> None:
        os.write(fd, json.dumps(what).encode() + b"\n")

    cls, workload = load(name), WORKLOADS[workload_name]
    confined = confine.own_network()
    # after that, which may change whom it belongs to, and then the kernel forgets it
    confine.follow_parent()
    if not confined and not cls.loopback:
        say(error="it listens on every address, and it cannot be given a network of its own here")
        return
    home = Path.cwd()
    confine.adopt_orphans()

    def tidy() -> None:
        confine.end_descendants()
        if os.getppid() != runner:  # it was killed, and so cannot do this
            shutil.rmtree(home, ignore_errors=True)

    confine.interrupt_on_sigterm(PATIENCE_S, tidy)
    try:
        with cls(home, workload_name) as peer:
            say(ready=True)
            for line in sys.stdin:
                say(**workload.measure(peer, int(line)))
    except Exception as error:
        say(error=f"{type(error).__name__}: {error}")
        raise
    finally:
        tidy()


if __name__ == "__main__":
    code = 1
    try:
        main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
        code = 0
    except KeyboardInterrupt:
        code = 130
    except Exception:
        traceback.print_exc()
    finally:
        # all is stopped; what a peer's library would still do at the end may wait for what is gone
        os._exit(code)
