"""The warden with real processes: what it captures and reports. No process of a job is left
alive."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from support.reports import named
from support.waiting import until
from support.warden import WardenBench, run_in_loop, running_warden
from titan.errors import Bug, EnvironmentFault
from titan.worker.isolated import processes, spawning, warden
from titan.worker.isolated.reports import FRAME_BYTES
from titan.worker.processes.warden_link import become_subreaper, kill_descendants, kill_marked

MIB = 1024 * 1024
DEADLINE_S = 10.0
PATH = os.environ["PATH"]


def alive(pid: int) -> bool:
    process = processes.read_process(pid)
    return process is not None and process.alive


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """Check after each test that no process is left. Every job has its working directory below
    tmp_path, so a process is found whatever its environment is."""
    yield

    def left() -> list[str]:
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/cwd").startswith(str(tmp_path)) and alive(int(name)):
                    found.append(Path(f"/proc/{name}/cmdline").read_text())
        return found

    give_up = time.monotonic() + 1
    while left() and time.monotonic() < give_up:
        time.sleep(0.01)
    assert left() == []


# -- starting, output, ends ------------------------------------------------------------------------
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_job_that_succeeds_is_reported_whole(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            before = time.monotonic()
            bench.start(1, "true")
            name, key, code, at_s, cpu_s, rss, dropped_out, dropped_err, killed = await bench.exited(1)
            assert (name, key, code, dropped_out, dropped_err, killed) == ("exited", 1, 0, 0, 0, 0)
            assert before <= at_s <= time.monotonic()
            assert 0 <= cpu_s < 1
            assert 0 < rss < 64 * MIB
            assert [report[0] for report in bench.reports] == ["started", "exited"]
            assert bench.reports[0][2] > 1
            assert not bench.log(1, 1).exists()  # a log is created with its first byte

    run_in_loop(main(), on=loop)


def test_exit_codes_and_signals(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sh", "-c", "exit 7")
            bench.start(2, "sh", "-c", "kill -SEGV $$")
            assert (await bench.exited(1))[2] == 7
            assert (await bench.exited(2))[2] == -signal.SIGSEGV

    run_in_loop(main())


def test_streams_are_separate_and_exact(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sh", "-c", r"printf 'out\377\000\n'; printf 'err\200' >&2; printf end")
            await bench.exited(1)
            for stream, content in ((1, b"out\xff\x00\nend"), (2, b"err\x80")):
                assert bench.log(1, stream).read_bytes() == bench.streamed(1, stream) == content
            assert bench.reports[-1][0] == "exited"  # the end is reported after all output

    run_in_loop(main())


def test_the_world_of_a_job(tmp_path: Path) -> None:
    script = r"""
import json, os, resource, signal
print(json.dumps({
    "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:4], "stdin": os.readlink("/proc/self/fd/0"),
    "session": os.getsid(0) == os.getpgrp() == os.getpid(), "cwd": os.getcwd(), "env": dict(os.environ),
    "status": [line for line in open("/proc/self/status") if line.startswith(("SigIgn", "SigBlk"))],
    "files": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE)}))
"""
    import resource

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            env = {"TITAN_LEASE": "1", "LC_ALL": "C.UTF-8", "BYTES": "a\udcffb"}
            bench.start(1, sys.executable, "-I", "-S", "-c", script, env=env, rlimits={"RLIMIT_CORE": 4096})
            assert (await bench.exited(1))[2] == 0, bench.reports
            seen = json.loads(bench.streamed(1, 1))
            assert seen["fds"] == [0, 1, 2, 3]  # 3 is the descriptor of the listing itself
            assert seen["stdin"] == "/dev/null"
            assert seen["session"]
            assert seen["cwd"] == str(tmp_path)
            assert seen["env"] == env
            assert int(seen["status"][0].split()[1], 16) == 0  # no signal is blocked
            # Python itself ignores SIGPIPE and SIGXFSZ. 32 and 33 belong to the C library and
            # cannot be set.
            assert int(seen["status"][1].split()[1], 16) & ~0x1_8100_1000 == 0
            assert tuple(seen["files"]) == resource.getrlimit(resource.RLIMIT_NOFILE)
            assert seen["core"] == [4096, 4096]

    run_in_loop(main())


def test_a_job_that_cannot_start_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titan.worker.processes.warden_link.FRAME_BYTES", 8 * MIB)
    (tmp_path / "plain").write_text("echo\n")
    (tmp_path / "orphan.sh").write_text("#!/no/such/interpreter\n")
    (tmp_path / "bare").write_text("echo\n")
    for name in ("orphan.sh", "bare"):
        (tmp_path / name).chmod(0o755)

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "/no/such/program")
            bench.start(2, "no-such-command")
            bench.start(3, "./plain")
            bench.start(4, "./orphan.sh")
            bench.start(5, "./bare")
            bench.start(6, "true", cwd="/no/such/folder")
            bench.start(7, "true", *["x" * 100_000] * 40)
            bench.start(8, "true", "a\0b")
            bench.start(9)
            bench.start(10, "true", rlimits={"RLIMIT_NONSENSE": 1})
            bench.start(11, "true", env={"A=B": "c"})
            bench.start(12, "sleep", "60")
            bench.start(12, "true")
            bench.start(13, "x" * (FRAME_BYTES + 1))
            expected = [
                (1, errno.ENOENT, "no such file"),
                (2, errno.ENOENT, "no such command"),
                (3, errno.EACCES, "permission denied"),
                (4, errno.ENOENT, "interpreter"),
                (5, errno.ENOEXEC, "#! line"),
                (6, errno.ENOENT, "working directory"),
                (7, errno.E2BIG, "too long"),
                (8, errno.EINVAL, "null"),
                (9, errno.EINVAL, "empty"),
                (10, errno.EINVAL, "RLIMIT_NONSENSE"),
                (11, errno.EINVAL, "environment name"),
                (12, errno.EEXIST, "is running"),
                (13, errno.E2BIG, "limit"),
            ]
            for key, code, words in expected:
                number, message = await bench.refused(key)
                assert number == code, (key, message)
                assert words in message
            bench.start(14, "true")  # the warden still works
            assert (await bench.exited(14))[2] == 0
            fds = os.listdir(f"/proc/{bench.link.pid}/fd")
            # The warden has 12 descriptors, both ends of two pipes of job 12, and the pipes of
            # three prepared jobs. The refusals have left none.
            assert len(fds) == 12 + 4 + 3 * 4, fds

    run_in_loop(main())


def test_a_job_stands_behind_another(tmp_path: Path) -> None:
    """A job that stands behind another begins when the other has ended in any way. It does not
    begin if it is withdrawn before."""

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sleep", "600")
            bench.start(2, "sh", "-c", "echo 2; read x < go", behind=1)
            bench.start(3, "true", behind=1)
            bench.start(5, "sh", "-c", "exit 5", behind=99)  # there is no job 99, so the job begins at once
            assert (await bench.exited(5))[2] == 5
            bench.link.withdraw(3)
            await bench.until(lambda: bench.of("withdrawn", 3))
            bench.link.withdraw(1)  # ignored, because the job has begun
            bench.link.withdraw(99)
            os.mkfifo(tmp_path / "go")
            bench.link.stop(1, 0.0)
            assert (await bench.exited(1))[2] == -9
            await bench.until(lambda: bench.streamed(2, 1) == b"2\n", "job 2 to run")
            bench.start(4, "true", behind=2)
            bench.start(6, "true", behind=2)
            bench.link.stop(6)
            await bench.until(lambda: bench.of("withdrawn", 6))
            bench.start(7, "no-such-command", behind=2)
            # job 7 is not running, so job 8 does not wait for it
            bench.start(8, "true", behind=7)
            assert (await bench.exited(8))[2] == 0
            assert not bench.of("started", 4)
            (tmp_path / "go").write_text("on\n")
            await bench.exited(2)
            assert (await bench.refused(7))[0] == errno.ENOENT
            assert (await bench.exited(4))[2] == 0
            begun = {report[1] for report in bench.reports if report[0] == "started"}
            assert begun == {1, 2, 4, 5, 8}

    run_in_loop(main())


def test_a_flood_of_output_is_bounded(tmp_path: Path) -> None:
    size = 300 * MIB
    script = f"printf head; head -c {size} /dev/zero; printf tail"

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sh", "-c", script, log_limit=MIB)
            bench.start(2, "sh", "-c", f"{{ {script}; }} >&2", log_limit=1000)
            for key in range(3, 23):  # the other jobs do not wait until the flood ends
                bench.start(key, "echo", "hello")
            for key in range(3, 23):
                await bench.exited(key)
                assert bench.streamed(key, 1) == b"hello\n"
            assert not {1, 2} & set(bench.exits)
            dropped = (await bench.exited(1))[6]
            content = bench.log(1, 1).read_bytes()
            assert content == bench.streamed(1, 1)
            assert len(content) == MIB
            assert content.startswith(b"head" + bytes(MIB - 256 * 1024 - 4))
            assert content.endswith(b"\0tail")
            assert dropped == size + 8 - MIB == bench.skipped[1, 1]
            await bench.exited(2)
            assert bench.log(2, 2).stat().st_size <= 1000
            status = Path(f"/proc/{bench.link.pid}/status").read_text()
            peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024
            assert peak < 20, f"the warden took {peak} MiB"

    run_in_loop(main())


@pytest.mark.parametrize("size", [0, 1, 768, 769, 1023, 1024, 1025, 5000])
def test_the_edges_of_a_log(tmp_path: Path, size: int) -> None:
    content = bytes(i % 251 for i in range(size))
    (tmp_path / "content").write_bytes(content)

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "cat", "content", log_limit=1024)  # the log keeps the first 768 and the last 256 bytes
            dropped = (await bench.exited(1))[6]
            log = bench.log(1, 1).read_bytes() if size else b""
            assert dropped == max(0, size - 1024) == bench.skipped.get((1, 1), 0)
            assert log == (content if not dropped else content[:768] + content[-256:]) == bench.streamed(1, 1)

    run_in_loop(main())


def test_a_small_limit_has_no_tail(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "echo", "0123456789", log_limit=5)
            bench.start(2, "echo", "0123456789", log_limit=0)
            assert (await bench.exited(1))[6] == 6
            assert (await bench.exited(2))[6] == 11
            assert bench.log(1, 1).read_bytes() == b"01234"
            assert not bench.log(2, 1).exists()

    run_in_loop(main())


def test_a_log_that_cannot_be_written_does_not_stop_the_job(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.log(1, 1).symlink_to("/dev/full")
            os.mkfifo(bench.log(2, 1))
            bench.log(3, 1).mkdir()
            for key in (1, 2, 3):
                bench.start(key, "sh", "-c", "head -c 3000000 /dev/zero; echo fine >&2")
            for key in (1, 2, 3):
                name, _, code, *_, dropped_out, dropped_err, _ = await bench.exited(key)
                assert (name, code, dropped_out, dropped_err) == ("exited", 0, 3_000_000, 0)
                assert [report[2] for report in bench.of("log_failed", key)] == [1]
                assert bench.streamed(key, 2) == b"fine\n"

    run_in_loop(main())


def test_a_full_disk_ends_the_log_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            import resource

            # For the warden, a limit on the file size is like a full disk: SIGXFSZ is ignored, so a
            # write is first cut short and then fails.
            resource.prlimit(bench.link.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
            bench.start(1, "head", "-c", "300000", "/dev/zero")
            _, _, code, *_, dropped_out, _, _ = await bench.exited(1)
            assert (code, dropped_out) == (0, 200_000)
            assert bench.of("log_failed", 1)[0][2:4] == (1, errno.EFBIG)
            assert bench.log(1, 1).read_bytes() == bench.streamed(1, 1) == bytes(100_000)

    run_in_loop(main())


def test_a_job_may_close_its_output(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sh", "-c", "echo first; exec >&- 2>&-; while [ ! -e go ]; do sleep 0.01; done; exit 3")
            await bench.until(lambda: bench.streamed(1, 1) == b"first\n")
            assert 1 not in bench.exits
            (tmp_path / "go").touch()
            assert (await bench.exited(1))[2] == 3

    run_in_loop(main())


def test_a_slow_worker_holds_back_its_jobs_but_not_their_control(tmp_path: Path) -> None:
    size = 64 * MIB

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "head", "-c", str(size), "/dev/zero", log_limit=2 * size)
            bench.start(2, "sh", "-c", "trap '' TERM; while :; do sleep 60 & wait; done")
            await bench.until(lambda: bench.of("output", 1) and bench.of("started", 2))
            bench.link.pause_output()
            pid = bench.of("started", 2)[0][2]
            bench.link.stop(2, 0)
            await bench.until(lambda: not alive(pid), "a kill while output is paused")
            log, sizes = bench.log(1, 1), [0, -1]
            while sizes[-1] != sizes[-2]:  # wait until the log no longer grows
                await asyncio.sleep(0.1)
                sizes.append(log.stat().st_size)
            assert sizes[-1] < size
            bench.link.resume_output()
            assert (await bench.exited(1))[2] == 0
            assert (await bench.exited(2))[2] == -signal.SIGKILL
            assert len(bench.streamed(1, 1)) == size

    run_in_loop(main())


# -- stopping, and what is left --------------------------------------------------------------------
def test_stop_asks_first_and_kills_after_the_grace(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done")
            bench.start(2, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done", grace_s=0.2)
            await bench.until(lambda: bench.streamed(1, 1) and bench.streamed(2, 1))
            began = time.monotonic()
            bench.link.stop(1, 8)
            bench.link.stop(2)
            bench.link.stop(99, 1)  # there is no job 99: ignored
            assert (await bench.exited(1))[2] == 5
            assert (await bench.exited(2))[2] == -signal.SIGKILL
            assert 0.2 <= bench.exits[2][3] - began < 5
            bench.link.stop(1, 0)

    run_in_loop(main())


def test_processes_in_the_group_of_a_job_are_killed_at_its_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sh", "-c", "sleep 600 & sleep 600 & echo $! > pid")
            assert (await bench.exited(1))[8] == 2
            assert not alive(await bench.pid_in("pid"))

    run_in_loop(main())


# A daemon as textbooks describe it: fork, setsid, fork. It writes its pid to the file that its
# argument names. Its starter waits for that file.
DAEMON = """
import os, sys, time
if os.fork():
    while not os.path.exists(sys.argv[1]): time.sleep(0.005)
    os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
with open(sys.argv[1] + ".new", "w") as file: print(os.getpid(), file=file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(600)
"""


def test_a_daemon_dies_after_its_job_and_a_helper_of_a_running_job_does_not(tmp_path: Path) -> None:
    (tmp_path / "daemon.py").write_text(DAEMON)
    daemon = f"{sys.executable} -I -S daemon.py"

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            # "helper" keeps the lease of job 1, which continues. "bare" has cleared its
            # environment.
            bench.start(1, "sh", "-c", f"{daemon} helper; env -i {daemon} bare; exec sleep 600")
            helper, bare = await bench.pid_in("helper"), await bench.pid_in("bare")
            bench.start(2, "sh", "-c", f"{daemon} daemon >&- 2>&-; {daemon} holder; while [ ! -e go ]; do sleep 0.01; done")
            daemons = [await bench.pid_in("daemon"), await bench.pid_in("holder")]
            (tmp_path / "go").touch()
            ended = await bench.exited(2)  # the job has ended although "holder" keeps its pipes open
            await bench.until(lambda: not any(map(alive, daemons)), "the end of the daemons")
            assert time.monotonic() - ended[3] < 3
            assert alive(helper)
            assert alive(bare)
            # A process without a lease that began while job 1 ran may belong to job 1. It stays
            # until job 1 ends.
            bench.start(3, "sh", "-c", f"env -i {daemon} hidden; exit 0")
            hidden = await bench.pid_in("hidden")
            await bench.exited(3)
            bench.start(4, "sh", "-c", f"{daemon} seen")
            seen = await bench.pid_in("seen")
            await bench.until(lambda: not alive(seen), "a sweep")
            assert alive(hidden)
            bench.link.stop(1, 0)
            assert (await bench.exited(1))[8] >= 1
            assert not alive(helper)  # it is killed at once, because it has the lease of job 1
            await bench.until(lambda: not alive(bare) and not alive(hidden), "the end of the hidden processes")

    run_in_loop(main())


def test_a_hidden_daemon_dies_though_younger_jobs_run(tmp_path: Path) -> None:
    (tmp_path / "daemon.py").write_text(DAEMON)

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sh", "-c", f"env -i {sys.executable} -I -S daemon.py hidden; while [ ! -e go ]; do sleep 0.01; done")
            hidden = await bench.pid_in("hidden")
            born = processes.read_process(hidden)
            assert born is not None
            await bench.until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) * warden.TICKS_PER_S > born.born_ticks + 1)
            bench.start(2, "sleep", "600")
            await bench.until(lambda: bench.of("started", 2))
            (tmp_path / "go").touch()
            await bench.until(lambda: not alive(hidden), "a sweep")
            assert 2 not in bench.exits

    run_in_loop(main())


def test_stop_kills_a_whole_tree_that_forks_on(tmp_path: Path) -> None:
    (tmp_path / "daemon.py").write_text(DAEMON)
    script = f"""
        for i in 1 2 3; do setsid sh -c '{sys.executable} -I -S daemon.py d'$i'; while :; do sleep 0.001; done' & done
        while :; do sleep 0.001; done
    """

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sh", "-c", script)
            bench.start(2, "sleep", "600")
            pids = [await bench.pid_in(f"d{i}") for i in (1, 2, 3)]
            bench.link.stop(1, 0)
            ended = await bench.exited(1)
            assert ended[2] == -signal.SIGKILL
            assert ended[8] >= 6
            assert not any(map(alive, pids))
            left = set(processes.subtree(processes.children_by_parent(processes.scan_processes()), bench.link.pid)[1:])
            assert {pid for pid in left if alive(pid)} == {bench.of("started", 2)[0][2]}

    run_in_loop(main())


# -- the deaths of worker and warden ---------------------------------------------------------------
OWNER = """
import asyncio, json, os, signal, sys, time
from titan.worker.processes.orders import Command, ProcessOptions
from titan.worker.processes.reports import Started
from titan.worker.processes.warden_link import WardenLink, become_subreaper, kill_descendants

async def main(mode):
    if mode == "reaper": become_subreaper()
    died = asyncio.get_running_loop().create_future()
    started = []
    def take(reports): started.extend(r.pid for r in reports if isinstance(r, Started))
    link = WardenLink(on_reports=take, on_died=died.set_result)
    link.launch()
    for key, command in enumerate(sys.argv[2:]):
        here = os.getcwd()
        options = ProcessOptions(cwd=here, env={**os.environ, "TITAN_LEASE": str(key)}, log_limit=1000, grace_s=1,
                                 stdout_path=f"{here}/{key}.1", stderr_path=f"{here}/{key}.2")
        link.start(key, Command(["sh", "-c", command]), options)
    while len(started) < len(sys.argv[2:]): await asyncio.sleep(0.005)
    child = os.fork() if mode == "forked" else 0
    if mode == "forked" and child == 0:
        time.sleep(600)
    print(json.dumps({"warden": link.pid, "jobs": started, "child": child}), flush=True)
    returncode = await died
    killed = await asyncio.to_thread(kill_descendants, os.getpid())
    print(json.dumps({"returncode": returncode, "killed": killed}), flush=True)

asyncio.run(main(sys.argv[1]))
"""


@contextlib.contextmanager
def owner(folder: Path, mode: str, *commands: str, **marks: str) -> Iterator[subprocess.Popen[bytes]]:
    """Process that owns a link, as a worker does."""
    (folder / "daemon.py").write_text(DAEMON)
    source = str(Path(warden.__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), mode, *commands],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": source, **marks},
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        kill_descendants(process.pid)
        process.kill()
        process.communicate()


def read_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    return dict(json.loads(process.stdout.readline()))


def pid_from(path: Path) -> int:
    until(path.exists, f"{path} is there")
    return int(path.read_text())


@pytest.mark.parametrize("mode", ["plain", "forked"])
def test_a_killed_worker_leaves_no_process(tmp_path: Path, mode: str) -> None:
    daemon = f"{sys.executable} -I -S daemon.py"
    commands = (f"env -i {daemon} a; sleep 600", f"trap '' TERM; setsid {daemon} b; while :; do sleep 0.01; done")
    with owner(tmp_path, mode, *commands) as process:
        said = read_line(process)
        pids = [said["warden"], *said["jobs"], pid_from(tmp_path / "a"), pid_from(tmp_path / "b")]
        assert all(map(alive, pids))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(said["warden"], number)  # the warden ignores these signals: only its worker decides about its end
        process.kill()
        try:
            until(lambda: not any(map(alive, pids)), "the end of its processes", 3)
        finally:
            if said["child"]:  # the child holds a copy of the worker's end of the stream
                assert alive(said["child"])
                os.kill(said["child"], signal.SIGKILL)


def test_the_owner_of_a_killed_warden_kills_its_jobs(tmp_path: Path) -> None:
    with owner(tmp_path, "reaper", "sleep 600", f"{sys.executable} -I -S daemon.py a; sleep 600") as process:
        said = read_line(process)
        pids = [*said["jobs"], pid_from(tmp_path / "a")]
        os.kill(said["warden"], signal.SIGKILL)
        said = read_line(process)
        assert said["returncode"] == -signal.SIGKILL
        assert said["killed"] in (3, 4, 5)  # the number depends on whether each shell executes its last command in place
        assert not any(map(alive, pids))
        assert process.wait(DEADLINE_S) == 0


def test_the_next_worker_kills_the_jobs_of_a_killed_worker_and_warden(tmp_path: Path) -> None:
    mark = str(tmp_path / "home")
    os.environ["TITAN_WORKER_HOME"] = mark  # this process has the variable too, and must be spared
    try:
        daemon = f"{sys.executable} -I -S daemon.py"
        with owner(tmp_path, "plain", f"env -i {daemon} hidden; sleep 600", f"{daemon} a; sleep 600") as process:
            said = read_line(process)
            pids = [*said["jobs"], pid_from(tmp_path / "a"), pid_from(tmp_path / "hidden")]
            os.kill(said["warden"], signal.SIGSTOP)  # a stopped warden cannot clean up
            process.kill()
            process.wait()
            assert kill_marked(mark + "-of-another") == 0
            assert all(map(alive, pids))
            assert kill_marked(mark) >= 4
            assert not any(map(alive, [said["warden"], *pids]))
    finally:
        del os.environ["TITAN_WORKER_HOME"]


def test_close_gets_rid_of_a_warden_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("titan.worker.processes.warden_link.CLOSE_S", 0.1)

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sleep", "600")
            await bench.until(lambda: bench.of("started", 1))
            os.kill(bench.link.pid, signal.SIGSTOP)
            await bench.link.close()
            assert not alive(bench.of("started", 1)[0][2])
            assert not alive(bench.link.pid)
            assert bench.returncodes == []

    run_in_loop(main())


KILLERS = {
    "at once": "printf said; kill -9 $PPID; sleep 600",
    "much": "head -c 300000 /dev/zero | tr '\\0' x; printf err >&2; kill -9 $PPID",
    "over the limit": "head -c 3000000 /dev/zero | tr '\\0' x; printf end; kill -9 $PPID",
}


@pytest.mark.parametrize("command", KILLERS.values(), ids=KILLERS.keys())
def test_output_written_before_a_job_killed_its_warden_is_in_its_log(tmp_path: Path, command: str) -> None:
    async def main() -> None:
        bench = WardenBench(tmp_path)
        begun: list[int] = []
        salvaged: list[tuple[Any, ...]] = []

        def died(_: int) -> None:
            kill_descendants(os.getpid())
            begun.extend(bench.link.begun())
            salvaged.extend(named(bench.link.salvage()))
            for _, key, stream, offset, _, data in [report for report in salvaged if report[0] == "output"]:
                assert bench.log(key, stream).read_bytes()[offset:].startswith(data)
            bench.returncodes.append(0)

        bench.link._on_died = died
        bench.link.launch()
        bench.start(1, "sleep", "600")
        bench.start(2, "sh", "-c", command, log_limit=MIB)
        await bench.until(lambda: bench.returncodes)
        assert sorted(begun) == [1, 2]
        log = bench.log(2, 1).read_bytes()
        if "said" in command:
            assert log == b"said"
        elif "err" in command:
            assert log == b"x" * 300_000
            assert bench.log(2, 2).read_bytes() == b"err"
        else:  # the tail that the warden held in memory is lost, and a report says so
            assert MIB // 2 < len(log) <= MIB
            assert set(log.removesuffix(b"end")) == {ord("x")}
            (lost,) = [report for report in salvaged if report[0] == "log_failed"]
            assert "the process that kept it was killed" in lost[4]
        assert not any(map(is_of_a_warden, os.listdir("/proc/self/fd")))

    become_subreaper()
    try:
        run_in_loop(main())
    finally:
        become_subreaper(on=False)


def is_of_a_warden(fd: str) -> bool:
    """Return whether a descriptor of this process is memory that it shared with a warden."""
    with contextlib.suppress(OSError):
        return "titan-warden" in os.readlink(f"/proc/self/fd/{fd}")
    return False


def test_a_warden_that_is_stopped_is_killed_with_its_jobs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sh", "-c", "kill -STOP $PPID; sleep 600")
            await bench.until(lambda: bench.returncodes, "it is seen and killed", 6.0)
            assert bench.returncodes == [-signal.SIGKILL]
            assert not alive(bench.link.pid)
            kill_descendants(os.getpid())

    become_subreaper()
    try:
        run_in_loop(main())
    finally:
        become_subreaper(on=False)
    assert "is stopped (SIGSTOP)" in caplog.text


def test_a_warden_that_does_not_answer_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The warden is not stopped, but it hangs: a job that it starts waits for a reader of a pipe
    before it executes. A disk that hangs has the same effect."""
    monkeypatch.setattr("titan.worker.processes.warden_link.WATCH_S", 0.1)

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sleep", "600")
            await bench.until(lambda: bench.of("started", 1))
            os.mkfifo(tmp_path / "never")
            bench.start(2, "true", rlimits={"cgroups": [str(tmp_path / "never")]})
            await bench.until(lambda: bench.returncodes, "it is seen and killed", 6.0)
            kill_descendants(os.getpid())

    become_subreaper()
    try:
        run_in_loop(main())
    finally:
        become_subreaper(on=False)


def test_an_idle_warden_is_not_asked(tmp_path: Path) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "true")
            await bench.exited(1)
            assert bench.link._process is not None
            await bench.until(lambda: not bench.link._watching, "the watch ends", 5.0)
            os.kill(bench.link.pid, signal.SIGSTOP)
            bench.start(2, "true")  # the next order begins the watch again
            await bench.until(lambda: bench.returncodes, "it is seen and killed", 6.0)

    run_in_loop(main())


def test_kill_descendants_spares_the_given_processes(tmp_path: Path) -> None:
    become_subreaper()
    try:
        shell = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, cwd=tmp_path)
        spared = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, cwd=tmp_path)
        assert shell.stdout is not None
        assert spared.stdout is not None
        doomed, kept = int(shell.stdout.readline()), int(spared.stdout.readline())
        assert kill_descendants(os.getpid(), except_pids=[spared.pid]) == 2
        assert alive(spared.pid)
        assert alive(kept)
        assert processes.read_process(doomed) is None  # the process is also reaped
        assert kill_descendants(os.getpid()) == 2
        for process in (shell, spared):
            process.communicate()
    finally:
        become_subreaper(on=False)


def test_a_link_is_launched_once_and_before_its_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        bench = WardenBench(tmp_path)
        await bench.link.close()
        with pytest.raises(Bug):
            bench.start(1, "true")
        bench.link.launch()
        with pytest.raises(Bug):
            bench.link.launch()
        with pytest.raises(Bug, match="relative"):
            bench.start(1, "true", cwd=".")
        await bench.link.close()
        await bench.link.close()
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        with pytest.raises(EnvironmentFault, match="/no/such/python"):
            WardenBench(tmp_path).link.launch()

    run_in_loop(main())


# -- the ways to start a process -------------------------------------------------------------------
def test_the_public_way_to_start_gives_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def changed(_arguments: tuple[Any, ...], _open_files: int) -> int:
        raise TypeError("fork_exec() takes other arguments")

    def attempt(*argv: str, cwd: str = "/", env: Mapping[str, str] = {"PATH": PATH}) -> object:
        with open(os.devnull, "r+b") as null:
            try:
                options: Any = {"rlimits": {"RLIMIT_CORE": 0}, "stdio": (null.fileno(),) * 3, "open_files": 99}
                pid = spawning.spawn(argv, cwd, env, base={"BASE": b"BASE=x"}, **options)
            except spawning.Refused as refused:
                return refused.code, refused.message
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def attempts() -> list[object]:
        return [
            attempt("sh", "-c", "exit 4"),
            attempt("sh", "-c", "test $(ulimit -n) = 99 && test $(ulimit -c) = 0"),
            attempt("no-such-command"),
            attempt("true", cwd=str(tmp_path / "none")),
            attempt(str(tmp_path)),
            attempt("sh", "-c", 'test "$A" = b && test $(ps -o sid= $$) -eq $$', env={"PATH": PATH, "A": "b"}),
        ]

    fast = attempts()
    assert fast[:2] == [4, 0]
    monkeypatch.setattr(spawning, "fork_exec", changed)
    assert attempts() == fast


def test_many_jobs_at_once_need_more_files_than_a_job_may_open(tmp_path: Path) -> None:
    import resource

    jobs, (soft, hard) = 100, resource.getrlimit(resource.RLIMIT_NOFILE)
    script = "ulimit -n; i=0; while [ $i -lt 300 ]; do echo $i line; i=$((i+1)); done; head -c 30000 /dev/zero >&2; read x < go"
    os.mkfifo(tmp_path / "go")

    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            for key in range(jobs):
                bench.start(key, "sh", "-c", script)
            await bench.until(lambda: all(len(bench.streamed(key, 2)) == 30_000 for key in range(jobs)), "all output")
            go = os.open(tmp_path / "go", os.O_RDWR)
            os.write(go, b"\n" * jobs)
            for key in range(jobs):
                assert (await bench.exited(key))[2] in (0, 1)
                lines = bench.log(key, 1).read_bytes().splitlines()
                assert lines == [b"128"] + [b"%d line" % i for i in range(300)]
                assert bench.streamed(key, 1) == bench.log(key, 1).read_bytes()
            os.close(go)

    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        run_in_loop(main())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_warden_that_fails_takes_its_jobs_with_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        async with running_warden(tmp_path) as bench:
            bench.start(1, "sh", "-c", "setsid sleep 600 & echo on; exec sleep 600")
            await bench.until(lambda: bench.streamed(1, 1))
            bench.link._order(("stop", 1, "soon"))
            await bench.until(lambda: bench.returncodes == [1], "the death of the warden")
            assert not alive(bench.of("started", 1)[0][2])

    run_in_loop(main())
    assert "TypeError" in capfd.readouterr().err


def test_the_warden_runs_two_thousand_jobs_and_prints_its_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs, at_once = 2000, 2

    def cpu_s(pid: int) -> float:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    async def main() -> None:
        launched = time.perf_counter()
        async with running_warden(tmp_path) as bench:
            bench.start(0, "true")
            await bench.exited(0)
            first = time.perf_counter() - launched
            keys = iter(range(1, jobs + 1))

            def start_next(_key: int) -> None:
                if (key := next(keys, None)) is not None:
                    bench.start(key, "true")

            bench.on_exit = start_next
            began, spent = time.perf_counter(), cpu_s(bench.link.pid)
            for _ in range(at_once):
                start_next(0)
            await bench.until(lambda: len(bench.exits) == jobs + 1, "all jobs", 60)
            took, spent = time.perf_counter() - began, cpu_s(bench.link.pid) - spent
            assert {report[2] for report in bench.exits.values()} == {0}
            status = Path(f"/proc/{bench.link.pid}/status").read_text()
            rss = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
            with capsys.disabled():
                print(f"\nwarden: {jobs / took:,.0f} jobs/s, {spent / jobs * 1e6:.0f} us of its CPU per job, ", end="")
                print(f"{rss} kB resident, first job over {first * 1e3:.0f} ms after launch")

    run_in_loop(main())
