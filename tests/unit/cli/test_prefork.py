"""Processes that are forked before their command line is known. Each case runs in a process of its
own, because the process of a test may have threads."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

START = """\
import os, signal, sys, threading
from titan.cli.prefork import ForkedServers, may_fork, await_end
from titan.cli.signals import interrupt_on_sigterm
interrupt_on_sigterm()
"""


def run(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START + script],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_unused_forked_processes_end_and_leave_no_descriptor() -> None:
    done = run("""
with ForkedServers(2) as crew:
    there = [crew.take(role) for role in ("master", "worker", "worker")]
    assert crew.take("worker") is None
    for waiting in there:
        waiting.dismiss()
    print([waiting.process.returncode for waiting in there], len(os.listdir("/proc/self/fd")))
""")
    assert (done.stdout, done.stderr) == ("[-9, -9, -9] 4\n", "")


def test_forks_end_with_their_parent() -> None:
    script = (
        "forks = ForkedServers(1); print(*[forks.take(r).process.pid for r in ('master', 'worker')], flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", START + script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdin is not None
    with parent, parent.stdin, parent.stdout:
        handles = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(handles) == 2
        parent.kill()
    for handle in handles:
        assert select.select([handle], [], [], 30.0)[0]
        os.close(handle)


def test_a_fork_does_what_its_command_line_says() -> None:
    done = run("""
with ForkedServers(1) as crew:
    waiting = crew.take("worker")
    waiting.begin(["worker", "--name", "burst-a"])
    print(waiting.process.wait(30), waiting.process.stderr.read().decode())
    assert open(f"/proc/{crew._waiting['master'][0].process.pid}/comm").read() in ("titan-master\\n", "python\\n")
""")
    assert done.stdout.startswith("2 titan: 'burst-a': names that begin with burst-"), done


def test_a_signal_ends_a_fork_and_does_not_run_the_handlers_of_its_parent() -> None:
    done = run("""
with ForkedServers(1) as crew:
    waiting = crew.take("worker")
    os.kill(waiting.process.pid, signal.SIGTERM)
    print(waiting.process.wait(30), waiting.process.stderr.read())
""")
    assert done.stdout == f"{-signal.SIGTERM} b''\n", done


def test_a_process_with_threads_or_passphrases_makes_no_forks() -> None:
    threads = run("""
print(may_fork())
gate = threading.Event()
thread = threading.Thread(target=gate.wait)
thread.start()
print(may_fork(), ForkedServers(1).take("master"))
gate.set()
thread.join()
""")
    assert threads.stdout == "True\nFalse None\n", threads
    keys = run("print(may_fork(), ForkedServers(1).take('master'))", TITAN_SECRETS_PASSPHRASE="words")
    assert keys.stdout == "False None\n", keys


def test_the_parents_unwritten_output_is_written_once() -> None:
    done = run("sys.stdout.write('once'); ForkedServers(1).close()")
    assert done.stdout == "once"
