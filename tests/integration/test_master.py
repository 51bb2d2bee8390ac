"""A master and its home: sync policies, recovery, snapshots, torn tails, damage, locks, ports, and
a disk that is full."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.cluster import QUIET, Cluster, cluster
from support.waiting import until
from titan import DAG, Client, Job
from titan.cli.journal import journal
from titan.errors import EnvironmentFault
from titan.journal import encode_record, read_records
from titan.journal.records import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
from titan.sdk.status import RunStatus


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster without a master so far."""
    made = Cluster(tmp_path / "c")
    try:
        yield made
    finally:
        made.close()


def everything(c: Cluster) -> list[RunStatus]:
    return [c.client.status(run.run) for run in c.client.runs(10_000)]


def segments(c: Cluster) -> list[Path]:
    return sorted(c.store.glob("*.seg"))


def verified(c: Cluster) -> bool:
    done = c.cli("journal", "verify", "--home", str(c.home))
    assert done.returncode == 0, done
    return done.stdout.splitlines()[-1].startswith("ok: ")


# -- what survives ---------------------------------------------------------------------------------
@pytest.mark.parametrize("policy", ["always", "everysec", "no"])
def test_acknowledged_changes_survive_kill_under_every_policy(c: Cluster, policy: str) -> None:
    """The end of a process loses nothing that the process has written to the kernel. Only the
    policy `always` also survives a power failure."""
    c.start_master("--fsync", policy)
    c.start_workers("w1")
    run = c.client.submit(DAG("done", [Job("a", command="true"), Job("b", command="exit 3", parents=["a"], retries=0)]))
    run.wait(20)
    waiting = c.client.submit(DAG("waiting", [Job("a", command="true", requirement="NOBODY")]))
    cancelled = c.client.submit(DAG("cancelled", [Job("a", command="true", requirement="NOBODY")]))
    assert cancelled.cancel() == 1
    before = everything(c)
    c.restart_master()
    assert everything(c) == before
    assert [run.state for run in before] == ["CANCELLED", "RUNNING", "FAILED"]
    assert waiting.status().jobs[0].state == "QUEUED"
    assert verified(c)


def test_a_submission_and_a_cancellation_survive_a_kill_right_behind_their_answer(c: Cluster) -> None:
    c.start_master()
    for n in range(5):
        run = c.client.submit(DAG(f"n{n}", [Job("a", command="true"), Job("b", command="true", parents=["a"])]))
        c.restart_master()
        assert run.status().state == "RUNNING"
        assert c.client.cancel(f"{run.id}/b") == 1
        c.restart_master()
        assert [job.state for job in run.status().jobs] == ["QUEUED", "CANCELLED"]


def test_without_a_journal_a_kill_loses_all_runs_and_the_start_warns_of_it(c: Cluster) -> None:
    c.start_master("--journal", "none")
    assert c.master is not None
    assert "no journal is kept: a crash of this master loses every run" in c.master.err
    c.start_workers("w1")
    assert c.client.submit(DAG("done", [Job("a", command="true")])).wait(20).ok
    assert not c.store.exists()
    c.restart_master()
    assert c.client.runs() == []
    c.wait_for_workers("w1")
    assert c.client.submit(DAG("done", [Job("a", command="true")])).wait(20).ok


@pytest.mark.parametrize("signal_name", ["terminate", "interrupt"])
def test_a_master_ends_on_a_signal_and_workers_find_the_next(c: Cluster, signal_name: str) -> None:
    c.start_master()
    c.start_workers("w1")
    assert c.master is not None
    getattr(c.master, signal_name)()
    assert c.master.wait(5) == 0
    assert not (c.home / "master.json").exists()
    c.start_master()
    c.wait_for_workers("w1")
    assert c.client.submit(DAG("done", [Job("a", command="true")])).wait(20).ok


def test_a_client_can_stop_the_master(c: Cluster) -> None:
    c.start_master()
    assert c.master is not None
    c.client.stop_master()
    assert c.master.wait(5) == 0


# -- snapshots -------------------------------------------------------------------------------------
def test_a_snapshot_appears_old_segments_go_and_a_restart_recovers_the_same(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings={**QUIET, "snapshot_bytes": 200_000}) as c:
        c.client.submit(DAG("first", [Job("a", command="true", requirement="NOBODY")]))
        first = segments(c)[0]

        def work() -> None:
            jobs = [Job(f"a-job-with-a-rather-long-name-{n}", command=["true"], requirement="NOBODY") for n in range(1000)]
            run = c.client.submit(DAG("many", [*jobs, Job("real", command="true")]))
            until(lambda: run.status().jobs[-1].state == "COMPLETED", "the real one ran")
            assert run.cancel() == 1000

        def snapshots_and_pruned() -> bool:
            work()
            return len(list(c.store.glob("*.snap"))) >= 2 and not first.exists()

        until(snapshots_and_pruned, "two snapshots are there, and the first segment is gone", 30.0)
        before = everything(c)
        assert len(before) > 3
        assert verified(c)
        listed = json.loads(c.cli("journal", "inspect", "--home", str(c.home), "--json").stdout)
        assert len(listed) == len(list(c.store.glob("*.snap"))) + len(segments(c))
        c.restart_master()
        assert everything(c) == before
        c.wait_for_workers("w1")
        assert c.client.submit(DAG("after", [Job("a", command="true")])).wait(20).ok
        # The newest snapshot is damaged: the snapshot before it and the log after that are enough.
        c.kill_master()
        newest = max(c.store.glob("*.snap"))
        data = bytearray(newest.read_bytes())
        data[len(data) // 2] ^= 0xFF
        newest.write_bytes(data)
        c.start_master()
        assert c.master is not None
        assert "is damaged" in c.master.err
        assert everything(c)[1:] == before


def test_the_journal_of_a_running_master_is_read_while_it_is_compacted(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", settings={**QUIET, "snapshot_bytes": 100_000}) as c, ThreadPoolExecutor(1) as pool:
        over = threading.Event()

        def submit_and_cancel() -> None:
            while not over.is_set():
                jobs = [Job(f"a-job-with-a-rather-long-name-{n}", command=["true"]) for n in range(300)]
                c.client.submit(DAG("many", jobs)).cancel()

        working = pool.submit(submit_and_cancel)
        snapshots: set[str] = set()
        outputs = []

        def read() -> bool:
            for words in (["verify"], ["inspect"], ["inspect", "--events", "--json"]):
                done = CliRunner().invoke(journal, [*words, "--home", str(c.home)])
                assert done.exit_code == 0, (words, done.output[-2000:], done.exception)
                outputs.append(done.output)
            snapshots.update(path.name for path in c.store.glob("*.snap"))
            return len(snapshots) >= 5

        try:
            until(read, "the journal is compacted several times", 60)
        finally:
            over.set()
        working.result()
        assert re.match(r"titan: sequences 1 to [\d,]+ are only in the snapshot, without their events\n\{", outputs[-1])


# -- damage ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("tail", ["garbage", "a record that is cut"])
def test_a_torn_tail_is_cut_off_and_reported(c: Cluster, tail: str) -> None:
    c.start_master()
    run = c.client.submit(DAG("kept", [Job("a", command="true")]))
    c.kill_master()
    records = list(read_records(c.store))
    cut = encode_record(b"x" * 500, first_seq=records[-1].last_seq + 1, count=1, term=1, synced_seq=records[-1].last_seq)[:300]
    (last,) = segments(c)
    with last.open("r+b") as segment:
        segment.seek(SEGMENT_HEADER_BYTES + sum(RECORD_HEADER_BYTES + len(record.payload) for record in records))
        segment.write(cut if tail != "garbage" else bytes(range(255, 0, -1)))
    c.start_master()
    assert c.master is not None
    assert f"{last}: torn at " in c.master.err
    assert run.status().state == "RUNNING"
    again = c.client.submit(DAG("next", [Job("a", command="true")]))
    c.restart_master()
    assert {r.run for r in c.client.runs()} == {run.id, again.id}
    assert verified(c)


def test_a_bad_record_before_the_tail_refuses_to_start_and_names_its_place(c: Cluster) -> None:
    c.start_master()
    for n in range(20):
        c.client.submit(DAG(f"n{n}", [Job("a", command="true")]))
    c.kill_master()
    first = segments(c)[0]
    data = bytearray(first.read_bytes())
    data[400] ^= 0xFF
    first.write_bytes(data)
    done = c.cli("master", "--home", str(c.home), "--port", "0")
    assert done.returncode == 74
    assert first.name in done.stderr
    assert "Traceback" not in done.stderr
    checked = c.cli("journal", "verify", "--home", str(c.home))
    assert checked.returncode == 1
    assert "DAMAGED" in checked.stdout
    assert bytes(data) == first.read_bytes()


# -- what is taken ---------------------------------------------------------------------------------
def test_a_port_in_use_is_refused(c: Cluster) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = c.cli("master", "--home", str(c.home), "--port", str(port))
    assert done.returncode == 74
    assert f"port {port} on 127.0.0.1 is in use by another program: give another with --port" in done.stderr
    c.start_master()
    assert c.client.runs() == []


def test_a_home_that_another_master_has_locked(c: Cluster) -> None:
    c.start_master()
    assert c.master is not None
    done = c.cli("master", "--home", str(c.home), "--port", "0")
    assert done.returncode == 2
    assert f"{c.home} is in use by the process with pid {c.master.pid}" in done.stderr
    assert c.client.submit(DAG("still", [Job("a", command="true")])).status().state == "RUNNING"


@pytest.mark.parametrize("what", ["a file", "forbidden"])
def test_a_home_that_cannot_be_made(c: Cluster, what: str) -> None:
    (c.base / "file").touch()
    home = c.base / "file" / "home" if what == "a file" else Path("/proc/nowhere/home")
    for command in (("master", "--port", "0"), ("worker", "--master", "127.0.0.1:1"), ("run", "--", "true")):
        words = (command[0], "--home", str(home), *command[1:])
        done = c.cli(*words)
        assert done.returncode == 74, done
        assert f"the home {home} cannot be" in done.stderr
        assert "Traceback" not in done.stderr


# -- a full disk -----------------------------------------------------------------------------------
@pytest.fixture
def small_disk(c: Cluster) -> Iterator[Path]:
    """Give the master's home a disk of 48 MiB. It has room for the current and the next segment of
    the journal, and for little else."""
    c.home.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "tmpfs", str(c.home)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield c.home
    finally:
        c.close()
        subprocess.run(["umount", str(c.home)], check=True)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filler").open("ab", buffering=0) as filler:
        while filler.write(bytes(65_536)):
            pass


def test_a_full_disk_refuses_submissions_and_loses_nothing(c: Cluster, small_disk: Path) -> None:
    c.start_master()
    c.start_workers("w1")
    accepted = [c.client.submit(DAG("small", [Job("a", command="echo kept")]))]
    assert accepted[0].wait(20).ok
    fill(small_disk)
    large = "# " + "x" * 100_000
    with pytest.raises(EnvironmentFault, match="free space there, then submit again"):
        for n in range(400):
            jobs = [Job(f"j{i}", command=f"true {n} {i} {large}", requirement="NOBODY") for i in range(5)]
            accepted.append(c.client.submit(DAG("large", jobs)))
    assert len(accepted) > 1
    assert c.client.cancel(accepted[1].id) == 5
    assert c.client.runs(1)[0].run == accepted[-1].id
    (small_disk / "filler").unlink()
    c.restart_master()
    assert {run.run for run in c.client.runs(1000)} == {run.id for run in accepted}
    assert accepted[1].status().state == "CANCELLED"
    c.wait_for_workers("w1")
    assert c.client.submit(DAG("after", [Job("a", command="true")])).wait(20).ok
    assert verified(c)


def test_a_full_disk_costs_output_and_uploads_but_no_job_and_no_process(c: Cluster, small_disk: Path, tmp_path: Path) -> None:
    c.start_master()
    c.start_workers("w1")
    script = tmp_path / "script.sh"
    script.write_text("echo hi\n#" + "x" * 200_000)
    fill(small_disk)
    with pytest.raises(EnvironmentFault, match="the disk of the master's files is full"):
        c.client.submit(DAG("upload", [Job("a", file=script)]))
    noisy = c.client.submit(DAG("noisy", [Job("a", command="yes | head -c 2000000"), Job("b", command="true", parents=["a"])]))
    assert noisy.wait(20).ok
    assert c.workers["w1"].running
    (small_disk / "filler").unlink()
    run = c.client.submit(DAG("upload", [Job("a", file=script)]))
    assert run.wait(20).ok
    assert list(c.client.logs(f"{run.id}/a")) == [(1, b"hi\n")]


def test_a_master_does_not_start_on_a_full_disk_and_does_once_there_is_space(c: Cluster, small_disk: Path) -> None:
    c.start_master()
    run = c.client.submit(DAG("kept", [Job("a", command="true")]))
    c.kill_master()
    fill(small_disk)
    done = c.cli("master", "--home", str(c.home), "--port", str(c.port))
    assert done.returncode == 74
    assert "no space for the next journal segment: free space under" in done.stderr
    (small_disk / "filler").unlink()
    c.start_master()
    with Client(c.address) as client:
        assert [r.run for r in client.runs()] == [run.id]
