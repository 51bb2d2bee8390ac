"""Scripts that misbehave. Each gets a clear end, and a well-behaved job on the same worker is not
affected."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.cluster import Cluster, Spawned, alive, cluster, processes_below
from support.waiting import until
from titan import DAG, Job
from titan.sdk.run import Run
from titan.sdk.status import JobStatus

MIB = 1 << 20


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("bad") / "c", "w1") as made:
        made.start_worker("small", "--log-limit", "1", "--capability", "SMALL")
        made.wait_for_workers("small")
        yield made


@pytest.fixture(autouse=True)
def neighbour(c: Cluster) -> Iterator[None]:
    """Run a job beside the test's own jobs. It must be COMPLETED after the test, with all its
    output."""
    go = c.base / "go"
    go.unlink(missing_ok=True)
    job = Job("good", command=f"echo begin; while [ ! -e {go} ]; do sleep 0.02; done; echo end", retries=0)
    run = c.client.submit(DAG("neighbour", [job]))
    until(lambda: run.status().jobs[0].state == "RUNNING", "the neighbour runs")
    yield
    go.touch()
    assert run.wait(10).ok
    assert c.output(f"{run.id}/good", stream=1) == b"begin\nend\n"
    left = [command for command in processes_below(c.base).values() if "titan_workspace" in command or "sleep" in command]
    assert not left


def outcome(c: Cluster, job: Job) -> tuple[Run, JobStatus]:
    run = c.client.submit(DAG("bad", [job]))
    run.wait(60)
    return run, run.status().jobs[0]


def memory(spawned: Spawned) -> int:
    family = psutil.Process(spawned.pid)
    return sum(process.memory_info().rss for process in [family, *family.children()])


def test_a_script_that_prints_300_mb_fills_neither_memory_nor_disk(c: Cluster) -> None:
    assert c.master is not None
    before = memory(c.master), memory(c.workers["w1"])
    source = "import sys\nfor n in range(300): sys.stdout.write(f'{n:09}\\n' * 100_000)\nprint('the end')"
    run, job = outcome(c, Job("a", command=[sys.executable, "-c", source], retries=0))
    assert job.state == "COMPLETED"
    text = c.output(f"{run.id}/a", stream=1)
    assert len(text) == 16 * MIB
    assert text.startswith(b"000000000\n")
    assert text.endswith(b"000000299\nthe end\n")
    gaps = [piece.skipped for piece in c.client.log_pieces(f"{run.id}/a") if piece.skipped]
    assert gaps == [300 * 100_000 * 10 + len("the end\n") - 16 * MIB]
    assert memory(c.master) - before[0] < 64 * MIB
    assert memory(c.workers["w1"]) - before[1] < 64 * MIB


def test_a_script_over_its_log_limit_keeps_head_and_tail(c: Cluster) -> None:
    run, job = outcome(c, Job("a", command="yes | head -c 3000000; echo end >&2", requirement="SMALL", retries=0))
    assert job.state == "COMPLETED"
    text = c.output(f"{run.id}/a", stream=1)
    assert text == b"y\n" * (MIB // 2)
    done = c.cli("logs", f"{run.id}/a")
    assert f"titan: {3_000_000 - MIB:,} bytes of stdout were dropped here" in done.stderr
    assert done.stdout == text.decode()
    assert c.output(f"{run.id}/a", stream=2) == b"end\n"


def test_binary_output_is_kept_byte_by_byte(c: Cluster) -> None:
    run, job = outcome(c, Job("a", command=r"printf 'a\377\376\000b\n'; printf '\303(' >&2", retries=0))
    assert job.state == "COMPLETED"
    assert c.output(f"{run.id}/a", stream=1) == b"a\xff\xfe\0b\n"
    assert c.output(f"{run.id}/a", stream=2) == b"\xc3("
    assert "a\ufffd\ufffd\0b\n" in c.cli("logs", f"{run.id}/a").stdout
    assert "\\ufffd" in c.cli("logs", f"{run.id}/a", "--json").stdout


def test_children_that_outlive_a_script_are_killed(c: Cluster, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = (
        f"sleep 600 & echo $! >>{pids}\n"
        f"setsid sh -c 'echo $$ >>{pids}; exec sleep 600' &\n"
        f"(setsid env -i sh -c 'echo $$ >>{pids}; exec sleep 600' &)\n"
        f"while [ $(wc -l <{pids}) -lt 3 ]; do sleep 0.01; done"
    )
    _, job = outcome(c, Job("a", command=command, retries=0))
    assert job.state == "COMPLETED"
    hidden = [int(line) for line in pids.read_text().split()]
    assert len(hidden) == 3
    # The process without a session, parent and environment of its job might belong to the
    # neighbour. It may live until the neighbour ends.
    until(lambda: sum(alive(pid) for pid in hidden) <= 1, "the children of the script are killed")
    (c.base / "go").touch()
    until(lambda: not any(alive(pid) for pid in hidden), "the hidden process is killed too")


def test_a_script_that_ignores_sigterm_is_killed(c: Cluster, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    command = f"trap '' TERM INT HUP; touch {ready}; while :; do sleep 0.05; done"
    run = c.client.submit(DAG("bad", [Job("a", command=command)]))
    until(ready.exists, "the script runs")
    assert run.cancel() == 1
    assert run.wait(5).state == "CANCELLED"
    until(lambda: not [p for p in processes_below(c.base).values() if str(ready) in p], "it is killed after the grace", 5.0)


def test_a_script_that_closes_its_output_runs_to_its_end(c: Cluster) -> None:
    run, job = outcome(c, Job("a", command="echo said; exec >&- 2>&-; sleep 0.1; exit 4", retries=0))
    assert (job.state, job.exit_code) == ("DEAD", 4)
    assert c.output(f"{run.id}/a", stream=1) == b"said\n"


@pytest.mark.parametrize(("name", "number"), [("KILL", 9), ("SEGV", 11), ("TERM", 15)])
def test_a_script_killed_by_a_signal_has_the_signal_as_its_reason(c: Cluster, name: str, number: int) -> None:
    _, job = outcome(c, Job("a", command=f"kill -{name} $$; sleep 5", retries=0))
    assert (job.state, job.exit_code, job.reason) == ("DEAD", 128 + number, f"killed by SIG{name}")


def test_a_script_with_a_bad_interpreter_is_refused_with_the_reason(c: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text("#!/no/such/interpreter\n")
    _, job = outcome(c, Job("a", file=script))
    assert (job.state, job.attempt) == ("DEAD", 1)
    assert "the interpreter or loader that it names does not" in job.reason


def test_a_file_that_cannot_be_executed_is_refused_with_the_reason(c: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "data"
    script.write_bytes(b"\0\1\2")
    _, job = outcome(c, Job("a", file=script))
    assert (job.state, job.attempt) == ("DEAD", 1)


def test_a_script_may_delete_its_own_folder(c: Cluster) -> None:
    run, job = outcome(c, Job("a", command='echo before; rm -rf "$PWD"; echo after; exit 3', retries=1))
    assert (job.state, job.attempt, job.exit_code) == ("DEAD", 2, 3)
    assert c.output(f"{run.id}/a", stream=1) == b"before\nafter\n"


def test_a_script_that_reads_stdin_gets_end_of_file(c: Cluster) -> None:
    run, job = outcome(c, Job("a", command="cat; echo done", retries=0))
    assert (job.state, c.output(f"{run.id}/a", stream=1)) == ("COMPLETED", b"done\n")


def test_a_syntax_error_is_not_tried_again(c: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("print('begun')\nif True\n    pass\n")
    run, job = outcome(c, Job("a", file=script, retries=3))
    assert (job.state, job.attempt, job.exit_code) == ("DEAD", 1, 1)
    assert "syntax error in broken.py, line 2: expected ':'" in job.reason
    assert b"SyntaxError" in c.output(f"{run.id}/a", stream=2)
