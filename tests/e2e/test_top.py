"""`titan top` on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from pathlib import Path

from support.cluster import QUIET, cluster
from support.waiting import DEADLINE_S
from titan import DAG, Job


def test_top_shows_a_new_run_and_a_master_that_comes_back_and_gives_the_terminal_back(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        before = termios.tcgetattr(theirs)
        command = [sys.executable, "-m", "titan", "top"]
        environment = {**c.environment(), "TERM": "xterm"}
        shown = b""

        def until_shown(text: str) -> None:
            nonlocal shown
            while text.encode() not in shown:
                assert select.select([ours], [], [], DEADLINE_S)[0], (text, shown[-2000:])
                shown += os.read(ours, 4096)
            shown = shown[shown.index(text.encode()) :]

        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=tmp_path) as process:
            try:
                until_shown("1 of 1 workers alive")
                c.client.submit(DAG("appears", [Job("a", command="true", requirement="NOBODY")]))
                until_shown("NOBODY")
                until_shown("appears")
                c.kill_master()
                until_shown("does not answer")
                c.start_master()
                c.client.submit(DAG("later", [Job("a", command="true", requirement="NOBODY")]))
                until_shown("later")
                os.write(ours, b"q")
                with contextlib.suppress(OSError):
                    while b"\x1b[?1049l" not in shown:
                        shown += os.read(ours, 4096)
                assert process.wait(20) == 0
                assert termios.tcgetattr(theirs)[3] == before[3], "keys are echoed again"
            finally:
                process.kill()
        os.close(theirs)
        os.close(ours)
        refused = c.cli("top")
        assert (refused.returncode, "needs a terminal" in refused.stderr) == (2, True)
