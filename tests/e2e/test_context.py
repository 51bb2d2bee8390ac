"""Requests of running jobs to their workers, and through the workers to the master, in real
processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

import titan
from support.cluster import FAST, QUIET, cluster
from support.waiting import until
from titan import DAG, Client, Job
from titan.errors import JobFailed
from titan.sdk.status import JobStatus

WHO = """
import os, threading
from titan import context
from titan.net.job_link import READ_VALUE, JobLink
assert (context.run, context.job, context.attempt) == (os.environ["TITAN_RUN"], "who", 1)
link = JobLink()
from titan.errors import Conflict, NotFound, ProtocolError
for opcode, fields, wanted in ((READ_VALUE, (0, "nobody"), NotFound), (READ_VALUE, (0, "who"), Conflict), (16, (), ProtocolError)):
    try:
        link.ask(opcode, fields)
    except wanted:
        pass
    else:
        raise SystemExit(f"{opcode} {fields} was answered")
pid = os.fork()
if not pid:
    try:
        link.ask(READ_VALUE, (0, "nobody"))
    except NotFound:
        os._exit(0)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print(link.ask(READ_VALUE, (0, "before")))
"""


def whoami() -> tuple[str, str, int, int]:
    from titan import context

    return context.run, context.job, context.attempt, context.store.incr("calls")


def test_a_job_asks_its_worker_and_the_master(tmp_path: Path) -> None:
    script = tmp_path / "who.py"
    script.write_text(WHO)
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        before = Job("before", command="true")
        run = c.client.submit(DAG("d", [before, Job("who", file=script, parents=[before])]))
        assert run.wait(timeout=60).ok, c.client.logs(f"{run.id}/who")
        told = list(c.client.map(lambda _: whoami(), range(200)))
        assert len({job for _, job, _, _ in told}) == 200
        assert {run for run, _, _, _ in told} == {told[0][0]} and {attempt for _, _, attempt, _ in told} == {1}
        assert sorted(count for *_, count in told) == list(range(1, 201))


REPORT = """
import sys, time
from pathlib import Path
from titan import context
context.progress(0.25, "a quarter")
context.status("at it")
context.result([1, 2])
context.result({"accuracy": 0.93, "classes": ["a", "b"]})
Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    time.sleep(0.01)
sys.exit(int(sys.argv[3]))
"""


def test_progress_status_and_result(tmp_path: Path) -> None:
    script, told, go = tmp_path / "report.py", tmp_path / "told", tmp_path / "go"
    script.write_text(REPORT)
    with cluster(tmp_path / "c", "w1", settings=QUIET, options=("--store-port", "0")) as c:
        good = Job("good", file=script, args=[str(told), str(go), "0"])
        bad = Job("bad", file=script, args=[str(told), str(go), "3"], retries=0)
        run = c.client.submit(DAG("d", [good, bad]))
        seen: list[JobStatus] = []

        def watch() -> None:
            seen.extend(change.status for change in run.events(progress=True))

        with Client(c.address) as other:
            run, first = other.run(run.id), run
            watcher = threading.Thread(target=watch)
            watcher.start()
            until(lambda: c.client.job(f"{run.id}/good")[0].progress == 0.25, "the progress is there")
            until(lambda: c.client.job(f"{run.id}/good")[0].status == "at it", "the status is there")
            job = c.json("status", f"{run.id}/good")
            assert (job["progress"], job["message"], job["status"]) == (0.25, "a quarter", "at it")
            shown = c.cli("status", run.id).stdout
            assert "25% a quarter (at it)" in shown, shown
            assert c.client.store.execute("HGET", f"titan:job:{run.id}/good", "status") == b"at it"
            assert c.client.store.execute("HGET", f"titan:job:{run.id}/good", "progress") == b"0.250"
            with pytest.raises(TimeoutError):
                first.result(good, timeout=0.1)
            go.touch()
            assert not first.wait(timeout=60).ok
            watcher.join(60)
        assert any(s.id == "good" and s.progress == 0.25 and s.message == "a quarter" for s in seen)
        done = c.client.job(f"{run.id}/good")[0]
        assert (done.progress, done.status) == (None, "at it")
        assert first.result(good) == {"accuracy": 0.93, "classes": ["a", "b"]} == c.json("result", f"{run.id}/good")
        with pytest.raises(JobFailed):
            first.result("bad")
        refused = c.cli("result", run.id, "bad")
        assert refused.returncode == 1 and "exit code 3" in refused.stderr
        c.restart_master()
        assert c.client.run(run.id).result("good") == {"accuracy": 0.93, "classes": ["a", "b"]}
        assert c.client.job(f"{run.id}/good")[0].status == "at it"


LATER = """
import sys
from titan import context
value = context.value_of(sys.argv[1])
assert len(value) == 300_000, len(value)
context.result(len(value))
"""


@titan.task
def total(first: list[int], label: str, scale: dict[str, int]) -> tuple[str, int]:
    return label, sum(first) * scale["by"]


def test_results_of_a_job_can_be_read_by_later_jobs(tmp_path: Path) -> None:
    """The results are small and large, in JSON and pickled. A job on another worker reads them with
    `value_of` and as arguments of calls."""
    large, exact, later, scale = (tmp_path / f"{name}.py" for name in ("large", "exact", "later", "scale"))
    large.write_text("from titan import context\ncontext.result(list(range(300_000)))")
    exact.write_text("from titan import context\ncontext.result(tuple(range(300_000)))")
    later.write_text(LATER)
    scale.write_text("from titan import context\ncontext.result({'by': 2})")
    with cluster(tmp_path / "c", settings=QUIET) as c:
        c.start_worker("w1", "--capability", "ONE")
        c.start_worker("w2", "--capability", "TWO")
        c.wait_for_workers("w1", "w2")
        a = Job("a", file=large, requirement="ONE")
        b = Job("b", file=exact, requirement="ONE")
        factor = Job("factor", file=scale, requirement="ONE")
        after = [Job(f"after-{p.id}", file=later, args=[p.id], parents=[p], requirement="TWO") for p in (a, b)]
        call = total.options(requirement="TWO")(a, "sum", scale=factor)
        run = c.client.submit(DAG("d", [a, b, factor, *after, call]))
        assert run.wait(timeout=60).ok, run.status()
        assert run.result("after-a") == run.result("after-b") == 300_000
        assert run.result("b") == tuple(range(300_000))
        assert run.result(call) == ("sum", 2 * sum(range(300_000)))


SHELL = """
set -e
titan="$1 -m titan"
test "$($titan context run)/$($titan context job)/$($titan context attempt)" = "$TITAN_RUN/shell/1"
$titan context progress 4/10 "epoch 4"
$titan context status "in a shell"
$titan context set greeting "hello there" --ttl 60
test "$($titan context get greeting)" = "hello there"
test "$($titan context incr n)$($titan context incr n 5)" = 16
$titan context store hset scores ann 3 bob 4
test "$($titan context store --json hgetall scores)" = '{"ann": "3", "bob": "4"}'
$titan context set --shared all yes
if $titan context get nothing; then exit 9; fi
if $titan context progress 7; then exit 8; fi
if $titan context result "no json"; then exit 7; fi
echo '{"from": "shell"}' | $titan context result -
"""


def work(n: int) -> int:
    from titan import context
    from titan.errors import CallerError

    context.progress(n / 4, f"call {n}")
    thread = threading.Thread(target=lambda: context.status(f"status of {context.job}"))
    thread.start()
    thread.join()
    try:
        context.result(n)
    except CallerError as e:
        assert "a call" in str(e)
    else:
        raise AssertionError("a call set its result")
    told = subprocess.run(
        [sys.executable, "-m", "titan", "context", "job"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert told.strip() == context.job, told
    return n


def test_shell_scripts_and_calls_can_use_the_context(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(SHELL)
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        run = c.client.submit(DAG("d", [Job("shell", file=script, args=[sys.executable], retries=0)]))
        assert run.wait(timeout=120).ok, [*c.client.logs(f"{run.id}/shell")]
        assert run.result("shell") == {"from": "shell"}
        said = c.output(f"{run.id}/shell").decode()
        assert "7 is not between 0 and 1" in said or "7.0 is not between 0 and 1" in said
        assert "this is not JSON" in said
        assert c.client.store.get("all") == b"yes"
        assert c.client.job(f"{run.id}/shell")[0].status == "in a shell"
        assert list(c.client.map(work, range(4))) == [0, 1, 2, 3]
        for summary in c.client.runs(limit=1):
            jobs = c.client.status(summary.run).jobs
            assert [job.status for job in jobs] == [f"status of {job.id}" for job in jobs]


SERVE = """
import os, time
from titan import context
context.progress(None, "serving")
context.status("restarted" if context.store.incr("starts") > 1 else "fresh")
if context.store.get("starts") == b"1":
    time.sleep(0.3)
    raise SystemExit(1)
while True:
    time.sleep(1)
"""


def test_a_service_reports_its_status_across_restarts(tmp_path: Path) -> None:
    script = tmp_path / "serve.py"
    script.write_text(SERVE)
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        service = Job("s", type="service", file=script, health="none", restart="always", backoff=0.1)
        run = c.client.submit(DAG("d", [service]))
        until(lambda: c.client.job(f"{run.id}/s")[0].status == "restarted", "the second process reports its status")
        job = c.client.job(f"{run.id}/s")[0]
        assert (job.progress, job.message) == (None, "serving")
        c.client.stop(f"{run.id}/s")
        assert run.wait(timeout=60).ok


LOOP = """
import sys, time
from pathlib import Path
from titan import context
n = 0
while not Path(sys.argv[1]).exists():
    n += 1
    context.progress(min(1.0, n / 1e6), str(n))
    context.status(f"step {n}")
    time.sleep(0.005)
context.status("the end")
context.result(n)
"""


def test_the_master_is_killed_while_jobs_report(tmp_path: Path) -> None:
    script, go = tmp_path / "loop.py", tmp_path / "go"
    script.write_text(LOOP)
    with cluster(tmp_path / "c", settings=FAST) as c:
        c.start_workers("w1", slots=4)
        run = c.client.submit(DAG("d", [Job(f"j{i}", file=script, args=[str(go)], retries=0) for i in range(4)]))

        def step() -> int:
            jobs = c.client.status(run.id).jobs
            return min(int(j.message or 0) for j in jobs) if all(j.status for j in jobs) else 0

        def beyond(before: int) -> bool:
            return step() > before

        for _ in range(3):
            before = until(step, "all jobs have reported")
            c.restart_master()
            until(partial(beyond, before), "all jobs report to the next master")
        go.touch()
        assert run.wait(timeout=60).ok
        jobs = c.client.status(run.id).jobs
        assert [job.status for job in jobs] == ["the end"] * 4
        assert all(run.result(job.id) > 0 for job in jobs)


TOO_MUCH = """
from titan import context
from titan.errors import TitanError
for what in (lambda: context.result("x" * (48 << 20)), lambda: context.status("x" * 1025),
             lambda: context.progress(0.5, "x" * 1025), lambda: context.progress(1.5), lambda: context.value_of("nobody")):
    try:
        what()
    except TitanError as e:
        print(e)
    else:
        raise SystemExit("that should have failed")
"""


def test_a_request_over_a_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    script = tmp_path / "much.py"
    script.write_text(TOO_MUCH)
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        run = c.client.submit(DAG("d", [Job("much", file=script, retries=0)]))
        ok = run.wait(timeout=60).ok
        said = c.output(f"{run.id}/much").decode().splitlines()
        assert ok, said
        for line, words in zip(
            said, ("50,331,648", "1,024", "1,024", "1.5 is not between 0 and 1", "no job 'nobody'"), strict=True
        ):
            assert words in line, said
