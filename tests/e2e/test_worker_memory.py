"""Requests of jobs take a bounded amount of their worker's memory, however much they announce and
however slowly they send."""

from __future__ import annotations

import sys
from pathlib import Path

from support.cluster import QUIET, cluster
from support.waiting import until
from titan import DAG, Job

MIB = 1 << 20
JOBS, CONNECTIONS, ANNOUNCED = 4, 64, 16 * MIB
MOST_MIB = 600
"""Maximum growth of the worker's memory: 256 MiB of incomplete requests, and as much again while a
large request is moved in memory."""

# Each connection identifies itself, announces a message of 16 MiB, and does not send the last byte.
GREEDY = f"""
import os, selectors, socket, struct, sys, time
from pathlib import Path
hello = "TITAN {{}} job {{}}".format(os.environ["TITAN_LEASE"], os.environ.get("TITAN_CONTEXT_TOKEN", "")).strip() + "\\n"
message = hello.encode() + struct.pack(">BBBBI", 1, 72, 0, 0, {ANNOUNCED}) + bytes({ANNOUNCED} - 1)
left, refused = {{}}, 0
poll = selectors.DefaultSelector()
for _ in range({CONNECTIONS}):
    it = socket.socket(socket.AF_UNIX)
    it.connect(os.environ["TITAN_CONTEXT"])
    it.setblocking(False)
    left[it] = memoryview(message)
    poll.register(it, selectors.EVENT_WRITE)
give_up = time.monotonic() + 60
while any(map(len, left.values())) and time.monotonic() < give_up:
    for key, _ in poll.select(0.1):
        it = key.fileobj
        try:
            left[it] = left[it][it.send(left[it][:1 << 20]):]
        except OSError:
            refused += 1
            left[it] = memoryview(b"")
        if not left[it]:
            poll.unregister(it)
Path(sys.argv[1], os.environ["TITAN_JOB"]).write_text(str(refused))
go = Path(sys.argv[1], "go")
while not go.exists() and time.monotonic() < give_up + 60:
    time.sleep(0.02)
"""


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def test_jobs_with_unfinished_messages_do_not_exhaust_the_memory_of_their_worker(tmp_path: Path) -> None:
    script, told = tmp_path / "greedy.py", tmp_path / "told"
    script.write_text(GREEDY)
    told.mkdir()
    with cluster(tmp_path / "c", "w1", slots=JOBS + 1, settings=QUIET) as c:
        before = peak_mib(c.workers["w1"].pid)
        jobs = [Job(f"g{n}", command=[sys.executable, str(script), str(told)], retries=0, timeout=150) for n in range(JOBS)]
        run = c.client.submit(DAG("greedy", jobs))
        notes = [told / f"g{n}" for n in range(JOBS)]
        until(lambda: all(note.exists() and note.read_text() for note in notes), "all jobs have sent their messages", 90.0)
        refused = [int(note.read_text()) for note in notes]
        grown = peak_mib(c.workers["w1"].pid) - before
        assert grown < MOST_MIB, f"the worker has grown by {grown:.0f} MiB"
        assert sum(refused) > JOBS * CONNECTIONS / 2, "requests that do not fit are refused"
        beside = c.client.submit(
            DAG("beside", [Job("b", command="titan context set said yes && titan context get said", retries=0)])
        )
        (told / "go").touch()
        assert run.wait(timeout=60).ok
        assert beside.wait(timeout=60).ok, "the worker answers small requests of other jobs"
