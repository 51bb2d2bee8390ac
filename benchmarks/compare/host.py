"""The process in which a peer has its turn. It starts the peer, does the work that each line of its
input requests, and stops the peer.

    python -m benchmarks.compare.host PEER WORKLOAD FD

Each line of stdin is a number of tasks. The answers are written to FD as JSON. The peer's own
output goes to stderr.
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
"""Seconds that a peer may take to stop when its turn is broken off."""


def main(name: str, workload_name: str, fd: int) -> None:
    runner = os.getppid()
    os.set_inheritable(fd, False)
    os.dup2(2, 1)

    def say(**what: Any) -> None:
        os.write(fd, json.dumps(what).encode() + b"\n")

    cls, workload = load(name), WORKLOADS[workload_name]
    confined = confine.own_network()
    # `own_network` may change the owner of this process, and the kernel then drops the setting of
    # `follow_parent`. So this call comes after it.
    confine.follow_parent()
    if not confined and not cls.loopback:
        say(error="it listens on every address, and it cannot be given a network of its own here")
        return
    home = Path.cwd()
    confine.adopt_orphans()

    def tidy() -> None:
        confine.end_descendants()
        if os.getppid() != runner:  # the runner was killed, so it cannot remove the folder
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
        # Everything is stopped. Exit handlers of a peer's library may wait for something that is
        # gone.
        os._exit(code)
