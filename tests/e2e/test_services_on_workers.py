"""The GPUs, limits, logs, descriptors, ports and processes of services on their workers. Nothing of
them is left after the end."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FAST, Cluster, alive, cluster, free_port, processes_below
from support.waiting import until
from titan import DAG, Job
from titan.sdk.services import ServiceStatus

NOTE = 'echo "$$ $TITAN_PORT $CUDA_VISIBLE_DEVICES" >>{log}; '


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c") as made:
        yield made


def lines(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def service(c: Cluster, run: str) -> ServiceStatus:
    (one,) = c.client.services(run)
    return one


def ready(c: Cluster, run: str, deadline_s: float = 20.0) -> ServiceStatus:
    until(lambda: service(c, run).state == "READY", "the service is READY", deadline_s)
    return service(c, run)


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


# -- resources -------------------------------------------------------------------------------------
def test_a_service_keeps_its_gpu_over_its_restarts_and_why_names_it_to_waiting_jobs(c: Cluster, tmp_path: Path) -> None:
    c.start_worker("g1", "--gpus", "1", slots=3)
    c.wait_for_workers("g1")
    log = tmp_path / "log"
    crash = Job("s", type="service", command=NOTE.format(log=log) + "exit 3", gpus=1, restart={"backoff": 0.05, "backoff_max": 0.1})
    run = c.client.submit(DAG("d", [crash]))
    until(lambda: len(lines(log)) >= 4, "the service was restarted")
    assert {tuple(line[1:]) for line in lines(log)} == {(lines(log)[0][1], "0")}, "its port and its GPU stay its own"
    other = c.client.submit(DAG("other", [Job("train", command=f"echo $CUDA_VISIBLE_DEVICES >{tmp_path}/train", gpus=1)]))
    told = until(lambda: why if (why := c.client.why(f"{other.id}/train")).workers else None, "the reason names the worker")
    assert told is not None
    assert [r.code for r in told.workers[0].reasons] == ["resources_busy"]
    assert c.client.stop(run.id) == 1 and other.wait(20).ok
    assert (tmp_path / "train").read_text() == "0\n"


def test_a_service_that_no_worker_can_run_waits_and_says_why(c: Cluster) -> None:
    c.start_workers("w1")
    web = Job("web", type="service", command="sleep 1000", requirement="EDGE", health="none")
    run = c.client.submit(DAG("d", [web, Job("user", command="true", parents=[web])]))
    told = c.client.why(f"{run.id}/web")
    assert told.reasons[0].code == "no_worker" and "--capability EDGE" in told.reasons[0].text
    waits = c.client.why(f"{run.id}/user")
    assert [r.code for r in waits.reasons] == ["parents", "service"]
    assert f"it is QUEUED itself: `titan why {run.id}/web`" in waits.reasons[1].text
    assert "waits for the service web to be READY: it is QUEUED itself" in c.cli("why", f"{run.id}/user").stdout
    c.start_worker("edge", "--capability", "EDGE", "--capability", "GENERAL")
    until(lambda: c.client.job(f"{run.id}/user")[0].state == "COMPLETED", "the child of the service ran")


def test_a_limit_holds_for_each_process_of_a_service_and_is_named(c: Cluster, tmp_path: Path) -> None:
    c.start_workers("w1")
    mechanism = str(c.worker("w1").facts["limits"])
    if not mechanism.startswith("cgroup v"):
        pytest.skip(f"this machine lets nobody make cgroups for all limits: {mechanism}")
    hog = tmp_path / "hog.py"
    hog.write_text(
        "import os, time\n"
        f"if os.path.exists({str(tmp_path / 'good')!r}):\n"
        f"    open({str(tmp_path / 'log')!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "    time.sleep(1000)\n"
        "kept = [bytearray(1 << 20) for _ in range(400)]\n"
    )
    greedy = Job("s", type="service", file=hog, limits={"memory": "96MiB"}, health="none", restart={"backoff": 0.05})
    run = c.client.submit(DAG("d", [greedy]))
    until(lambda: service(c, run.id).restarts >= 3, "the service was killed three times")
    assert service(c, run.id).reason == "used more than its memory limit of 96 MiB"
    assert "used more than its memory limit of 96 MiB" in c.client.job(f"{run.id}/s")[1][-1]
    (tmp_path / "good").touch()
    until(lambda: lines(tmp_path / "log"), "a process that stays within the limit is started")
    ((process,),) = lines(tmp_path / "log")
    pid = int(process)
    until(lambda: service(c, run.id).state == "READY", "it is READY")
    mark = f"-{c.workers['w1'].pid}-"

    def groups() -> list[str]:
        return [n for at, names, _ in os.walk("/sys/fs/cgroup") if mark in os.path.basename(at) for n in names]

    until(lambda: len(set(groups())) == 1, "the groups of the processes that were killed are gone")
    assert alive(pid), "the running process was left alone"
    assert c.client.stop(run.id) == 1
    until(lambda: not groups(), "the group of the running process is gone")


def test_the_log_of_a_service_is_bounded_over_all_its_processes(c: Cluster, tmp_path: Path) -> None:
    c.start_worker("w1", "--log-limit", "1")
    c.wait_for_workers("w1")
    talk = NOTE.format(log=tmp_path / "log") + "head -c 400000 /dev/zero | tr '\\0' x; exit 1"
    run = c.client.submit(DAG("d", [Job("s", type="service", command=talk, restart={"backoff": 0.05, "backoff_max": 0.1})]))
    until(lambda: len(lines(tmp_path / "log")) >= 6, "the service has had six processes")
    assert c.client.stop(run.id) == 1
    until(lambda: c.worker("w1").held == 0, "the attempt of the service is over")
    kept = c.output(f"{run.id}/s", stream=1)
    assert 800_000 <= kept.count(b"x") <= 1 << 20, "some of the second process, none of the fifth"
    local = list((c.worker_home("w1") / "titan_workspace").rglob("*.stdout"))
    assert local and all(path.stat().st_size <= (1 << 20) + 4096 for path in local)


# -- what is left ----------------------------------------------------------------------------------
def test_a_hundred_crashes_leave_no_descriptor_port_slot_or_process(c: Cluster, tmp_path: Path) -> None:
    worker = c.start_worker("w1", slots=2)
    c.wait_for_workers("w1")
    log, port = tmp_path / "log", free_port()
    # Each process of the service leaves a child behind that holds the port.
    holder = tmp_path / "holder.py"
    holder.write_text(
        f"import os, socket, time\nheld = socket.create_server(('', {port}))\nos._exit(0) if os.fork() else time.sleep(1000)\n"
    )
    command = NOTE.format(log=log) + f"{sys.executable} {holder}; sleep 0.02; exit 7"
    bad = Job("s", type="service", command=command, port=port, restart={"backoff": 0.001, "backoff_max": 0.001})
    run = c.client.submit(DAG("d", [bad]))

    def most_until(crashes: int) -> int:
        """Return the maximum number of descriptors until this number of crashes. The worker holds
        pipes for up to 16 future jobs, so the number varies."""
        seen = [0]

        def look() -> bool:
            seen.append(descriptors(worker.pid))
            return len(lines(log)) >= crashes

        until(look, f"it has crashed {crashes} times", 120.0)
        return max(seen)

    until(lambda: len(lines(log)) >= 10, "the service has begun")
    before = most_until(40)
    until(lambda: len(lines(log)) >= 100, "it has crashed a hundred times", 120.0)
    assert abs(most_until(130) - before) <= 4
    assert c.worker("w1").held == 1
    assert c.client.stop(run.id) == 1
    until(lambda: c.worker("w1").held == 0, "the slot is free")
    until(lambda: is_free(port), "the port is free")
    assert not any(alive(int(pid)) for pid, *_ in lines(log))
    assert not processes_below(c.worker_home("w1") / "titan_workspace" / "jobs")


def test_a_service_lives_and_is_restarted_while_there_is_no_master(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings=FAST) as c:
        log = tmp_path / "log"
        serve = f"exec {sys.executable} -m http.server --bind 127.0.0.1 $TITAN_PORT"
        job = Job("s", type="service", command=NOTE.format(log=log) + serve, health="http:/", restart={"backoff": 0.05})
        run = c.client.submit(DAG("d", [job]))
        before = ready(c, run.id)
        c.kill_master()
        first = int(lines(log)[0][0])
        assert alive(first)
        os.kill(first, signal.SIGKILL)
        until(lambda: len(lines(log)) == 2 and alive(int(lines(log)[1][0])), "the worker starts the service again without a master")
        c.start_master()
        c.wait_for_workers("w1")
        until(lambda: service(c, run.id).restarts == 1 and service(c, run.id).state == "READY", "the master hears of it")
        after = service(c, run.id)
        assert (after.address, after.attempt, after.reason) == (before.address, 1, "killed by SIGKILL")
        assert alive(int(lines(log)[1][0])) and len(lines(log)) == 2
        assert c.client.stop(run.id) == 1 and run.wait(20).ok


def test_a_worker_that_is_killed_leaves_no_process_and_no_port(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "ada", "bob", settings=FAST) as c:
        log, port = tmp_path / "log", free_port()
        serve = f"exec {sys.executable} -m http.server --bind 127.0.0.1 $TITAN_PORT"
        run = c.client.submit(DAG("d", [Job("s", type="service", command=NOTE.format(log=log) + serve, port=port)]))
        before = ready(c, run.id)
        assert before.worker is not None
        c.kill_worker(before.worker)
        until(lambda: not alive(int(lines(log)[0][0])), "its process ends with its worker")
        until(lambda: (now := service(c, run.id)).state == "READY" and now.worker != before.worker, "the service moved", 40.0)
        assert service(c, run.id).attempt == 2
        told = c.client.why(f"{run.id}/s")
        assert [r.code for r in told.reasons] == ["ready"]
        assert c.client.stop(run.id) == 1 and run.wait(20).ok
        until(lambda: is_free(port), "the port is free")


# -- commands --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("stop", "nothing"), "there is no run 'nothing'"),
        (("stop", "nothing/web"), "there is no run 'nothing'"),
        (("replace", "nothing"), "does not name a service: pass RUN/SERVICE"),
        (("replace", "nothing/web"), "there is no run 'nothing'"),
        (("replace", "nothing/web", "--args", "1"), "--args needs --file or --command"),
        (("replace", "nothing/web", "--file", "/nowhere/x.py"), "there is no run 'nothing'"),
        (("services", "nothing"), "nothing"),
    ],
)
def test_commands_about_unknown_services_are_refused(c: Cluster, args: tuple[str, ...], says: str) -> None:
    done = c.cli(*args)
    assert done.returncode == 2 and says in done.stderr, done
