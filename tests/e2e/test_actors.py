"""The actor of each change is recorded with the change, is shown, and survives a SIGKILL of the
master."""

from __future__ import annotations

import asyncio
import getpass
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from support.cluster import FAST, Cluster, cluster
from support.waiting import until
from titan import DAG, Job
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.handshake import hello

ME = f"{getpass.getuser()}@{socket.gethostname()}"


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("actors") / "c", settings=FAST) as made:
        yield made


def test_the_actors_of_submit_cancel_and_drain_are_shown_also_after_kill_9(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings=FAST) as c:
        run = c.client.submit(DAG("d", [Job("j", command="sleep 100"), Job("k", command="true", parents=["j"])]))
        until(lambda: c.client.status(run.id).jobs[0].state == "RUNNING", "job j runs")
        assert c.client.cancel(f"{run.id}/j") == 2
        run.wait(20)
        c.client.drain_worker("w1")
        until(lambda: c.worker("w1").state == "LEFT", "the worker has left")
        c.restart_master()
        summary, jobs = c.client.status(run.id).summary, c.client.status(run.id).jobs
        assert summary.actor == ME
        assert [job.reason for job in jobs] == [f"cancelled by {ME}", f"its ancestor j was cancelled by {ME}"]
        _, story = c.client.job(f"{run.id}/j")
        assert f"submitted by {ME} in run {run.id}" in story[0] and story[-1].endswith(f"CANCELLED: cancelled by {ME}")
        assert f"submitted by {ME}" in c.cli("status", run.id).stdout
        events = c.cli("journal", "inspect", "--home", str(c.home), "--events").stdout
        asked = [line for line in events.splitlines() if "WorkerAsked" in line]
        assert len(asked) == 1 and ME in asked[0], events


def test_a_submission_by_a_job_names_the_job_as_its_actor(tmp_path: Path) -> None:
    code = "from titan import *; c = Client(); c.open(); c.submit(DAG('inner', [Job('i', command='true')])).wait(20)"
    with cluster(tmp_path / "c", "w1", settings=FAST) as c:
        outer = c.client.submit(DAG("outer", [Job("o", command=[sys.executable, "-c", code])]))
        assert outer.wait(30).ok, c.client.status(outer.id).jobs
        assert {run.dag: run.actor for run in c.client.runs()} == {"inner": f"{outer.id}/o", "outer": ME}


@pytest.mark.parametrize("user", ["\x1b[2Jevil\n", "x" * 1_000, "", "\u202eada"])
def test_a_hostile_user_name_is_recorded_plain_and_short(c: Cluster, user: str) -> None:
    async def ask() -> None:
        answers: asyncio.Queue[msg.Message] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        _, peer = await loop.create_connection(
            lambda: Peer(lambda _, message, blob: answers.put_nowait(message), lambda *_: None), "127.0.0.1", c.port
        )
        peer.send(msgspec.structs.replace(hello("client", "stranger"), user=user))
        assert isinstance(await asyncio.wait_for(answers.get(), 10), msg.Welcome)
        peer.send(msg.Cancel(2, run.id, ""))
        assert isinstance(await asyncio.wait_for(answers.get(), 10), msg.Cancelled)
        peer.close()

    run = c.client.submit(DAG("d", [Job("j", command="true", requirement="NOBODY")]))
    asyncio.run(ask())
    (job,) = c.client.status(run.id).jobs
    assert job.reason.startswith("cancelled by ") and job.reason.isprintable() and len(job.reason) < 300, job.reason
    if not user:
        assert job.reason == "cancelled by a client on 127.0.0.1"
