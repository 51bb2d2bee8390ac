"""Jobs run where their requirements are met, and jobs that cannot run give the reason. Real
masters, workers and processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FAST, Cluster, cluster
from support.waiting import until
from titan import DAG, Job
from titan.core.events.events import RunArchived
from titan.errors import CallerError, NotFound
from titan.sdk.why import Why

RENDER = Path(__file__).parents[2] / "examples" / "render"
GPU_WORKER = ("--capability", "GENERAL", "--capability", "GPU")


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c") as made:
        yield made


def gated(folder: Path, name: str, tell: str = "$CUDA_VISIBLE_DEVICES") -> str:
    """Return a command that writes down its arguments and ends on request."""
    return f'echo "{tell}" > {folder}/{name}.has; while [ ! -e {folder}/{name}.go ]; do sleep 0.02; done'


def given(folder: Path, *names: str) -> list[str]:
    paths = [folder / f"{name}.has" for name in names]
    until(lambda: all(path.exists() and path.read_text() for path in paths), f"{names} run")
    return [path.read_text().strip() for path in paths]


def codes(told: Why) -> list[str]:
    return [reason.code for reason in told.reasons]


# -- capabilities ----------------------------------------------------------------------------------
def test_a_gpu_job_without_a_worker_blocks_no_other_and_runs_as_soon_as_one_joins(c: Cluster) -> None:
    c.start_workers("w1", "w2", slots=2)
    gpu = c.client.submit(DAG("gpu", [Job("train", command="true", requirement="GPU", priority=1_000_000)]))
    many = c.client.submit(DAG("many", [Job("part", command="true", foreach=1000, retries=0)]))
    assert many.wait(120).ok
    told = c.client.why(f"{gpu.id}/train")
    assert (told.state, codes(told)) == ("QUEUED", ["no_worker"])
    assert "no worker offers GPU" in told.reasons[0].text
    assert {w.worker: [r.code for r in w.reasons] for w in told.workers} == {"w1": ["capability"], "w2": ["capability"]}
    said = c.cli("why", f"{gpu.id}/train").stdout
    assert f"titan worker --master {c.address} --capability GPU" in said
    assert "w1  does not offer GPU" in said
    c.start_worker("w3", *GPU_WORKER)
    assert gpu.wait(20).ok
    assert gpu.status().jobs[0].worker == "w3"
    assert c.json("why", f"{gpu.id}/train")["reasons"][0]["code"] == "over"


def test_a_job_of_several_capabilities_runs_where_all_are_offered(c: Cluster) -> None:
    for name, tags in {"a": ("A",), "b": ("B",), "ab": ("A", "B", "C")}.items():
        c.start_worker(name, *(word for tag in tags for word in ("--capability", tag)))
    c.wait_for_workers("a", "b", "ab")
    run = c.client.submit(DAG("both", [Job(f"j{i}", command="true", requirement=["B", "A"]) for i in range(6)]))
    assert run.wait(20).ok
    assert {job.worker for job in run.status().jobs} == {"ab"}


def test_a_submission_names_the_requirements_that_no_worker_can_meet(c: Cluster, tmp_path: Path) -> None:
    c.start_worker("w1", "--memory", "1GiB", "--cpus", "2")
    c.wait_for_workers("w1")
    file = tmp_path / "p.yaml"
    lines = ("requirement: [GENERAL, TPU]", "memory: 2GiB", "{ cpus: 2, memory: 512MiB }")
    jobs = "".join(f"  - {{id: j{i}, command: 'true', {line.strip('{}')}}}\n" for i, line in enumerate(lines))
    file.write_text(f"name: x\nproject: false\njobs:\n{jobs}")
    done = c.cli("submit", str(file))
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "titan: no worker offers GENERAL and TPU; jobs that require it wait until one does. Start one: "
        f"titan worker --master {c.address} --capability GENERAL --capability TPU",
        "titan: no worker with GENERAL has enough for jobs that need memory 2 GiB (the most is 1 GiB); "
        "they wait until one has. Start one: "
        f"titan worker --master {c.address} --memory {2 << 30}",
    ]
    run = done.stdout.strip()
    until(lambda: c.client.job(f"{run}/j2")[0].state == "COMPLETED", "the job that fits runs")
    assert codes(c.client.why(f"{run}/j1")) == ["no_worker"]


# -- resources -------------------------------------------------------------------------------------
def test_each_gpu_goes_to_one_job_at_a_time_also_across_a_restart_of_the_master(c: Cluster, tmp_path: Path) -> None:
    c.start_worker("w1", *GPU_WORKER, "--gpus", "3", slots=8)
    c.wait_for_workers("w1")
    names = ("a", "b", "c", "d", "e")
    run = c.client.submit(DAG("gpus", [Job(n, command=gated(tmp_path, n), gpus=2 if n == "e" else 1) for n in names]))
    assert sorted(given(tmp_path, "a", "b", "c")) == ["0", "1", "2"]
    told = c.client.why(f"{run.id}/d")
    assert [r.text for w in told.workers for r in w.reasons] == ["not enough gpus: asks for 1, 0 of 3 free"]
    c.restart_master()
    c.wait_for_workers("w1")
    assert c.client.why(f"{run.id}/d").state == "QUEUED"
    (freed,) = given(tmp_path, "b")
    (tmp_path / "b.go").touch()
    assert given(tmp_path, "d") == [freed]
    for name in ("a", "c", "d", "e"):
        (tmp_path / f"{name}.go").touch()
    assert run.wait(20).ok
    (pair,) = given(tmp_path, "e")
    assert len(set(pair.split(","))) == 2 and set(pair.split(",")) < {"0", "1", "2"}
    assert all(job.attempt == 1 for job in run.status().jobs)


def test_jobs_get_the_gpu_devices_that_their_worker_may_use(c: Cluster, tmp_path: Path) -> None:
    env = {"CUDA_VISIBLE_DEVICES": "GPU-7f,3"}
    options = ("--master", c.address, "--name", "w1", "--slots", "4", "--home", str(c.worker_home("w1")))
    c.spawn("worker", *options, label="w1", env=env)
    c.wait_for_workers("w1")
    assert c.worker("w1").facts["gpus"] == 2
    jobs = [Job("a", command=gated(tmp_path, "a"), gpus=1), Job("b", command=gated(tmp_path, "b"), gpus=1)]
    run = c.client.submit(DAG("own", [*jobs, Job("none", command=gated(tmp_path, "none"))]))
    assert sorted(given(tmp_path, "a", "b")) == ["3", "GPU-7f"]
    assert given(tmp_path, "none") == ["GPU-7f,3"], "a job that requests no GPU sees those of the worker"
    run.cancel()


def test_cpus_and_memory_limit_how_many_jobs_run_at_once(c: Cluster, tmp_path: Path) -> None:
    c.start_worker("w1", "--cpus", "2", "--memory", "1GiB", slots=8)
    c.wait_for_workers("w1")
    log = tmp_path / "log"
    command = f"echo + >>{log}; sleep 0.05; echo - >>{log}"
    jobs = [Job("half", command=command, cpus=0.5, foreach=8), Job("big", command=command, memory="400MiB", foreach=4)]
    run = c.client.submit(DAG("shares", jobs))
    assert run.wait(30).ok
    running = most = 0
    for line in log.read_text().split():
        running += 1 if line == "+" else -1
        most = max(most, running)
    assert most <= 4 + 2, "four jobs of half a CPU, and two that need 400 MiB each"


def test_a_large_job_gets_its_turn_among_small_ones_that_never_end(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", settings={**FAST, "hold_s": 0.5}) as c:
        c.start_worker("w1", "--cpus", "4", slots=8)
        c.wait_for_workers("w1")
        small = c.client.submit(DAG("small", [Job("s", command="sleep 0.1", cpus=1, foreach=3000)]))
        until(lambda: c.client.status(small.id).summary.tally.get("COMPLETED", 0) > 4, "the small jobs run")
        big = c.client.submit(DAG("big", [Job("b", command="true", cpus=4, priority=2)]))
        assert big.wait(30).ok
        assert small.status().state == "RUNNING"
        small.cancel()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--memory", "4 apples"), "'4 apples' is not a size"),
        (("--gpus", "-1"), "not in the range"),
        (("--cpus", "x"), "not a valid"),
    ],
)
def test_invalid_options_of_a_worker_are_refused(c: Cluster, options: tuple[str, ...], says: str) -> None:
    done = c.cli("worker", "--name", "w1", *options)
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr


def test_a_single_command_asks_for_resources(c: Cluster) -> None:
    c.start_worker("w1", *GPU_WORKER, "--cpus", "1", "--gpus", "2")
    c.wait_for_workers("w1")
    words = ("--requirement", "GENERAL", "--requirement", "GPU", "--gpus", "2", "--memory", "1MiB", "--cpus", "0.5")
    done = c.cli("run", *words, "--", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert (done.returncode, done.stdout) == (0, "0,1\n"), done.stderr
    bad = c.cli("run", "--memory", "much", "--", "true")
    assert (bad.returncode, "'much' is not a size" in bad.stderr) == (2, True)


# -- why -------------------------------------------------------------------------------------------
def test_why_of_an_unknown_run_or_job_is_refused(c: Cluster) -> None:
    with pytest.raises(NotFound, match="there is no run"):
        c.client.why("nosuch/job")
    with pytest.raises(CallerError, match="does not name a job: pass RUN/JOB"):
        c.client.why("nosuch")
    assert c.cli("why", "nosuch").returncode == 2


def test_why_of_an_archived_run_is_answered(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings={**FAST, "keep_runs": 1}) as c:
        first, *_ = runs = [c.client.submit(DAG("d", [Job("a", command="exit 3", retries=0)])) for _ in range(3)]
        for run in runs:
            run.wait(20)
        until(lambda: first.id in [e.run for e in c.events() if isinstance(e, RunArchived)], "the first run leaves the memory")
        told = c.client.why(f"{first.id}/a")
        assert (told.state, [r.text for r in told.reasons], told.workers) == ("DEAD", ["it is over: DEAD: exit code 3"], [])


def test_why_explains_each_job_that_waits(c: Cluster, tmp_path: Path) -> None:
    c.start_workers("w1", slots=1)
    jobs = [
        Job("a", command=gated(tmp_path, "a")),
        Job("b", command="true", parents=["a"], affinity=True),
        Job("later", command="true", delay=3600),
        Job("broken", command="true", requirement="NONE"),
    ]
    run = c.client.submit(DAG("d", jobs))
    given(tmp_path, "a")
    until(lambda: c.client.job(f"{run.id}/a")[0].state == "RUNNING", "the master knows that the job runs")
    found = {job.id: codes(c.client.why(f"{run.id}/{job.id}")) for job in jobs}
    assert found == {"a": ["running"], "b": ["parents"], "later": ["delayed"], "broken": ["no_worker"]}
    run.cancel()


# -- affinity --------------------------------------------------------------------------------------
def test_a_chain_stays_on_its_node_while_the_master_is_dead_and_moves_when_the_node_dies(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", "w2", "w3", settings=FAST, slots=1) as c:
        steps = [
            Job(f"s{n}", command=gated(tmp_path, f"s{n}", "$TITAN_ATTEMPT"), parents=[f"s{n - 1}"] if n else [], affinity=n > 0)
            for n in range(6)
        ]
        run = c.client.submit(DAG("chain", steps))
        given(tmp_path, "s0")
        (tmp_path / "s0.go").touch()
        given(tmp_path, "s1")
        c.kill_master()
        (tmp_path / "s1.go").touch()  # the job ends while there is no master
        c.start_master()
        given(tmp_path, "s2")
        (tmp_path / "s2.go").touch()
        given(tmp_path, "s3")
        until(lambda: c.client.job(f"{run.id}/s3")[0].state == "RUNNING", "the master knows that the job runs")
        (home,) = {c.client.job(f"{run.id}/s{n}")[0].worker for n in range(4)}
        assert home is not None
        (tmp_path / "s3.has").unlink()
        c.kill_worker(home)
        for n in range(3, 6):
            given(tmp_path, f"s{n}")
            (tmp_path / f"s{n}.go").touch()
        assert run.wait(30).ok
        (other,) = {c.client.job(f"{run.id}/s{n}")[0].worker for n in range(3, 6)}
        assert other != home
        _, story = c.client.job(f"{run.id}/s3")
        assert any(f"affinity released: worker {home}, where its parent ran, is LOST" in line for line in story), story
        counts = c.completions(run.id)
        assert counts == {f"s{n}": 1 for n in range(6)}, "the end of each job is recorded once"


# -- the example -----------------------------------------------------------------------------------
def test_the_render_example_runs(c: Cluster, tmp_path: Path) -> None:
    shutil.copytree(RENDER, tmp_path / "render")
    options = (*GPU_WORKER, "--capability", "HIGH_MEM", "--cpus", "4", "--memory", "1GiB", "--gpus", "2")
    c.start_worker("w1", *options, slots=8)
    c.wait_for_workers("w1")
    done = c.cli("run", str(tmp_path / "render" / "pipeline.yaml"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.rpartition(" on ")[0] for line in lines] == [f"frame {n}" for n in range(6)]
    assert {line[-1] for line in lines} == {"0", "1"}
