"""Files that travel between jobs and nodes, in real processes: workers with homes of their own,
broken connections, kills and damaged files."""

from __future__ import annotations

import hashlib
import os
import random
import sys
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster
from support.proxy import DOWN, UP, Proxy
from support.waiting import until
from titan import DAG, Job
from titan.content.nearby import TOKEN
from titan.core.events.events import RunArchived
from titan.errors import CallerError, LimitExceeded, NotFound
from titan.sdk.pipeline import load_pipeline
from titan.sdk.status import JobStatus

MB = 1_000_000
WINDOW = 20 * MB
"""Maximum number of bytes that may have been in flight when a connection broke."""
MAKE = """
import random, sys
size = int(sys.argv[1])
with open("out.bin", "wb") as file:
    file.write(random.Random(1).randbytes(size))
"""
CHECK = """
import os, random, sys
with open("in.bin", "rb") as file:
    assert file.read() == random.Random(1).randbytes(int(sys.argv[1]))
assert not os.stat("in.bin").st_mode & 0o222
"""


def scripts(folder: Path) -> tuple[Path, Path]:
    made = folder / "make.py", folder / "check.py"
    for path, text in zip(made, (MAKE, CHECK), strict=True):
        path.write_text(text)
    return made


def jobs(c: Cluster, run: str) -> dict[str, JobStatus]:
    return {job.id: job for job in c.client.status(run).jobs}


def make_and_check(folder: Path, size: int, consumers: int = 0) -> DAG:
    make_py, check_py = scripts(folder)
    make = Job("make", file=make_py, args=[size], requirement="A", outputs={"data": "out.bin"})
    array = {"foreach": consumers} if consumers else {}
    check = Job("check", file=check_py, args=[size], requirement="B", inputs={"in.bin": make.output("data")}, **array)  # type: ignore[arg-type]
    return DAG("d", [make, check])


def test_files_programs_and_folders_go_to_jobs_on_other_workers(tmp_path: Path) -> None:
    make = Job(
        "make",
        command="mkdir -p out/deep/er && echo hello > out/deep/er/a && ln -s er/a out/deep/link && : > out/.gitignore"
        " && printf '#!/bin/sh\\necho ran $1\\n' > tool && chmod +x tool && echo text > text",
        requirement="A",
        outputs={"all": "out", "tool": "tool", "text": "text"},
    )
    use = Job(
        "use",
        command="cat in/all/deep/link in/text && ls -A in/all && bin/tool well && echo more > in/all/more",
        requirement="B",
        inputs={"in/all": "make.all", "bin/tool": "make.tool", "in/text": make.output("text")},
    )
    parts = Job("part", command='echo "$1" > part.txt', foreach=3, args=["${index}"], requirement="A", outputs=["part.txt"])
    each = Job(
        "each",
        command='test "$(cat part.txt)" = "$1"',
        foreach=3,
        args=["${index}"],
        requirement="C",
        inputs=["part[${index}].part.txt"],
    )
    with cluster(tmp_path / "c", settings=QUIET) as c:
        for name in "ABC":
            c.start_worker(f"w{name}", "--capability", name)
        run = c.client.submit(DAG("d", [make, use, parts, each]))
        assert run.wait(timeout=60).ok, jobs(c, run.id)
        assert c.output(f"{run.id}/use") == b"hello\ntext\n.gitignore\ndeep\nran well\n"
        assert {job.worker for job in jobs(c, run.id).values()} == {"wA", "wB", "wC"}
        listed = {row["key"]: row for row in c.json("artifacts", run.id)}
        assert set(listed) == {
            f"{run.id}/{name}" for name in ("make.all", "make.tool", "make.text", *(f"part[{i}].part.txt" for i in range(3)))
        }
        target = tmp_path / "text"
        assert c.cli("artifact", "get", f"{run.id}/make.text", str(target)).returncode == 0
        assert target.read_text() == "text\n"
        c.client.artifact(f"{run.id}/make.all").download(tmp_path / "all")
        assert (tmp_path / "all/deep/link").read_text() == "hello\n"


def test_an_output_that_is_missing_or_not_allowed_fails_the_attempt(tmp_path: Path) -> None:
    wrong = [
        Job("none", command="true", outputs={"model": "out/model.bin"}, retries=0),
        Job("out", command="ln -s /etc/hostname here", outputs=["here"], retries=0),
        Job("fifo", command="mkfifo here", outputs=["here"], retries=0),
        Job("folder", command="mkdir d && ln -s /etc d/etc", outputs=["d"], retries=0),
        Job("failed", command="echo x > x; exit 3", outputs=["x"], retries=0),
        Job("large", command="head -c 3000000 /dev/zero > x", outputs=["x"], retries=0),
    ]
    with cluster(tmp_path / "c", "w1", settings={**QUIET, "file_bytes": 2 * MB}) as c:
        run = c.client.submit(DAG("d", wrong))
        assert run.wait(timeout=60).state == "FAILED"
        reasons = {name: job.reason for name, job in jobs(c, run.id).items()}
        assert reasons["none"] == "output 'model' (out/model.bin) was not written"
        assert reasons["out"] == "output 'here' (here) is a link that leads out of the job's folder: copy the file there"
        assert reasons["fifo"] == "output 'here' (here) is neither a file nor a folder"
        assert "is outside" in reasons["folder"] and reasons["failed"] == "exit code 3"
        assert "the limit is 2,000,000" in reasons["large"]


def test_two_hundred_jobs_with_one_input_fetch_it_once(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", settings=QUIET) as c, Proxy(c.port) as proxy:
        c.start_worker("wA", "--capability", "A")
        c.start_worker("wB", "--capability", "B", "--master", proxy.address)
        run = c.client.submit(make_and_check(tmp_path, 8 * MB, consumers=200))
        assert run.wait(timeout=120).ok, jobs(c, run.id)
        assert 8 * MB < proxy.passed[DOWN] < 9 * MB
        left = [path for path in c.worker_home("wB").rglob("in.bin") if path.stat().st_size]
        assert not left  # input files are removed from the jobs' folders


@pytest.mark.parametrize("way", [UP, DOWN])
def test_an_interrupted_transfer_continues_at_its_offset(tmp_path: Path, way: str) -> None:
    size = 64 * MB
    with cluster(tmp_path / "c", settings=QUIET) as c, Proxy(c.port) as proxy:
        behind = "A" if way == UP else "B"
        for name in "AB":
            c.start_worker(f"w{name}", "--capability", name, *(("--master", proxy.address) if name == behind else ()))
        c.wait_for_workers("wA", "wB")
        proxy.hold(way, size // 2)
        run = c.client.submit(make_and_check(tmp_path, size))
        until(lambda: proxy.is_held(way), "half of the file has passed")
        proxy.cut()
        assert run.wait(timeout=60).ok, jobs(c, run.id)
        assert size <= proxy.passed[way] < size + WINDOW
        assert all(job.attempt == 1 for job in jobs(c, run.id).values())


@pytest.mark.parametrize("way", [UP, DOWN])
def test_a_transfer_continues_after_the_master_is_killed(tmp_path: Path, way: str) -> None:
    size = 64 * MB
    with cluster(tmp_path / "c", settings=QUIET) as c, Proxy(c.port) as proxy:
        behind = "A" if way == UP else "B"
        for name in "AB":
            c.start_worker(f"w{name}", "--capability", name, *(("--master", proxy.address) if name == behind else ()))
        c.wait_for_workers("wA", "wB")
        proxy.hold(way, size // 2)
        run = c.client.submit(make_and_check(tmp_path, size))
        until(lambda: proxy.is_held(way), "half of the file has passed")
        c.kill_master()
        proxy.cut()
        c.start_master()
        assert run.wait(timeout=60).ok, jobs(c, run.id)
        assert size <= proxy.passed[way] < size + WINDOW
        assert all(job.attempt == 1 for job in jobs(c, run.id).values())


def test_a_file_whose_content_does_not_match_its_hash_is_refused(tmp_path: Path) -> None:
    dag = make_and_check(tmp_path, 3 * MB)
    given = {"in.bin": "make.data"}
    check = Job("check", file=tmp_path / "check.py", args=[3 * MB], requirement="B", retries=0, inputs=given)
    with cluster(tmp_path / "c", settings=QUIET) as c:
        c.start_worker("wA", "--capability", "A")
        run = c.client.submit(DAG("d", [dag.jobs[0], check]))
        until(lambda: jobs(c, run.id)["make"].state == "COMPLETED", "the file is made")
        (output,) = c.client.artifacts(f"{run.id}/")
        kept = c.home / "files" / output.hash
        with kept.open("r+b") as file:
            file.seek(MB)
            file.write(b"damage")
        c.start_worker("wB", "--capability", "B")
        assert run.wait(timeout=60).state == "FAILED"
        assert "arrived with content that does not match its hash, 3 times" in jobs(c, run.id)["check"].reason


def test_a_job_that_changes_its_input_changes_it_for_no_other_job(tmp_path: Path) -> None:
    make_py, check_py = scripts(tmp_path)
    make = Job("make", file=make_py, args=[3 * MB], requirement="A", outputs={"data": "out.bin"})
    given = {"in.bin": "make.data"}
    spoil = Job("spoil", command="chmod u+w in.bin && echo spoilt > in.bin", requirement="B", inputs=given)
    check = Job("check", file=check_py, args=[3 * MB], requirement="B", parents=[spoil], inputs=given)
    with cluster(tmp_path / "c", settings=QUIET) as c:
        for name in "AB":
            c.start_worker(f"w{name}", "--capability", name)
        run = c.client.submit(DAG("d", [make, spoil, check]))
        assert run.wait(timeout=60).ok, jobs(c, run.id)


def test_the_cache_of_a_worker_has_a_limit(tmp_path: Path) -> None:
    make = Job("make", command='head -c 2000000 /dev/urandom > "x$1"; mv "x$1" x', foreach=6, args=["${index}"], outputs=["x"])
    use = Job("use", command="test $(wc -c < x) = 2000000", foreach=6, args=["${index}"], inputs=["make[${index}].x"])
    with cluster(tmp_path / "c", settings=QUIET) as c:
        c.start_worker("w1", "--file-cache", "5MB", slots=1)
        run = c.client.submit(DAG("d", [make, use]))
        assert run.wait(timeout=60).ok, jobs(c, run.id)
        cache = c.worker_home("w1") / "titan_workspace/files"
        until(
            lambda: sum(path.stat().st_size for path in cache.iterdir()) <= 5 * MB,
            "files that no job needs are removed from the cache",
        )


PUBLISH = """
import os
from titan import context
from titan.errors import CallerError, NotFound
for text in ("one", "two"):
    with open("model", "w") as file:
        file.write(text)
    made = context.publish("models/best", "model")
assert (made.key, made.size, made.by) == (f"{context.run}/models/best", 3, f"{context.run}/publish")
assert context.artifact("models/best").hash == made.hash
context.artifact("models/best").download("copy")
assert open("copy").read() == "two"
open("copy", "w").write("a copy may be changed")
os.mkdir("d")
open("d/f", "w").write("in a folder")
context.publish("everybody's".replace("'", ""), "d", shared=True)
context.artifact("everybodys").download("e")
assert open("e/f").read() == "in a folder"
for wrong, error in ((lambda: context.artifact("nothing"), NotFound), (lambda: context.publish("../x", "model"), CallerError),
                     (lambda: context.publish("x", "no file"), CallerError)):
    try:
        wrong()
    except error as e:
        print(e)
    else:
        raise SystemExit("that should have failed")
"""
FETCH = """
import sys
from titan import context
from titan.errors import NotFound
context.artifact(sys.argv[1] + "/models/best").download("m")
assert open("m").read() == "two"
try:
    context.artifact("models/best")
except NotFound:
    pass
else:
    raise SystemExit("a key of another run was found")
"""


def test_published_files_survive_the_master(tmp_path: Path) -> None:
    (tmp_path / "publish.py").write_text(PUBLISH)
    (tmp_path / "fetch.py").write_text(FETCH)
    (tmp_path / "put").write_bytes(random.Random(7).randbytes(20 * MB))
    with cluster(tmp_path / "c", "w1", "w2", settings={**QUIET, "file_bytes": 30 * MB}) as c:
        first = c.client.submit(DAG("d", [Job("publish", file=tmp_path / "publish.py", retries=0)]))
        assert first.wait(timeout=60).ok, jobs(c, first.id)
        key = f"{first.id}/models/best"
        assert c.json("artifact", "put", "data/put", str(tmp_path / "put"))["size"] == 20 * MB
        c.restart_master()
        second = c.client.submit(DAG("d", [Job("fetch", file=tmp_path / "fetch.py", args=[first.id], retries=0)]))
        assert second.wait(timeout=60).ok, [data for _, data in c.client.logs(f"{second.id}/fetch")]
        it = c.client.artifact(key)
        assert (it.size, it.by, it.key) == (3, f"{first.id}/publish", key)
        assert it.download(tmp_path / "two").read_text() == "two"
        # SHA-256 of "one"
        older = next(row for row in (c.client.artifact(key, version=h) for h in ("7692c3ad3540bb80",)))
        assert older.download(tmp_path / "one").read_text() == "one"
        c.client.artifact("data/put").download(tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == (tmp_path / "put").read_bytes()
        assert {a.key for a in c.client.artifacts()} == {"data/put", "everybodys"}
        c.client.artifact("everybodys").download(tmp_path / "e")
        assert os.listdir(tmp_path / "e") == ["f"]
        with pytest.raises(NotFound, match="nothing is published"):
            c.client.artifact("no/such")
        with pytest.raises(CallerError, match="is not a valid key"):
            c.client.publish("/x", tmp_path / "put")
        with pytest.raises(CallerError, match="run id"):
            c.client.publish(key, tmp_path / "put")
        (tmp_path / "large").write_bytes(bytes(31 * MB))
        with pytest.raises(LimitExceeded, match="30,000,000"):
            c.client.publish("large", tmp_path / "large")
        assert c.cli("artifact", "rm", "data/put").returncode == 0
        assert {a.key for a in c.client.artifacts()} == {"everybodys"}


def test_a_shell_script_publishes_and_fetches(tmp_path: Path) -> None:
    titan = f"{sys.executable} -m titan"
    put = f"echo one > a && {titan} context publish a/key a && {titan} context publish --shared --json ours a"
    got = f"{titan} context fetch ours b && cat b && ! {titan} context fetch a/key c"
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        first = c.client.submit(DAG("d", [Job("put", command=put, retries=0)]))
        assert first.wait(timeout=60).ok, [data for _, data in c.client.logs(f"{first.id}/put")]
        assert c.output(f"{first.id}/put").startswith(f"{first.id}/a/key\n{{".encode())
        second = c.client.submit(DAG("d", [Job("get", command=got, retries=0)]))
        assert second.wait(timeout=60).ok, [data for _, data in c.client.logs(f"{second.id}/get")]


def test_unreferenced_files_are_removed(tmp_path: Path) -> None:
    settings = {**QUIET, "keep_s": 0.01, "history_s": 0.01, "file_grace_s": 0.01}
    with cluster(tmp_path / "c", "w1", settings=settings) as c:
        script, later = tmp_path / "a.sh", tmp_path / "later.sh"
        script.write_text("echo a > a; echo b > b")
        later.write_text("echo later")
        (tmp_path / "b").write_text("b\n")
        shared = c.client.publish("b", tmp_path / "b")
        c.client.schedules.add("never", DAG("later", [Job("l", file=later)]), cron="0 0 1 1 *")
        run = c.client.submit(DAG("d", [Job("a", file=script, outputs=["a", "b"])]))
        assert run.wait(timeout=60).ok
        assert c.client.call(bytes, 1_000_000).result(60) == bytes(1_000_000)
        kept = {shared.hash, hashlib.sha256(later.read_bytes()).hexdigest()}
        stored = {path.name for path in (c.home / "files").iterdir()} - {TOKEN}
        assert kept < stored and len(stored) == 6, (
            "two scripts, two outputs (one equals the published file), a function and a value"
        )
        until(lambda: _is_archived(c, run.id), "the run is in the history")
        c.restart_master()  # old runs are removed from the history at a start, and then every hour
        until(lambda: not c.client.runs(), "the run leaves the history")
        until(
            lambda: {path.name for path in (c.home / "files").iterdir()} - {TOKEN} == kept,
            "only files that the shared key and the schedule need are left",
        )
        assert c.client.call(bytes, 1_000_000).result(60) == bytes(1_000_000), (
            "a client sends the function again, though it had believed that the master still had it"
        )


def test_the_content_of_an_older_titans_home_is_still_found(tmp_path: Path) -> None:
    """An older Titan kept scripts and values in perm_files/.objects."""
    with cluster(tmp_path / "c", settings=QUIET) as c:
        script = tmp_path / "a.sh"
        script.write_text("cat in > out")
        source = Job("make", command="echo made > made", outputs=["made"])
        run = c.client.submit(DAG("d", [source, Job("a", file=script, inputs={"in": "make.made"}, outputs=["out"])]))
        c.kill_master()
        older = c.home / "perm_files" / ".objects"
        older.mkdir()
        (stored,) = [path for path in (c.home / "files").iterdir() if path.name != TOKEN]
        stored.rename(older / stored.name)
        c.restart_master()
        assert not older.exists()
        c.start_workers("w1")
        assert run.wait(timeout=60).ok, jobs(c, run.id)


def _is_archived(c: Cluster, run: str) -> bool:
    return any(isinstance(event, RunArchived) and event.run == run for event in c.events())


def test_a_submission_leaves_the_operators_files_alone(tmp_path: Path) -> None:
    mine, project = tmp_path / "tool.sh", tmp_path / "tools"
    mine.write_text("echo the submitter\n")
    project.mkdir()
    (project / "x.sh").write_text("echo a project\n")
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        kept = c.home / "perm_files"
        (kept / "tool.sh").write_text("echo the operator\n")
        jobs = [Job("mine", file=mine), Job("theirs", file="perm:tool.sh")]
        run = c.client.submit(DAG("d", jobs))
        assert run.wait(timeout=60).ok
        other = c.client.submit(DAG("p", [Job("x", file=project / "x.sh")], project=project))
        assert other.wait(timeout=60).ok
        said = {job.id: c.output(f"{run.id}/{job.id}") for job in jobs}
        assert said == {"mine": b"the submitter\n", "theirs": b"the operator\n"}
        assert (kept / "tool.sh").read_text() == "echo the operator\n"
        assert sorted(path.name for path in kept.iterdir()) == ["tool.sh"]


NAMED = """
import os, sys
from pathlib import Path
from titan import context
home = Path(sys.argv[1])
refused = []

def attempt(what, *args):
    try:
        what(*args)
    except Exception as e:
        refused.append(str(e))

Path("link").symlink_to(home / "worker.json")
Path("up").symlink_to("../../../..")
context.publish("own", __file__)
Path(os.environ["TITAN_SHARED"], "s").write_text("shared")
context.publish("s", os.path.join(os.environ["TITAN_SHARED"], "s"))
context.publish("outside", sys.argv[2])
files = home / "titan_workspace/files"
for path in (home / "worker.json", "link", "up/worker.json", home, "/proc/self/root" + str(home / "worker.json"), files):
    attempt(context.publish, "stolen", path)
assert all("lies in the home of this worker" in text for text in refused), refused
os.mkfifo("pipe")
attempt(context.publish, "pipe", "pipe")
attempt(context.publish, "device", "/dev/zero")
it = context.artifact("own")
for path in (home / "new", "up/new", files / "new", "up/titan_workspace/bin/titan"):
    attempt(it.download, path)
it.download("fetched")
it.download(sys.argv[3])
assert len(refused) == 12, refused
assert Path("fetched").read_bytes() == Path(__file__).read_bytes()
"""


def test_a_job_cannot_publish_from_or_download_into_its_workers_home(tmp_path: Path) -> None:
    script, outside = tmp_path / "named.py", tmp_path / "outside"
    script.write_text(NAMED)
    outside.write_text("what this user can read")
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        home = c.worker_home("w1")
        command = (home / "titan_workspace/bin/titan").read_text()
        run = c.client.submit(DAG("d", [Job("a", file=script, args=[str(home), str(outside), str(tmp_path / "copy")], retries=0)]))
        assert run.wait(timeout=60).ok, c.output(f"{run.id}/a")
        assert (tmp_path / "copy").read_text() == NAMED
        assert {a.key for a in c.client.artifacts(run.id)} == {f"{run.id}/{key}" for key in ("own", "s", "outside")}
        assert (home / "titan_workspace/bin/titan").read_text() == command
        assert not list(home.rglob("new"))


CHANGE = """
import os, sys
about = os.stat("in")
os.chmod("in", 0o644)
with open("in", "r+b") as file:
    file.write(b"changed")
os.chmod("in", 0o444)
os.utime("in", ns=(about.st_atime_ns, about.st_mtime_ns))
"""


def test_a_hidden_change_of_an_input_reaches_no_other_job(tmp_path: Path) -> None:
    change = tmp_path / "change.py"
    change.write_text(CHANGE)
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        make = Job("make", command="head -c 3000000 /dev/zero > out", outputs={"out": "out"})
        first = Job("first", file=change, inputs={"in": "make.out"}, parents=[make])
        look = "[ $(head -c 3000000 /dev/zero | sha256sum | cut -d' ' -f1) = $(sha256sum < in | cut -d' ' -f1) ]"
        second = Job("second", command=look, inputs={"in": "make.out"}, parents=[make, first], retries=0)
        run = c.client.submit(DAG("d", [make, first, second]))
        assert run.wait(timeout=60).ok


PIPELINE = r"""
name: fan-in
jobs:
  - id: split
    command: mkdir parts && for n in 1 2 3; do echo $n > parts/$n.csv; done && titan context result '["1", "2", "3"]'
    requirement: A
    outputs: ["parts/*.csv", {path: extra.txt, optional: true}]
  - id: work
    expand: split
    command: cat parts/$1.csv > out.txt && test $(ls parts | wc -l) = 3
    args: ["${item}"]
    inputs: ["split.parts/*.csv"]
    outputs: [out.txt]
  - id: flaky
    command: exit 1
    retries: 0
    on_failure: continue
    outputs: [report.txt]
  - id: join
    command: test "$(cat work[0]/out.txt work[1]/out.txt work[2]/out.txt | tr -d '\n')" = 123 && test ! -e report.txt
    requirement: A
    inputs: ["work[*].out.txt", {from: flaky.report.txt, optional: true}, {from: split.extra.txt, optional: true}]
  - id: numbered
    command: test "$(cat in/0 in/1 in/2 | tr -d '\n')" = 123
    inputs: {in: work.out.txt}
"""


def test_files_of_patterns_and_expansions_arrive_and_absent_optional_files_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PIPELINE)
    with cluster(tmp_path / "c", settings=QUIET) as c:
        c.start_worker("wA", "--capability", "A")
        c.start_worker("wB", "--capability", "GENERAL")
        run = c.client.submit(load_pipeline(tmp_path / "p.yaml"))
        run.wait(timeout=60)
        states = {name: job.state for name, job in jobs(c, run.id).items()}
        assert states.pop("flaky") == "DEAD" and set(states.values()) == {"COMPLETED"} and len(states) == 7, states
        keys = [info.key for info in c.client.artifacts(run.id)]
        assert keys == [f"{run.id}/split.parts/{n}.csv" for n in (1, 2, 3)] + [f"{run.id}/work[{n}].out.txt" for n in range(3)]
        c.client.artifact(f"{run.id}/split.parts/2.csv").download(tmp_path / "two")
        assert (tmp_path / "two").read_text() == "2\n"
