"""Programs that were written for `titan_sdk`, with one import changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster, free_port
from support.waiting import until
from titan.compat import TitanClient, TitanJob

IMPORT = "from titan.compat import TitanClient, TitanJob\n"


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "w1", "w2") as made:
        yield made


def run(c: Cluster, folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """A program as its author would start it."""
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text(IMPORT + program)
    env = c.environment({"TITAN_MASTER": "", "TITAN_HOST": "127.0.0.1", "TITAN_PORT": str(c.port)})
    return subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env=env, capture_output=True, text=True, timeout=90, check=False
    )


def test_a_pipeline_whose_jobs_talk_through_the_store(c: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "etl"
    folder.mkdir()
    (folder / "extract.py").write_text(
        IMPORT + "import sys\nclient = TitanClient()\nclient.store_put('rows', sys.argv[1])\n"
        "print(client.store_sadd('files', 'a.csv'), client.store_sadd('files', 'a.csv'))\nprint('extracted', file=sys.stderr)\n"
    )
    (folder / "train.py").write_text(
        IMPORT + "client = TitanClient()\n"
        "print('rows', client.store_get('rows'), client.store_smembers('files'), client.store_get('no'))\n"
    )
    done = run(
        c,
        folder,
        """
import time
client = TitanClient()
extract = TitanJob(job_id="extract_data", filename="extract.py", args="'4 2'", priority=5, delay=100)
train = TitanJob(job_id="train_model", filename="train.py", parents=["extract_data"], affinity=True)
print(client.submit_dag("nightly", [extract, train], agent_run_id="agent-7").split(":")[0])
while client.get_job_status("DAG-train_model") not in ("COMPLETED", "FAILED"):
    time.sleep(0.05)
print(client.get_job_status("extract_data"), client.get_job_status("DAG-train_model"), client.get_job_status("nobody"))
print(client.fetch_logs("train_model"), end="")
print(repr(client.fetch_logs("DAG-extract_data")))
again = TitanJob("report", "train.py", parents=["train_model"])
print(client.submit_job(again).split(":")[0])
print(client.submit_job(TitanJob("late", "train.py", parents=["nobody"])))
""",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "SUBMITTED",
        "COMPLETED COMPLETED UNKNOWN",
        "rows 4 2 ['a.csv'] NULL",
        r"'1 0\nextracted\n'",
        "SUBMITTED",
        "ERROR: parent 'nobody' is not among the submitted jobs and is UNKNOWN, not COMPLETED",
    ]
    assert [r["dag"] for r in c.json("runs", "--group", "agent-7", "--json")] == ["nightly"]


def test_files_scripts_and_folders_on_the_master(c: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    (folder / "project" / "src").mkdir(parents=True)
    (folder / "project" / "src" / "main.py").write_text("import helper, sys\nprint(helper.WORD, *sys.argv[1:])\n")
    (folder / "project" / "src" / "helper.py").write_text("WORD = 'packed'\n")
    (folder / "writer.py").write_text(
        IMPORT + "open('report.md', 'w').write('# done')\nprint(TitanClient().publish_artifact('run:7:report', 'report.md'))\n"
    )
    (folder / "tool.py").write_text("print('a tool that was deployed')\n")
    done = run(
        c,
        folder,
        """
import os, time
client = TitanClient()
def finish(*ids):
    for job in ids:
        while client.get_job_status(job) not in ("COMPLETED", "FAILED"):
            time.sleep(0.05)
    return [client.get_job_status(job) for job in ids]
print(client.upload_project_folder("project", "my_project"))
print(client.deploy_script("tool.py"))
os.remove("tool.py")
jobs = [
    TitanJob("packed", "my_project.zip/src/main.py", args="one two", is_archive=True),
    TitanJob("deployed", "tool.py"),
    TitanJob("writer", os.path.abspath("writer.py")),
]
client.submit_dag("files", jobs)
print(finish("packed", "deployed", "writer"))
for job in ("packed", "deployed", "writer"):
    print(client.fetch_logs(job), end="")
print(client.get_artifact("run:7:report", save_path="got.md"), open("got.md").read(), client.get_artifact("run:8:report"))
print(client.upload_file("got.md"), client.fetch_artifact("got.md", "again.md"), open("again.md").read())
print(client.upload_file("missing"), client.fetch_artifact("missing"))
try:
    TitanJob("x", "no/such/file.py")
except FileNotFoundError as error:
    print("FileNotFoundError")
""",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "UPLOAD_SUCCESS",
        "DEPLOY_SUCCESS",
        "['COMPLETED', 'COMPLETED', 'COMPLETED']",
        "packed one two",
        "a tool that was deployed",
        "True",
        "True # done False",
        "UPLOAD_SUCCESS True # done",
        "ERROR: File not found at: missing False",
        "FileNotFoundError",
    ]


def test_a_service_and_a_pipeline_file_that_is_waited_for(c: Cluster, tmp_path: Path) -> None:
    port = free_port()
    folder = tmp_path / "svc"
    folder.mkdir()
    (folder / "server.py").write_text(
        "import http.server, os\nhttp.server.HTTPServer(('127.0.0.1', int(os.environ['TITAN_PORT'])),"
        " http.server.SimpleHTTPRequestHandler).serve_forever()\n"
    )
    (folder / "step.py").write_text("print('step')\n")
    (folder / "p.yaml").write_text(
        "name: old\nproject: true\njobs:\n- {id: one, file: step.py, requirement: GENERAL, delay: 0, type: run}\n"
        "- {id: two, file: step.py, depends_on: [one], priority: 2, affinity: true}\n"
    )
    done = run(
        c,
        folder,
        f"""
import time, urllib.request
client = TitanClient()
client.submit_job(TitanJob(job_id="my-api", filename="server.py", job_type="SERVICE", port={port}))
while (client.get_job_status("DAG-my-api") or "").upper() != "COMPLETED":
    time.sleep(0.05)
print(client.get_service_address("my-api"), client.list_services())
print(urllib.request.urlopen(client.get_service_url("my-api")).status)
print(client.stop_service("my-api"))
print(client.stop_service("nobody"))
print(client.submit_yaml("p.yaml", wait=True, timeout=60, agent_run_id="r").split(":")[0], client.get_job_status("two"))
""",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"('127.0.0.1', {port}) ['DAG-my-api']",
        "200",
        "STOPPED: DAG-my-api",
        "ERROR: service DAG-nobody not found",
        "SUBMITTED COMPLETED",
    ]


def test_a_gate_behind_a_job(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("print('s')\n")
    client = TitanClient("127.0.0.1", c.port or 0)
    first = TitanJob("prepare", str(tmp_path / "s.py"), hitl_message="Looks good?", max_wait_seconds=600)
    answer = client.submit_dag("gated", [first, TitanJob("train", str(tmp_path / "s.py"), parents=["prepare"])])
    run_id = answer.split()[1]
    until(lambda: client.get_job_status("hitl-gate-prepare") == "PAUSED", "the gate is open")
    assert client.get_job_status("train") == "PENDING"
    c.client.approve(f"{run_id}/prepare.gate", by="ann")
    until(lambda: client.get_job_status("train") == "COMPLETED", "the rest runs")


def test_no_master_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    client = TitanClient("127.0.0.1", free_port())
    assert client.store_get("x").startswith("CONNECTION_ERROR: ")
    assert client.get_job_status("x").startswith("CONNECTION_ERROR: ")
    assert client.store_smembers("x") == [] and client.get_artifact("x") is False
