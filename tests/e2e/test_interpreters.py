"""`python` and `driver`: scripts in forks of the interpreter that they name. An interpreter dies,
changes, or is no interpreter."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster, processes_below
from support.waiting import until
from titan import DAG, Job
from titan.sdk.run import Run

WHERE = "import sys\nprint(sys.prefix, sys.executable)\n"
KIND = "import os\nprint(b'from warm import serve' in open('/proc/self/cmdline', 'rb').read(), os.getppid())\n"
WAIT = "import os, sys, time\nopen(sys.argv[1], 'w').write(f'{os.getppid()} {os.getpid()}')\ntime.sleep(60)\n"


def make_venv(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("interpreters") / "c", "w1", slots=2) as made:
        yield made


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    return make_venv(tmp_path / "venv")


def script(folder: Path, text: str, name: str = "x.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def printed(c: Cluster, *jobs: Job) -> list[str]:
    run = c.client.submit(DAG("test", list(jobs)))
    summary = run.wait(20)
    assert summary.ok, run.status()
    return [c.printed(run, job.id).strip() for job in jobs]


def states(run: Run) -> list[tuple[str, int]]:
    return [(job.state, job.attempt) for job in run.status().jobs]


def said_pids(path: Path) -> list[int]:
    with contextlib.suppress(OSError, ValueError):
        warden, job = path.read_text().split()
        return [int(warden), int(job)]
    return []


def test_a_script_runs_in_the_environment_that_it_names(c: Cluster, venv: Path, tmp_path: Path) -> None:
    where = script(tmp_path, WHERE)
    expected = f"{venv} {venv}/bin/python"
    jobs = [
        Job("folder", where, python=venv),
        Job("interpreter", where, python=venv / "bin" / "python"),
        Job("fresh", where, python=venv, driver="process"),
        Job("own", where),
        Job("own-fresh", where, driver="process"),
    ]
    own = f"{sys.prefix} {sys.executable}"
    assert printed(c, *jobs) == [expected, expected, expected, own, own]


def test_scripts_run_in_forks_of_one_warden_or_in_new_processes(c: Cluster, venv: Path, tmp_path: Path) -> None:
    kind = script(tmp_path, KIND)
    forked, again, fresh, own = (
        line.split()
        for line in printed(
            c,
            Job("forked", kind, python=venv),
            Job("again", kind, python=venv, parents=["forked"]),
            Job("fresh", kind, python=venv, driver="process"),
            Job("own", kind),
        )
    )
    assert [it[0] for it in (forked, again, fresh, own)] == ["True", "True", "False", "True"]
    assert forked[1] == again[1] != own[1] == fresh[1]


def test_a_pipeline_can_name_an_interpreter(c: Cluster, venv: Path, tmp_path: Path) -> None:
    script(tmp_path, WHERE, "step.py")
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text("name: p\npython: venv\njobs:\n  - {id: a, file: step.py}\n")
    done = c.cli("run", str(pipeline))
    assert (done.returncode, done.stdout) == (0, f"{venv} {venv}/bin/python\n"), done


def test_run_and_submit_accept_the_option_python(c: Cluster, venv: Path, tmp_path: Path) -> None:
    script(tmp_path, WHERE, "step.py")
    done = c.cli("run", "--python", "venv", "step.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{venv} {venv}/bin/python\n"), done
    submitted = c.cli("submit", "--python", "venv/bin/python", "step.py", cwd=tmp_path)
    run = c.client.run(submitted.stdout.strip())
    assert run.wait(20).ok
    assert c.printed(run, "step.py") == f"{venv} {venv}/bin/python\n"
    for program, text in (
        ("p.yaml", "--python applies only to a single script or command"),
        ("true", "--python is for a .py file"),
    ):
        done = c.cli("run", "--python", "v", program, cwd=tmp_path)
        assert done.returncode == 2
        assert text in done.stderr


def test_an_invalid_python_is_refused_at_once_with_the_reason(c: Cluster, venv: Path, tmp_path: Path) -> None:
    x = script(tmp_path, WHERE)
    (tmp_path / "empty").mkdir()
    (tmp_path / "no-program").write_text("")
    (tmp_path / "text").write_text("print me\n")
    (tmp_path / "text").chmod(0o755)
    gone = make_venv(tmp_path / "gone")
    (gone / "bin" / "python").unlink()
    (gone / "bin" / "python").symlink_to("/no/such/python")
    said = {
        "none": "/none does not exist on this worker",
        str(tmp_path / "empty"): "is a folder without bin/python on this worker",
        str(tmp_path / "no-program"): "is not a program that this worker may execute",
        str(tmp_path / "text"): "is no Python that works on this worker",
        "/bin/false": "the check of its version ended with code 1",
        str(gone): "create the virtual environment again",
    }
    jobs = [Job(f"j{i}", x, python=f"/{python.lstrip('/')}", retries=3) for i, python in enumerate(said)]
    fresh = Job("fresh", x, python="/none", driver="process", retries=3)
    run = c.client.submit(DAG("bad", [*jobs, fresh]))
    run.wait(20)
    for job, words in zip(run.status().jobs, [*said.values(), said["none"]], strict=True):
        assert (job.state, job.attempt) == ("DEAD", 1), job
        assert words in job.reason


def test_a_warden_that_dies_loses_its_own_jobs_and_no_others(c: Cluster, venv: Path, tmp_path: Path) -> None:
    wait = script(tmp_path, WAIT, "wait.py")
    mine, other = tmp_path / "mine", tmp_path / "other"
    run = c.client.submit(
        DAG("d", [Job("mine", wait, args=[mine], python=venv, retries=1), Job("other", wait, args=[other], retries=0)])
    )
    until(lambda: said_pids(mine) and said_pids(other), "both jobs run")
    warden, job = said_pids(mine)
    mine.unlink()
    os.kill(warden, signal.SIGKILL)
    again = until(lambda: said_pids(mine), "the job runs again, on a new warden")
    assert again[0] != warden
    assert not Path(f"/proc/{job}").exists()
    assert Path(f"/proc/{said_pids(other)[1]}").exists()
    until(lambda: states(run) == [("RUNNING", 2), ("RUNNING", 1)], "only the job of the dead warden has a second attempt")
    run.cancel()
    run.wait(20)
    # the lost attempt costs no retry
    assert "handed back by its worker" in "\n".join(c.client.job(f"{run.id}/mine")[1])


def test_the_death_of_the_workers_own_warden_loses_no_job_of_another_warden(c: Cluster, venv: Path, tmp_path: Path) -> None:
    wait = script(tmp_path, WAIT, "wait.py")
    mine, other = tmp_path / "mine", tmp_path / "other"
    run = c.client.submit(
        DAG("d", [Job("mine", wait, args=[mine], python=venv, retries=0), Job("other", wait, args=[other], retries=1)])
    )
    until(lambda: said_pids(mine) and said_pids(other), "both jobs run")
    warden = said_pids(other)[0]
    other.unlink()
    os.kill(warden, signal.SIGKILL)
    until(lambda: said_pids(other), "the job runs again")
    until(lambda: states(run) == [("RUNNING", 1), ("RUNNING", 2)], "only the job of the dead warden has a second attempt")
    run.cancel()
    run.wait(20)


def test_an_interpreter_whose_environment_changed_is_started_again(c: Cluster, venv: Path, tmp_path: Path) -> None:
    """Python reads .pth files only when it starts, so a new interpreter is needed to see the
    change."""
    job = Job("a", script(tmp_path, "import os, sys\nprint('added' in sys.path[-1], os.getppid())\n"), python=venv)
    before = printed(c, job)[0].split()
    (tmp_path / "added").mkdir()
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "more.pth").write_text(f"{tmp_path}/added\n")
    after = printed(c, job)[0].split()
    assert (before[0], after[0]) == ("False", "True")
    until(lambda: not Path(f"/proc/{before[1]}").exists(), "the old warden ends")


def test_a_script_that_waits_for_its_interpreter_can_be_stopped(c: Cluster, tmp_path: Path) -> None:
    fifo, slow = tmp_path / "fifo", tmp_path / "slow"
    os.mkfifo(fifo)
    slow.write_text(f"#!/bin/sh\nread line <{fifo}\n")
    slow.chmod(0o755)
    run = c.client.submit(DAG("d", [Job("a", script(tmp_path, WHERE), python=slow)]))
    until(lambda: any(str(slow) in command for command in processes_below(c.base).values()), "the worker examines the interpreter")
    run.cancel()
    assert run.wait(20).state == "CANCELLED"
    with fifo.open("w") as end:
        end.write("\n")
    until(lambda: not any(str(slow) in command for command in processes_below(c.base).values()), "the examination ends")


def test_an_unsupported_python_version_runs_each_script_in_a_new_process(c: Cluster, tmp_path: Path) -> None:
    """The interpreter reports an old version."""
    old = tmp_path / "old"
    old.write_text(f'#!/bin/sh\ncase "$1" in -c) printf "titan\\ncpython\\n2.7";; *) exec {sys.executable} "$@";; esac\n')
    old.chmod(0o755)
    job = Job("a", script(tmp_path, KIND), python=old)
    assert printed(c, job)[0].startswith("False ")
    assert "run in fresh processes, not in forks: it is cpython 2.7" in c.workers["w1"].err


def test_an_interpreter_whose_forks_fail_runs_each_script_in_a_new_process(c: Cluster, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text(f'#!/bin/sh\ncase "$1" in -I) exit 5;; *) exec {sys.executable} "$@";; esac\n')
    broken.chmod(0o755)
    job = Job("a", script(tmp_path, KIND), python=broken)
    assert printed(c, job, Job("b", script(tmp_path, KIND), python=broken)) != []
    assert f"scripts of {broken} run in fresh processes, not in forks: its warden ended with code 5" in c.workers["w1"].err
