"""`titan files`: what jobs left in their folders is listed and downloaded, from any worker."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from support.cluster import FAST, Cluster, cluster
from support.waiting import until
from titan import DAG, Client, Job
from titan.core.events.events import RunArchived
from titan.errors import EnvironmentFault
from titan.sdk.run import Run

NARROW = {"COLUMNS": "80", "LANG": "C", "LC_ALL": "C"}
LEAVES = """
mkdir -p plots sub/dir
echo log >log.txt; echo plot >plots/loss.png; echo out >out.txt; echo deep >sub/dir/f; ln -s /etc/passwd passwd; ln -s / root
mkfifo pipe; printf n >"$(printf 'bad\\033[2Jname')"; printf u >"$(printf '\\377')"; echo '#!/bin/sh' >run.sh; chmod 755 run.sh
"""


def ran(c: Cluster, *jobs: Job) -> Run:
    run = c.client.submit(DAG("d", list(jobs)))
    run.wait(timeout=60)
    return run


def refused(c: Cluster, *args: str, code: int = 2) -> str:
    done = c.cli("files", *args, env=NARROW)
    assert done.returncode == code and done.stderr.count("\n") == 1 and done.stderr.startswith("titan: "), done
    return done.stderr.removeprefix("titan: ").rstrip()


def test_what_a_job_left_is_listed_and_downloaded_and_no_link_is_followed(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", "w2") as c:
        run = ran(c, Job("a", command=LEAVES, outputs={"result": "out.txt", "plots": "plots"}))
        name = f"{run.id}/a"
        lines = c.cli("files", "last/a", env=NARROW).stdout.splitlines()
        assert all(line.isascii() and line.isprintable() and len(line) <= 80 for line in lines), lines
        assert lines[-1].startswith("10 files, "), lines
        rows = {line.split()[0]: line for line in lines[1:-1]}
        assert rows["out.txt"].endswith("output result") and rows["plots/loss.png"].endswith("output plots")
        assert rows["passwd"].endswith("link to /etc/passwd, not followed")
        assert "bad\\x1b[2Jname" in rows and rows["pipe"].endswith("neither file nor link")
        done = c.cli("files", name, "--all", "-o", "got")
        assert done.returncode == 0 and f" of {name} in got" in done.stdout, done
        got = c.base / "got"
        found = sorted(os.fsencode(path.relative_to(got)) for path in got.rglob("*") if not path.is_dir())
        plain = [b"bad\x1b[2Jname", b"log.txt", b"out.txt", b"plots/loss.png", b"run.sh", b"sub/dir/f", b"\xff"]
        assert found == plain and not any(path.is_symlink() for path in got.rglob("*"))
        assert (got / "out.txt").read_text() == "out\n" and (got / "plots/loss.png").read_text() == "plot\n"
        assert os.access(got / "run.sh", os.X_OK) and not os.access(got / "log.txt", os.X_OK)
        assert c.cli("files", name, "log.txt", "out.txt", "sub", "-o", "-").stdout == "log\nout\ndeep\n"
        assert refused(c, name, "log.txt", "-o", "got").startswith("got/log.txt exists: nothing was downloaded.")
        assert c.cli("files", name, "sub/dir", "-o", "got", "--replace").returncode == 0


def test_wrong_requests_are_one_line_that_names_the_fix(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1") as c:
        run = ran(c, Job("a", command=LEAVES), Job("none", command="true"))
        name = f"{run.id}/a"
        assert refused(c, name, "lgo.txt") == f"{name} left no 'lgo.txt': did you mean 'log.txt'?"
        assert refused(c, name, "passwd") == "'passwd' is a link: it is listed, and cannot be downloaded"
        assert refused(c, name, "root/etc/passwd").startswith(f"{name} left no 'root/etc/passwd'")
        for path in ("../../lock", "/etc/passwd", "\x1b[2J"):
            assert "\x1b" not in (error := refused(c, name, path)) and error.startswith(f"{name} left no ")
        assert refused(c, name, "-o", "x") == "name the files to download, or give --all"
        assert refused(c, name, "log.txt", "--all").startswith("--all downloads all files")
        assert refused(c, name, "log.txt", "-o", "/proc/x", code=74).startswith("/proc/x/log.txt cannot be written: ")
        assert refused(c, f"{run.id}/b") == f"run {run.id} has no job 'b': `titan status {run.id}` lists them"
        assert refused(c, name, "--attempt", "2") == f"{name} has had 1 attempts; there is no attempt 2"
        nothing = f"{run.id}/none left no files in its folder (attempt 1, worker w1)"
        assert c.cli("files", f"{run.id}/none").stdout == f"! {nothing}\n"
        assert refused(c, f"{run.id}/none", "--all", code=1) == nothing
        assert refused(c, f"{run.id}/none", "x") == nothing


def shown(c: Cluster, *words: str) -> str:
    """Return what `titan files WORDS -o -` prints."""
    return c.cli("files", *words, "-o", "-").stdout


def test_attempts_arrays_shared_folders_and_calls(tmp_path: Path) -> None:
    fails = 'echo "try $TITAN_ATTEMPT" >try.txt; test "$TITAN_ATTEMPT" = 2'
    with cluster(tmp_path / "c", "w1", "w2") as c:
        run = ran(
            c,
            Job("a", command=fails, retries=1, outputs={"t": "try.txt"}),
            Job("part", command='echo "$1" >"$1.txt"', foreach=["x", "y"]),
            Job("one", command="echo one >one.txt", cwd="shared"),
            Job("far", command="true", cwd=str(tmp_path)),
        )
        assert (shown(c, f"{run.id}/a", "try.txt"), shown(c, f"{run.id}/a", "try.txt", "--attempt", "1")) == ("try 2\n", "try 1\n")
        (first,) = c.json("files", f"{run.id}/a", "--attempt", "1")["files"]
        assert (first["path"], first["output"]) == ("try.txt", "t")
        assert shown(c, f"{run.id}/part[1]", "y.txt") == "y\n"
        assert f"'{run.id}/part[1]'" in refused(c, f"{run.id}/part[1]", "nothing-like-it")
        assert shown(c, f"{run.id}/one", "one.txt") == "one\n"
        remark = c.json("files", f"{run.id}/far")["remark"]
        assert (
            remark == f"{run.id}/far ran in {tmp_path} of worker {run.status().jobs[-1].worker}: what it left there is not listed"
        )
        future = c.client.call(sum, [1, 2])
        assert future.result(60) == 3
        assert "calls run in the folder of their runner" in c.cli("files", future.job or "").stdout


def test_a_worker_that_is_away_is_named_and_outputs_are_there_all_the_same(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings=FAST) as c:
        run = ran(c, Job("a", command="echo out >out.txt; echo left >left.txt", outputs={"o": "out.txt"}))
        c.kill_worker("w1")
        until(lambda: c.worker("w1").state == "LOST", "w1 is lost")
        away = "worker w1 is away (LOST): what the job left there is listed when it is back"
        lines = c.cli("files", f"{run.id}/a").stdout.splitlines()
        assert lines[-1] == f"! {away}" and [line.split()[0] for line in lines[1:-2]] == ["out.txt"]
        assert refused(c, f"{run.id}/a", "left.txt") == away
        assert c.cli("files", f"{run.id}/a", "out.txt", "-o", "-").stdout == "out\n"
        done = c.cli("files", f"{run.id}/a", "--all", "-o", "got")
        assert (done.returncode, done.stderr) == (1, f"titan: {away}\n") and (c.base / "got" / "out.txt").exists()
        c.start_workers("w1")
        assert c.cli("files", f"{run.id}/a", "left.txt", "-o", "-").stdout == "left\n", "the folder outlives the worker's process"


def test_a_removed_folder_is_named_with_the_option(tmp_path: Path) -> None:
    with cluster(tmp_path / "c") as c:
        c.start_worker("w1", "--keep-size", "1MiB")
        c.wait_for_workers("w1")
        run = ran(c, Job("a", command="head -c 3000000 /dev/zero >big"))
        c.workers.pop("w1").terminate()
        until(lambda: c.worker("w1").state != "ALIVE", "w1 ends")
        c.start_worker("w1", "--keep-size", "1MiB")
        c.wait_for_workers("w1")
        until(lambda: c.client.files(f"{run.id}/a").removed_at, "the folder is removed")
        line = c.cli("files", f"{run.id}/a").stdout
        assert line.startswith(f"! worker w1 removed the folder of {run.id}/a at 20"), line
        assert line.endswith(": `titan worker --keep-size 1MiB`\n"), line


def test_a_large_file_arrives_whole_while_jobs_run_and_the_master_restarts(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1") as c:
        run = ran(c, Job("a", command="head -c 300000000 /dev/urandom >big; sha256sum <big"))
        wanted = c.printed(run, "a").split()[0]
        download = c.spawn("files", f"{run.id}/a", "big", "-o", "got")
        part = c.base / "got"
        until(lambda: part.is_dir() and any(path.stat().st_size for path in part.iterdir()), "the download has begun")
        c.kill_master()
        c.restart_master()
        c.wait_for_workers("w1")
        assert c.client.submit(DAG("d", [Job("b", command="true")])).wait(timeout=60).ok
        code = download.wait()
        if code:  # the worker was not back when the download went on
            assert "worker w1 is away" in download.err, download.err
            assert c.cli("files", f"{run.id}/a", "big", "-o", "got", "--replace").returncode == 0
        assert hashlib.sha256((c.base / "got" / "big").read_bytes()).hexdigest() == wanted
        assert len(list(part.iterdir())) == 1, "no partial file is left"


def test_a_slow_reader_holds_no_more_than_a_window_in_the_master(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1") as c:
        run = ran(c, Job("a", command="head -c 400000000 /dev/zero >big"))
        slow = c.spawn("files", f"{run.id}/a", "big", "-o", "-", "--master", c.address, program=("sh", "-c", SLOW, sys.executable))
        assert c.master is not None
        before = memory_of(c.master.pid)
        until(lambda: "begun" in slow.err, "the download has begun")
        for _ in range(20):
            assert c.client.submit(DAG("d", [Job("b", command="true")])).wait(timeout=60).ok
        assert memory_of(c.master.pid) - before < 150 << 20
        (c.base / "go").touch()
        assert slow.wait() == 0 and 0 < 400_000_000 - int(slow.out) <= 2_000_000, (slow.out, slow.err)


SLOW = """
"$0" -m titan "$@" |
{ head -c 1000000 >/dev/null; echo begun >&2; while ! test -e go; do sleep 0.1; done; wc -c | tr -d ' '; }
"""


def memory_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_hundred_thousand_files_are_listed_in_pages(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1") as c:
        run = ran(c, Job("a", command="echo here >first"))
        folder = c.worker_home("w1") / "titan_workspace" / "jobs" / run.id / "a.1"
        for n in range(100):
            (folder / f"{n:02}").mkdir()
            for m in range(1000):
                os.close(os.open(folder / f"{n:02}" / f"{m:03}", os.O_CREAT | os.O_WRONLY))
        found = c.client.files(f"{run.id}/a")
        assert len(found.files) == 100_001 and found.files[54_321].path == "54/321"
        assert len(c.client.download_files(found, tmp_path / "some", found.at("07"))) == 1000
        assert c.cli("files", f"{run.id}/a").stdout.splitlines()[-1] == "100,001 files, 5 bytes"


def test_files_of_an_archived_run_are_found_until_its_worker_leaves(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings={**FAST, "keep_runs": 1}) as c:
        run = ran(c, Job("a", command="echo out >out.txt; echo left >left.txt", outputs={"o": "out.txt"}))
        for _ in range(2):
            ran(c, Job("b", command="true"))
        until(lambda: run.id in [event.run for event in c.events() if isinstance(event, RunArchived)], "the run is archived")
        assert [file.path for file in c.client.files(f"{run.id}/a").files] == ["left.txt", "out.txt"]
        assert c.cli("files", f"{run.id}/a", "left.txt", "-o", "-").stdout == "left\n"
        with Client(c.address) as other, pytest.raises(EnvironmentFault, match="worker w1 is away"):
            found = other.files(f"{run.id}/a")
            c.kill_worker("w1")
            until(lambda: c.worker("w1").state != "ALIVE", "w1 is away")
            other.download_files(found, tmp_path / "got", found.at("left.txt"))
        assert not list((tmp_path / "got").iterdir())
