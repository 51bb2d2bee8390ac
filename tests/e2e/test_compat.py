"""Programs that were written for `titan_sdk`, with changed imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster, free_port
from support.waiting import until
from titan.compat import Accepted, TitanClient, TitanJob, TitanYAMLParser, UnknownKey

IMPORT = "from titan.compat import TitanClient, TitanJob\n"


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "w1", "w2") as made:
        yield made


def is_queue(client: TitanClient, gates: list[str]) -> bool:
    return client.store_smembers("titan:hitl:queue") == gates


def has_status(client: TitanClient, job: str, status: str) -> bool:
    return client.get_job_status(job) == status


def run(c: Cluster, folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program as its author would start it."""
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
train = TitanJob(job_id="DAG-train_model", filename="train.py", parents=["DAG-extract_data"], affinity=True)
print(client.submit_dag("nightly", [extract, train], agent_run_id="agent-7"))
while client.get_job_status("DAG-train_model") not in ("COMPLETED", "FAILED"):
    time.sleep(0.05)
print(client.get_job_status("extract_data"), client.get_job_status("DAG-train_model"), client.get_job_status("nobody"))
print(client.fetch_logs("train_model"), end="")
print(repr(client.fetch_logs("DAG-extract_data")))
again = TitanJob("report", "train.py", parents=["DAG-train_model"])
print(client.submit_job(again))
print(client.submit_job(TitanJob("late", "train.py", parents=["nobody"])))
""",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "DAG_ACCEPTED",
        "COMPLETED COMPLETED UNKNOWN",
        "rows '4 ['a.csv'] NULL",
        r"'1 0\nextracted\n'",
        "DAG_ACCEPTED",
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
print(client.submit_yaml("p.yaml", wait=True, timeout=60, agent_run_id="r"), client.get_job_status("two"))
""",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"('127.0.0.1', {port}) ['DAG-my-api']",
        "200",
        "STOPPED: DAG-my-api",
        "ERROR: service DAG-nobody not found",
        "DAG_ACCEPTED COMPLETED",
    ]


def test_a_gate_behind_a_job(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("print('s')\n")
    client = TitanClient("127.0.0.1", c.port or 0)
    first = TitanJob("prepare", str(tmp_path / "s.py"), hitl_message="Looks good?", max_wait_seconds=600)
    answer = client.submit_dag("gated", [first, TitanJob("train", str(tmp_path / "s.py"), parents=["prepare"])])
    assert isinstance(answer, Accepted) and answer == "DAG_ACCEPTED"
    until(lambda: client.get_job_status("hitl-gate-prepare") == "PAUSED", "the gate is open")
    assert client.get_job_status("DAG-hitl-gate-prepare") == "PAUSED" and client.get_job_status("train") == "PENDING"
    c.client.approve(f"{answer.run}/hitl-gate-prepare", by="ann")
    until(lambda: client.get_job_status("train") == "COMPLETED", "the child of the gate runs")


def test_a_program_decides_gates_through_the_store(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text("print('s')\n")
    client = TitanClient("127.0.0.1", c.port or 0)
    for word, after in (("APPROVED", "COMPLETED"), ("REJECTED", "CANCELLED")):
        gate = f"hitl-gate-{word}"
        jobs = [
            TitanJob(word, str(tmp_path / "s.py"), hitl_message="Looks good?"),
            TitanJob(f"after-{word}", str(tmp_path / "s.py"), parents=[gate]),
        ]
        client.store_put(f"titan:hitl:status:{gate}", "stale")
        assert client.submit_dag("gated", jobs) == "DAG_ACCEPTED"
        assert client.store_get(f"titan:hitl:status:{gate}") in ("CLEARED", "WAITING")
        until(partial(is_queue, client, [gate]), "the gate waits")
        assert client.store_get(f"titan:hitl:status:{gate}") == "WAITING"
        assert client.store_get(f"titan:hitl:message:{gate}") == "Looks good?"
        assert client.store_put(f"titan:hitl:status:{gate}", word) == "OK"
        until(partial(has_status, client, f"after-{word}", after), f"the child of the gate is {after}")
        assert client.store_get(f"titan:hitl:status:{gate}") == word and client.store_smembers("titan:hitl:queue") == []
        assert client.store_put(f"titan:hitl:status:{gate}", word).startswith("ERROR: gate ")
    assert client.store_put("titan:hitl:status:review", "CLEARED") == "OK"
    assert client.store_get("titan:hitl:status:review") == "CLEARED"


def test_jobs_of_a_dag_share_their_working_directory(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "left.py").write_text("open('left', 'w').write('here')\n")
    (tmp_path / "read.py").write_text("import os; print(open('left').read() if os.path.exists('left') else 'nothing')\n")
    read = ""
    for shared in (True, False):
        client = TitanClient("127.0.0.1", c.port or 0, shared_cwd=shared)
        jobs = [
            TitanJob("left", str(tmp_path / "left.py")),
            TitanJob("read", str(tmp_path / "read.py"), parents=["left"], affinity=True),
        ]
        assert client.submit_dag("shared", jobs) == "DAG_ACCEPTED"
        until(partial(has_status, client, "read", "COMPLETED"), "the job is over")
        read += client.fetch_logs("read")
    assert read == "here\nnothing\n"


PIPELINE = """
version: 1.0
owner: me
jobs:
  - {id: init, type: RUN, file: scripts/init.py, args: "--mode 'reset all'", priority: 10, requirement: }
  - {id: DAG-server, type: SERVICE, file: src/server.py, port: PORT, depends_on: [init]}
  - {id: last, file: src/last.py, args: 5, depends_on: [DAG-init, DAG-server]}
"""


def test_the_command_of_the_titan_sdk_and_its_files(c: Cluster, tmp_path: Path) -> None:
    port = free_port()
    for name, text in {
        "scripts/init.py": "import sys; print(sys.argv[1:], open('beside').read())\n",
        "scripts/beside": "beside",
        "src/server.py": "import http.server, os\nhttp.server.HTTPServer(('127.0.0.1', int(os.environ['TITAN_PORT'])),"
        " http.server.SimpleHTTPRequestHandler).serve_forever()\n",
        "src/last.py": "import sys; print(sys.argv[1:])\n",
        "agent.yaml": PIPELINE.replace("PORT", str(port)),
    }.items():
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_text(text)
    env = c.environment({"TITAN_MASTER": "", "TITAN_HOST": "127.0.0.1", "TITAN_PORT": str(c.port)})

    def titan_cli(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "titan.compat.titan_cli", *words]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)

    done = titan_cli("deploy", "p/agent.yaml")
    assert (done.returncode, done.stdout) == (0, "DAG_ACCEPTED\n"), done.stderr
    assert done.stderr.startswith("titan_cli: warning: p/agent.yaml:3: owner: unknown key, ignored\ntitan_cli: this is run ")
    client = TitanClient("127.0.0.1", c.port or 0)
    until(lambda: client.get_job_status("last") == "COMPLETED", "the pipeline is over")
    assert client.fetch_logs("init") == "['--mode', \"'reset\", \"all'\"] beside\n"
    assert client.fetch_logs("DAG-last") == "['5']\n"
    assert [run["dag"] for run in c.json("runs", "--json")] == ["titan_agent"]
    assert client.list_services() == ["DAG-server"] and client.stop_service("server") == "STOPPED: DAG-server"

    parser = TitanYAMLParser(str(tmp_path / "p" / "agent.yaml"))
    with pytest.warns(UnknownKey):
        jobs = [job for job in parser.build_jobs() if job.id != "server"]
    jobs[1].parents.remove("server")
    assert client.upload_project_folder(parser.project_base, parser.get_project_name()) == "UPLOAD_SUCCESS"
    assert client.submit_dag("again", jobs) == "DAG_ACCEPTED"
    until(lambda: client.get_job_status("last") == "COMPLETED", "the jobs of the parser are over")
    assert client.fetch_logs("init") == "['--mode', \"'reset\", \"all'\"] beside\n"

    done = titan_cli("deploy", "p/none.yaml")
    assert (done.returncode, done.stderr) == (2, "titan_cli: ERROR: pipeline file 'p/none.yaml' does not exist: check the path\n")
    done = titan_cli("destroy", "p/agent.yaml")
    assert done.returncode == 2 and done.stderr.startswith("titan_cli: 'destroy' is not a command: use deploy FILE.")
    assert titan_cli().stderr == "Usage: python -m titan.compat.titan_cli deploy FILE\n"


def test_a_pipeline_with_a_service_is_waited_for_until_its_jobs_are_over(c: Cluster, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(
        "import http.server, os\nhttp.server.HTTPServer(('127.0.0.1', int(os.environ['TITAN_PORT'])),"
        " http.server.SimpleHTTPRequestHandler).serve_forever()\n"
    )
    (tmp_path / "p.yaml").write_text(
        "project: false\njobs:\n- {id: api, type: service, file: server.py}\n"
        "- {id: gated, command: 'true', hitl_message: 'Go on?', depends_on: [api]}\n"
    )
    client = TitanClient("127.0.0.1", c.port or 0)
    assert client.submit_yaml(str(tmp_path / "p.yaml"), wait=True, poll_interval=0.05, timeout=0.5) is False
    until(lambda: client.store_put("titan:hitl:status:hitl-gate-gated", "APPROVED") == "OK", "the gate is approved")
    (tmp_path / "q.yaml").write_text("project: false\njobs:\n- {id: api2, type: service, file: server.py}\n")
    assert client.submit_yaml(str(tmp_path / "q.yaml"), wait=True, poll_interval=0.05, timeout=60) == "DAG_ACCEPTED"
    assert sorted(client.list_services()) == ["DAG-api", "DAG-api2"]


def test_a_program_that_sets_the_port_late(c: Cluster, tmp_path: Path) -> None:
    program = (
        "import os, titan.compat\nfrom titan.compat.titan_sdk import TitanClient\nclient = TitanClient()\n"
        "os.environ['TITAN_PORT'] = <port>\nprint(client.store_put('late', 1))\ndel os.environ['TITAN_PORT']\n"
        "titan.compat.TITAN_PORT = int(<port>)\nprint(client.store_get('late'))\n"
    ).replace("<port>", repr(str(c.port)))
    env = {name: value for name, value in c.environment().items() if name not in ("TITAN_MASTER", "TITAN_HOST", "TITAN_PORT")}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "OK\n1\n"), done.stderr


def test_without_a_master_requests_return_an_error_value(monkeypatch: pytest.MonkeyPatch) -> None:
    client = TitanClient("127.0.0.1", free_port())
    assert client.store_get("x").startswith("CONNECTION_ERROR: ")
    assert client.get_job_status("x").startswith("CONNECTION_ERROR: ")
    assert client.store_smembers("x") == [] and client.get_artifact("x") is False
