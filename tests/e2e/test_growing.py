"""Runs that grow, and saved pipelines, with real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster
from support.waiting import until
from titan import context
from titan.context import NotInJob
from titan.core.events.events import RunGrown
from titan.errors import Conflict, InvalidGraph, NotFound
from titan.sdk.job import DAG, Job
from titan.sdk.tasks import TaskCall, task


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "w1") as made:
        yield made


def test_a_user_adds_jobs_to_a_run_that_runs(c: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = tmp_path / "more.py"
    script.write_text("print('more')\n")
    run = c.client.submit(
        DAG(
            "d",
            [Job("first", command=f"until [ -e {go} ]; do sleep 0.02; done"), Job("end", command="echo end", parents=["first"])],
        )
    )
    assert run.add(Job("more", file=script), Job("all", command="echo all", parents=["more", "first"]), before=["end"]) == 2
    with pytest.raises(InvalidGraph, match="has a job 'more' already"):
        run.add(Job("more", command="true"))
    with pytest.raises(InvalidGraph, match="which is no job of this addition or its run"):
        run.add(Job("x", command="true", parents=["nobody"]))
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "late.sh").write_text("#!/bin/sh\ncat word\n")
    (folder / "late.sh").chmod(0o755)
    (folder / "word").write_text("late\n")
    (folder / "p.yaml").write_text("name: p\njobs:\n- {id: late, file: late.sh, depends_on: [first]}\n")
    assert c.json("add", run.id, str(folder / "p.yaml"), "--before", "end") == {"run": run.id, "jobs": 1}
    refused = c.cli("add", run.id, str(folder / "p.yaml"))
    assert refused.returncode == 2 and "has a job 'late' already" in refused.stderr
    go.touch()
    assert run.wait(30).ok
    status = c.client.status(run.id)
    assert [job.id for job in status.jobs] == ["first", "end", "more", "all", "late"]
    assert c.printed(run, "late") == "late\n"
    finished = {job.id: (job.started_at or 0.0, job.finished_at or 0.0) for job in status.jobs}
    assert finished["end"][0] >= finished["all"][1]
    assert c.printed(run, "more") == "more\n"
    with pytest.raises(Conflict, match="is COMPLETED: it takes no further jobs"):
        run.add(Job("late", command="true"))


def test_a_pipeline_is_saved_and_run_by_name_also_after_kill_9(c: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "work.py").write_text("print('version one')\n")
    file = folder / "p.yaml"
    file.write_text("name: nightly\nproject: true\njobs:\n  - id: work\n    file: work.py\n")
    assert c.cli("save", "night", str(file)).returncode == 0
    (folder / "work.py").write_text("print('version two')\n")
    refused = c.cli("save", "night", str(file))
    assert refused.returncode == 2 and "there is a saved pipeline 'night' already" in refused.stderr
    c.kill_master()
    c.restart_master()
    c.wait_for_workers("w1")
    assert [(p["name"], p["dag"], p["jobs"]) for p in c.json("save", "--list", "--json")] == [("night", "nightly", 1)]
    ran = c.cli("run", "--group", "agents 7", "night")
    assert (ran.returncode, ran.stdout) == (0, "version one\n"), ran.stderr
    assert c.cli("save", "--replace", "night", str(file)).returncode == 0
    run = c.json("submit", "--group", "agents 7", "night", "--json")["run"]
    assert c.cli("wait", run).returncode == 0 and c.printed(run, "work") == "version two\n"
    assert c.cli("run", "echo").returncode == 0  # no pipeline of that name is saved, so the name is a command
    runs = c.json("runs", "--group", "agents 7", "--json")
    assert len(runs) == 2 and {r["agent_run_id"] for r in runs} == {"agents 7"} and runs[0]["run"] == run
    assert json.loads(c.cli("status", run, "--json").stdout)["agent_run_id"] == "agents 7"
    assert c.cli("save", "--remove", "night").returncode == 0
    gone = c.cli("save", "--remove", "night")
    assert gone.returncode == 2 and "there is no saved pipeline 'night'" in gone.stderr
    with pytest.raises(NotFound, match="no saved pipeline"):
        c.client.pipelines.run("night")


# -- from within jobs ------------------------------------------------------------------------------
def run_script(c: Cluster, tmp_path: Path, text: str, *more: Job, retries: int = 0) -> str:
    """Run the script as job `plan` of a run with these jobs. Return the id of the run."""
    script = tmp_path / "plan.py"
    script.write_text(text)
    run = c.client.submit(DAG("planned", [Job("plan", file=script, retries=retries), *more]))
    try:
        run.wait(60)
    except TimeoutError:
        pytest.fail(
            str(
                [
                    (job.id, job.state, job.reason, c.client.why(f"{run.id}/{job.id}"))
                    for job in run.status().jobs
                    if job.finished_at is None
                ]
            )
        )
    return run.id


def test_a_script_adds_jobs_of_all_kinds_and_its_children_wait_for_them(c: Cluster, tmp_path: Path) -> None:
    tool = tmp_path / "tool.py"
    tool.write_text("import sys\nprint('tool', *sys.argv[1:])\n")
    run = run_script(
        c,
        tmp_path,
        f"""
from titan import Job, context, task

@task
def square(x):
    return x * x

@task
def total(numbers):
    from titan import context
    return [context.run, context.job, context.attempt, sum(numbers)]

nine = total([square(1), square(2), square(2)])
ids = context.submit(Job("tool", file={str(tool)!r}, args=["a b"]), Job("shell", command="echo $TITAN_JOB", parents=["tool"]),
                     nine, before_children=True)
print(len(ids))
""",
        Job("end", command="echo end", parents=["plan"]),
    )
    status = c.client.status(run)
    assert status.state == "COMPLETED", [(j.id, j.state, j.reason) for j in status.jobs]
    assert c.printed(run, "plan") == "6\n" and c.printed(run, "tool") == "tool a b\n" and c.printed(run, "shell") == "shell\n"
    jobs = {job.id: job for job in status.jobs}
    name = next(job for job in jobs if job.startswith("total"))
    assert c.client.run(run).result(name) == [run, name, 1, 9]
    assert all((jobs["end"].started_at or 0) >= (job.finished_at or 0) for job in jobs.values() if job.id != "end")


def test_a_map_over_a_result_and_a_saved_pipeline_in_yaml(c: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "work.py").write_text("import sys\nprint('work on', *sys.argv[1:])\n")
    (folder / "sub.yaml").write_text(
        "name: sub\njobs:\n- {id: a, file: work.py, args: [saved]}\n- {id: b, command: echo b, depends_on: [a]}\n"
    )
    assert c.cli("save", "sub", str(folder / "sub.yaml")).returncode == 0
    listing = _names()
    dag = DAG(
        "map",
        [
            Job("list", command="true"),
            Job("work", file="work.py", args=["${item}", "${index}"], parents=["list"], expand=listing),
            Job("sub", pipeline="sub", parents=["work"]),
            Job("end", command="echo end", parents=["sub"]),
            listing,
        ],
        project=folder,
    )
    run = c.client.submit(dag)
    assert run.wait(60).ok, [(j.id, j.state, j.reason) for j in run.status().jobs]
    assert [c.printed(run, f"work[{i}]") for i in range(3)] == ["work on x 0\n", "work on y 1\n", "work on z 2\n"]
    assert c.printed(run, "sub.a") == "work on saved\n"
    jobs = {job.id: job for job in run.status().jobs}
    assert (jobs["sub"].started_at or 0) >= max(jobs[f"work[{i}]"].finished_at or 0 for i in range(3))
    assert (jobs["end"].started_at or 0) >= (jobs["sub.b"].finished_at or 0)


def _names() -> TaskCall[list[str]]:
    @task(name="names")
    def names() -> list[str]:
        return ["x", "y", "z"]

    return names()


def test_a_planner_that_is_tried_again_adds_its_jobs_once(c: Cluster, tmp_path: Path) -> None:
    run = run_script(
        c,
        tmp_path,
        "import sys\nfrom titan import Job, context\n"
        "print(context.expand(Job('part', command='echo ${item}'), 3, join=Job('join', command='echo all'))[-1])\n"
        "sys.exit(context.attempt < 3)\n",
        retries=3,
    )
    assert c.states(run) == dict.fromkeys(["plan", "part[0]", "part[1]", "part[2]", "join"], "COMPLETED")
    assert c.completions(run)["join"] == 1


def test_a_shell_script_adds_jobs(c: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "work.py").write_text("import helper, sys\nprint(helper.WORD, *sys.argv[1:])\n")
    (folder / "helper.py").write_text("WORD = 'work on'\n")
    (folder / "more.yaml").write_text("name: more\njobs:\n- {id: last, command: echo last, depends_on: ['part[1]', plan]}\n")
    (folder / "saved.yaml").write_text("name: saved\njobs:\n- {id: a, command: echo a}\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.py").write_text("print('deep', __file__)\n")
    for name in ("one", "two"):
        text = f"name: deep\njobs:\n- {{id: {name}, file: deep.py}}\n"
        (folder / "sub" / f"{name}.yaml").write_text(text)
    (folder / "plan.sh").write_text(
        """set -e
titan context submit --before-children - <<EOF
name: parts
jobs:
- {id: part, file: work.py, args: ["\\${item}"], foreach: [x, y]}
EOF
titan context submit --json --before=end --key more more.yaml
titan context submit-saved saved sub
titan context submit sub/one.yaml
(cd sub && titan context submit two.yaml)
! titan context submit nothing.yaml
! titan context submit --befor end more.yaml
! titan context submit-saved nobody
"""
    )
    assert c.cli("save", "saved", str(folder / "saved.yaml")).returncode == 0
    jobs = [Job("plan", command="bash plan.sh", retries=0), Job("end", command="echo end", parents=["plan"])]
    run = c.client.submit(DAG("shell", jobs, project=folder))
    summary = run.wait(60)
    said = c.output(f"{run.id}/plan", stream=2).decode()
    assert summary.ok and summary.count == 8, [said, c.printed(run, "one"), c.states(run.id)]
    assert c.printed(run, "one").startswith("deep ") and c.printed(run, "two").endswith("/sub/deep.py\n")
    assert c.printed(run, "plan") == 'part[0]\npart[1]\n{"jobs": ["last"]}\nsub.a\none\ntwo\n'
    assert (c.printed(run, "part[0]"), c.printed(run, "part[1]")) == ("work on x\n", "work on y\n")
    times = {job.id: (job.started_at or 0.0, job.finished_at or 0.0) for job in run.status().jobs}
    assert times["end"][0] >= max(times[name][1] for name in ("part[0]", "part[1]", "last"))
    assert times["last"][0] >= times["part[1]"][1]
    for words in ("nothing.yaml:1: file: does not exist", "unknown option --befor", "no saved pipeline 'nobody'"):
        assert words in said, said


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("context.submit(Job('plan', command='true'))", "has a job 'plan' already"),
        ("context.submit(Job('x', command='true', parents=['nobody']))", "'nobody', which is no job of this addition or its run"),
        ("context.submit(Job('x', command='true', parents=['y']), Job('y', command='true', parents=['x']))", "in a cycle"),
        ("context.submit(Job('x', command='true'), before=['other'])", "other cannot wait for the addition any more"),
        ("context.submit(Job('x', file='no.py'))", "does not exist: check the path"),
        ("context.submit_saved('nobody')", "there is no saved pipeline 'nobody'"),
        ("context.expand(Job('x', command='true'), [[1]])", "each item must be"),
    ],
)
def test_bad_additions_are_errors_in_the_job(c: Cluster, tmp_path: Path, line: str, says: str) -> None:
    run = run_script(c, tmp_path, f"from titan import Job, context\n{line}\n", Job("other", command="true"))
    assert c.states(run) == {"plan": "DEAD", "other": "COMPLETED"}
    said = c.output(f"{run}/plan", stream=2).decode()
    assert says in said, said


def test_outside_of_a_job_nothing_grows() -> None:
    with pytest.raises(NotInJob, match="this process is not a job of Titan"):
        context.submit(Job("x", command="true"))


@pytest.mark.parametrize("when", ["asking", "answered", "first part"])
def test_a_thousand_jobs_and_a_join_through_kill_9_of_the_master(c: Cluster, tmp_path: Path, when: str) -> None:
    script = tmp_path / "plan.py"
    script.write_text(
        f"""
import pathlib
from titan import Job, context
here = pathlib.Path({str(tmp_path)!r})
(here / "asking").touch()
context.expand(Job("part", command=f"[ ${{{{index}}}} != 0 ] || touch '{{here}}/first part'; echo $TITAN_JOB"), 1000,
               join=Job("join", command="echo all"), before_children=True)
(here / "answered").touch()
"""
    )
    run = c.client.submit(DAG("thousand", [Job("plan", file=script), Job("end", command="true", parents=["plan"])]))
    until((tmp_path / when).exists, when)
    c.kill_master()
    c.restart_master()
    summary = run.wait(120)
    assert summary.ok and summary.count == 1003, summary
    done = c.completions(run.id)
    assert len(done) == 1003 and set(done.values()) == {1}
    jobs = {job.id: job for job in run.status().jobs}
    last = max(job.finished_at or 0.0 for name, job in jobs.items() if name.startswith("part"))
    assert (jobs["join"].started_at or 0.0) >= last and (jobs["end"].started_at or 0.0) >= (jobs["join"].finished_at or 0.0)
    assert sum(isinstance(event, RunGrown) for event in c.events()) == 1


def test_a_graph_that_grows_for_ever_ends_with_an_error_that_names_the_limit(tmp_path: Path) -> None:
    script = tmp_path / "again.py"
    script.write_text(
        "from titan import Job, context\n"
        f"context.submit(Job(context.job + '+', file={str(script)!r}, retries=0), before_children=True)\n"
    )
    with cluster(tmp_path / "c", "w1", settings={**QUIET, "growth_depth": 3, "run_jobs": 50}) as c:
        run = c.client.submit(DAG("ever", [Job("job", file=script, retries=0)]))
        assert run.wait(60).state == "FAILED"
        assert c.states(run.id) == {"job": "COMPLETED", "job+": "COMPLETED", "job++": "COMPLETED", "job+++": "DEAD"}
        said = c.output(f"{run.id}/job+++").decode()
        assert "check that the growth ends" in said, said
        wide = c.client.submit(DAG("wide", [Job("job", command=TITAN_SUBMIT, retries=0)]))
        assert wide.wait(60).state == "FAILED"
        said = c.output(f"{wide.id}/job").decode()
        assert "the limit is 50" in said, said


TITAN_SUBMIT = """printf 'name: more\\njobs:\\n- {id: x, command: "true", foreach: 60}\\n' | titan context submit -"""
