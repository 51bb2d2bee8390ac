"""Services with real processes: READY and the children, crashes and back-off, ports, health checks,
and the end of master and workers."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cluster import FAST, Cluster, alive, cluster, free_port, processes_below
from support.waiting import until
from titan import DAG, Job
from titan.core.events.events import JobsDispatched, ServicesReported
from titan.errors import CallerError, Conflict, InvalidGraph, NotFound
from titan.sdk.services import ServiceStatus

SERVER = """\
import http.server, os, signal, sys
open(os.environ["PIDS"], "a").write(f"{os.getpid()}\\n")
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sick = os.path.exists(os.environ["PIDS"] + ".sick")
        self.send_response(503 if sick else 200)
        self.end_headers()
        self.wfile.write(f"{os.getpid()} {os.environ['TITAN_WORKER_HOME']}".encode())
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["TITAN_PORT"])), Answer).serve_forever()
"""
ASK = """\
import sys, urllib.request
print(urllib.request.urlopen("http://" + sys.argv[1], timeout=5).read().decode())
"""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "ada", slots=3) as made:
        yield made


class Serving:
    """A service that records the pids of its processes."""

    def __init__(self, folder: Path, **fields: Any) -> None:
        folder.mkdir()
        self.pids_file = folder / "pids"
        (folder / "server.py").write_text(SERVER)
        (folder / "ask.py").write_text(ASK)
        given: dict[str, Any] = {
            "type": "service",
            "file": folder / "server.py",
            "env": {"PIDS": self.pids_file},
            "health": "http:/",
        }
        self.job = Job("web", **{**given, **fields})
        self.ask = Job("ask", file=folder / "ask.py", args=["${service:web}"], parents=[self.job])

    @property
    def pids(self) -> list[int]:
        return [int(line) for line in self.pids_file.read_text().splitlines()] if self.pids_file.exists() else []


def seen(c: Cluster, condition: Callable[[ServiceStatus], object], what: str, deadline_s: float = 20.0) -> ServiceStatus:
    """Wait until exactly one service meets the condition, and return its status."""
    found = until(lambda: [s for s in c.client.services() if condition(s)], what, deadline_s)
    assert len(found) == 1, found
    return found[0]


def ready(c: Cluster) -> ServiceStatus:
    return seen(c, lambda s: s.state == "READY", "the service is READY")


def test_a_child_starts_when_its_service_is_ready_and_the_service_ends_after_it(one: Cluster, tmp_path: Path) -> None:
    serving = Serving(tmp_path / "s")
    run = one.client.submit(DAG("d", [serving.job, serving.ask]))
    assert run.wait(30).ok
    (pid,) = serving.pids
    assert one.output(f"{run.id}/ask").decode().split()[0] == str(pid)
    until(lambda: not alive(pid), "the process of the service ends")
    until(lambda: one.worker("ada").held == 0, "the slot is free")
    status, story = one.client.job(f"{run.id}/web")
    assert status.state == "COMPLETED"
    assert any("READY at 127.0.0.1:" in line for line in story) and "all jobs that needed it are over" in story[-1]
    assert one.client.services() == []


def test_a_service_that_nothing_needs_runs_until_it_is_stopped(one: Cluster, tmp_path: Path) -> None:
    serving = Serving(tmp_path / "s", env={"PIDS": tmp_path / "pids", "AT": "${port}"}, args=["${port}"])
    serving.pids_file = tmp_path / "pids"
    run = one.client.submit(DAG("d", [serving.job, Job("other", command="true")]))
    s = ready(one)
    assert s.address == f"127.0.0.1:{(s.address or ':').rpartition(':')[2]}" and s.worker == "ada" and s.restarts == 0
    until(lambda: run.status().jobs[1].state == "COMPLETED", "the other job is over")
    (row,) = one.json("services")
    assert (row["state"], row["address"], row["job"]) == ("READY", s.address, "web")
    assert s.address in one.cli("services").stdout
    with pytest.raises(CallerError, match="is not a service"):
        one.client.stop(f"{run.id}/other")
    with pytest.raises(NotFound):
        one.client.stop(f"{run.id}/none")
    assert one.json("stop", f"{run.id}/web") == {"target": f"{run.id}/web", "stopped": 1}
    assert run.wait(10).ok and one.client.stop(run.id) == 0
    until(lambda: not processes_below(one.worker_home("ada") / "titan_workspace" / "jobs"), "its process ends")
    until(lambda: not alive(serving.pids[0]), "the process of the service ends")


def test_a_service_that_crashes_backs_off_shows_why_and_leaks_nothing(one: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "crash.sh"
    script.write_text(f'echo "$$ $(date +%s%N)" >>{tmp_path}/starts; echo no good; sleep 0.1; exit 7\n')
    restart = {"policy": "always", "backoff": 0.05, "backoff_max": 0.8}
    bad = Job("bad", type="service", file=script, restart=restart)
    run = one.client.submit(DAG("d", [bad, Job("b", command="true", parents=[bad])]))

    def starts() -> list[str]:
        return (tmp_path / "starts").read_text().split("\n")[:-1] if (tmp_path / "starts").exists() else []

    until(lambda: len(starts()) >= 7, "the service was started seven times")
    s = seen(one, lambda s: s.restarts >= 6, "the master knows of it")
    assert s.state == "RUNNING" and s.reason == "exit code 7"
    _, story = one.client.job(f"{run.id}/bad")
    assert "restarts, the last one: exit code 7" in story[-1]
    ats = [int(line.split()[1]) / 1e9 for line in starts()]
    gaps = [b - a for a, b in itertools.pairwise(ats)]
    assert gaps[4] >= 0.8 and gaps[0] < gaps[4], f"no backoff: {gaps}"
    assert one.worker("ada").held == 1
    assert one.client.stop(f"{run.id}/bad") == 1
    assert run.wait(10).state == "FAILED"  # the child of the service never began
    until(lambda: one.worker("ada").held == 0, "the slot is free")
    assert not any(alive(int(line.split()[0])) for line in starts())
    reports = [e for e in one.events() if isinstance(e, ServicesReported)]
    assert len(reports) <= len(starts()) + 2
    assert one.output(f"{run.id}/bad").decode().count("no good\n") == len(starts())


def test_a_sick_service_is_restarted_at_the_same_address(one: Cluster, tmp_path: Path) -> None:
    health = {"type": "http", "path": "/", "interval": 0.05, "failures": 2}
    serving = Serving(tmp_path / "s", health=health, restart={"backoff": 0.05}, port=free_port())
    one.client.submit(DAG("d", [serving.job]))
    before = ready(one)
    sick = Path(f"{serving.pids_file}.sick")
    sick.touch()
    until(lambda: len(serving.pids) >= 2, "the service is started again")
    sick.unlink()
    after = seen(one, lambda s: s.state == "READY" and s.restarts, "READY again")
    assert after.address == before.address and "503" in after.reason
    assert not alive(serving.pids[0])


def test_a_command_can_be_the_health_check(one: Cluster, tmp_path: Path) -> None:
    health = {"command": f"test -e {tmp_path}/fine || {{ echo not yet; exit 3; }}", "interval": 0.1}
    one.client.submit(DAG("d", [Job("s", type="service", command="exec sleep 1000", health=health)]))
    s = seen(one, lambda s: s.reason, "a check failed")
    assert s.state == "RUNNING" and s.reason == "the health command ended with code 3: not yet"
    (tmp_path / "fine").touch()
    ready(one)


def test_a_port_in_use_is_refused_at_once_and_another_worker_tried(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "ada", "bob", slots=1) as c, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        job = Job("s", type="service", command="sleep 1000", port=port)
        run = c.client.submit(DAG("d", [job, Job("child", command="true", parents=[job])]))
        assert run.wait(20).state == "FAILED"
        status, story = c.client.job(f"{run.id}/s")
        assert status.state == "DEAD" and f"port {port} is in use here by another program" in status.reason
        assert sum("REFUSED" in line for line in story) == 2 and "ada" in "".join(story) and "bob" in "".join(story)
        assert all(w.held == 0 for w in c.client.workers())


def test_two_services_of_a_worker_cannot_have_one_port(one: Cluster, tmp_path: Path) -> None:
    port = free_port()
    run = one.client.submit(DAG("d", [Job(n, type="service", command="sleep 1000", port=port, health="none") for n in "ab"]))
    until(lambda: "DEAD" in [j.state for j in run.status().jobs], "one of the two services is refused")
    (dead,) = [j for j in run.status().jobs if j.state == "DEAD"]
    assert f"port {port} is in use here by another service of this worker" in dead.reason


def test_a_kill_of_the_master_does_not_affect_a_service(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "ada", settings=FAST) as c:
        serving = Serving(tmp_path / "s")
        run = c.client.submit(DAG("d", [serving.job]))
        before = ready(c)
        c.restart_master()
        assert c.client.services()[0].state == "READY", "the service is READY as soon as the master is there again"
        c.wait_for_workers("ada")
        after = ready(c)
        assert (after.address, after.since, after.attempt) == (before.address, before.since, 1)
        late = c.client.submit(DAG("late", [Job("x", command="true")]))
        assert late.wait(20).ok and len(serving.pids) == 1 and alive(serving.pids[0])
        assert c.client.stop(run.id) == 1 and run.wait(20).ok


def test_a_service_moves_when_its_worker_is_killed(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "ada", "bob", settings=FAST, slots=2) as c:
        serving = Serving(tmp_path / "s")
        wait = Job(
            "wait", command=f"until test -e {tmp_path}/go; do sleep 0.02; done", parents=[serving.job], requirement="GENERAL"
        )
        late = Job("late", file=tmp_path / "s" / "ask.py", args=["${service:web}"], parents=[serving.job, wait], retries=10)
        run = c.client.submit(DAG("d", [serving.job, wait, late]))
        before = ready(c)
        assert before.worker is not None
        c.kill_worker(before.worker)
        after = seen(c, lambda s: s.state == "READY" and s.worker != before.worker, "it moved", 40)
        assert after.attempt == 2 and len(serving.pids) == 2
        (tmp_path / "go").touch()
        assert run.wait(40).ok
        assert c.output(f"{run.id}/late").decode().split()[0] == str(serving.pids[1])
        _, story = c.client.job(f"{run.id}/web")
        assert sum("READY at" in line for line in story) == 2 and any("silent" in line or "anew" in line for line in story)
        assert len([e for e in c.events() if isinstance(e, JobsDispatched)]) >= 4


def test_a_drained_worker_hands_its_service_back(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "ada", "bob", slots=1) as c:
        serving = Serving(tmp_path / "s")
        c.client.submit(DAG("d", [serving.job]))
        before = ready(c)
        assert before.worker is not None
        spawned = c.workers[before.worker]
        spawned.terminate()
        assert spawned.wait() == 0
        after = seen(c, lambda s: s.state == "READY" and s.worker != before.worker, "it moved")
        assert after.restarts == 0 and not alive(serving.pids[0])


def test_a_replacement_becomes_ready_before_the_old_process_is_stopped(one: Cluster, tmp_path: Path) -> None:
    serving = Serving(tmp_path / "s")
    run = one.client.submit(DAG("d", [serving.job]))
    before = ready(one)
    assert one.json("replace", f"{run.id}/web", "--command", "exit 9") == {"target": f"{run.id}/web", "rolling": True}
    held = seen(one, lambda s: s.attempt == 2 and s.reason == "exit code 9", "the new one crashes")
    assert (held.state, held.address) == ("READY", before.address) and alive(serving.pids[0]), "the old process serves"
    assert one.client.replace(f"{run.id}/web", Job("x", file=tmp_path / "s" / "server.py")) is False
    after = seen(one, lambda s: s.attempt == 3 and s.address != before.address, "the new one is READY")
    assert after.state == "READY" and alive(serving.pids[1])
    until(lambda: not alive(serving.pids[0]), "the old process ends")
    until(lambda: one.worker("ada").held == 1, "its slot is free")
    one.restart_master()
    assert one.client.services()[0].address == after.address
    assert one.client.stop(run.id) == 1 and run.wait(10).ok
    with pytest.raises(Conflict):
        one.client.replace(f"{run.id}/web")


def test_a_replacement_at_a_fixed_port_waits_until_that_is_free(one: Cluster, tmp_path: Path) -> None:
    serving = Serving(tmp_path / "s", port=free_port())
    run = one.client.submit(DAG("d", [serving.job]))
    before = ready(one)
    assert one.client.replace(f"{run.id}/web") is False
    after = seen(one, lambda s: s.attempt == 2 and s.state == "READY", "the new one is READY")
    assert after.address == before.address and not alive(serving.pids[0]) and len(serving.pids) == 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"port": 70_000}, "port: 70000 is out of range: give 1 to 65535, or 0 for any free port"),
        ({"port": "x"}, "port: must be a port number"),
        ({"health": "ping"}, "health: type 'ping' is unknown: use one of tcp, http, command, none"),
        ({"restart": "sometimes"}, "restart: 'sometimes' is unknown"),
        ({"restart": {"backof": 1}}, "restart: unknown key 'backof'"),
        ({"timeout": 3}, "timeout: a service has no timeout"),
        ({"type": "run", "port": 1}, "port: applies only to a service"),
        ({"type": "daemon"}, "type: must be run (the default), gate or service"),
    ],
)
def test_bad_fields_of_a_service_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidGraph) as caught:
        Job("s", command="x", **{"type": "service", **fields})
    assert says in str(caught.value)


def test_bad_references_to_services_are_refused(one: Cluster) -> None:
    db = Job("db", type="service", command="sleep 9")
    for job, says in (
        (Job("a", command="x", args=["${service:db}"]), "the job does not depend on 'db'"),
        (Job("a", command="echo ${service:bd}", parents=[db]), "${service:bd} does not name a service: services are db"),
    ):
        with pytest.raises(InvalidGraph) as caught:
            one.client.submit(DAG("d", [db, job]))
        assert says in str(caught.value)


def test_an_invalid_service_in_a_pipeline_file_is_refused_with_its_line(one: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("name: p\njobs:\n  - id: web\n    type: service\n    command: sleep 9\n    port: 99999\n")
    done = one.cli("submit", str(file))
    assert done.returncode == 2 and f"{file}:6: port: 99999 is out of range" in done.stderr
