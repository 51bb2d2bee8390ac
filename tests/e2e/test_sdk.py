"""The SDK against real processes: what it returns, streams and raises, and how it survives a
restart of its master."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster, free_port
from support.waiting import until
from titan import DAG, AsyncClient, Client, Job
from titan.errors import ConnectionLost, InvalidGraph, MasterUnreachable, NotFound
from titan.sdk.status import JobChange, RunSummary


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("sdk") / "c", "w1") as made:
        yield made


def until_there(path: Path) -> str:
    return f"while [ ! -e {path} ]; do sleep 0.02; done"


class Waiter:
    """Call of `run.wait()` in a thread. Its client is connected when the constructor returns."""

    def __init__(self, address: str, run: str) -> None:
        self.summary: RunSummary | None = None
        self.error: BaseException | None = None
        self._client = Client(address)
        self._client.open()
        self._thread = threading.Thread(target=self._wait, args=(run,), daemon=True)
        self._thread.start()

    def _wait(self, run: str) -> None:
        try:
            self.summary = self._client.run(run).wait()
        except BaseException as e:
            self.error = e

    def result(self) -> RunSummary:
        self._thread.join(20)
        self._client.close()
        assert self.summary is not None, self.error
        return self.summary


def test_a_run_from_submission_to_summary(c: Cluster) -> None:
    with Client(c.address) as client:
        run = client.submit(DAG("two", [Job("a", command="true"), Job("b", command="true", parents=["a"])], version="7"))
        summary = run.wait()
        assert (summary.run, summary.dag, summary.version, summary.state, summary.count) == (run.id, "two", "7", "COMPLETED", 2)
        assert summary.ok
        assert summary.over
        assert [job.state for job in run.status().jobs] == ["COMPLETED", "COMPLETED"]
        assert run.cancel() == 0
        assert client.run(run.id).status() == run.status()


def test_events_are_every_change_in_order(c: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with Client(c.address) as client:
        run = client.submit(DAG("events", [Job("a", command=until_there(go)), Job("b", command="true", parents=["a"])]))
        seen: list[JobChange] = []
        for change in run.events():
            seen.append(change)
            if (change.job, change.state) == ("a", "RUNNING"):
                go.touch()
        states = {job: [change.state for change in seen if change.job == job] for job in ("a", "b")}
        assert states["a"][-2:] == ["RUNNING", "COMPLETED"]
        assert states["b"][0] == "WAITING"
        assert states["b"][-1] == "COMPLETED"
        assert [change.state for change in run.events()] == ["COMPLETED", "COMPLETED"]


def test_wait_with_a_timeout_leaves_the_run_alone(c: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with Client(c.address) as client:
        run = client.submit(DAG("slow", [Job("a", command=until_there(go))]))
        with pytest.raises(TimeoutError):
            run.wait(timeout=0.2)
        go.touch()
        assert run.wait(timeout=20).ok


def test_logs_follow_through_all_attempts(c: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    command = f"echo $TITAN_ATTEMPT; {until_there(go)}; [ $TITAN_ATTEMPT = 2 ]"
    with Client(c.address) as client:
        run = client.submit(DAG("logs", [Job("a", command=command)]))
        text = b""
        for stream, data in client.logs(f"{run.id}/a", follow=True):
            assert stream == 1
            text += data
            go.touch()
        assert text == b"1\n2\n"
        assert list(client.logs(f"{run.id}/a", attempt=1)) == [(1, b"1\n")]


def test_invalid_graphs_and_unknown_runs_are_refused(c: Cluster) -> None:
    with Client(c.address) as client:
        cycle = [Job("a", command="true", parents=["b"]), Job("b", command="true", parents=["a"])]
        with pytest.raises(InvalidGraph, match="cycle"):
            client.submit(DAG("cycle", cycle))
        with pytest.raises(InvalidGraph, match="x"):
            client.submit(DAG("unknown", [Job("a", command="true", parents=["x"])]))
        for missing in ("status", "cancel"):
            with pytest.raises(NotFound, match="no run"):
                getattr(client, missing)("nosuch")
        with pytest.raises(NotFound, match="no run"):
            client.run("nosuch").wait()
        with pytest.raises(NotFound, match="no job"):
            run = client.submit(DAG("one", [Job("a", command="true")]))
            list(client.logs(f"{run.id}/b"))
        assert run.wait(20).ok
    with pytest.raises(ConnectionLost, match="is closed"):
        client.runs()
    with pytest.raises(MasterUnreachable), Client(f"127.0.0.1:{free_port()}"):
        pass


def test_many_threads_share_one_client(c: Cluster) -> None:
    with Client(c.address) as client:
        results: list[RunSummary] = []

        def work(n: int) -> None:
            results.append(client.submit(DAG(f"thread{n}", [Job("a", command="true")])).wait(20))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(s.dag for s in results) == [f"thread{n}" for n in range(8)]
        assert all(s.ok for s in results)


def test_the_async_client_does_the_same(c: Cluster) -> None:
    async def main() -> None:
        async with AsyncClient(c.address) as client:
            jobs = [Job("a", command="echo one"), Job("b", command="echo two", parents=["a"])]
            runs = await asyncio.gather(*[client.submit(DAG(f"async{n}", jobs)) for n in range(5)])
            assert all(summary.ok for summary in await asyncio.gather(*[run.wait() for run in runs]))
            assert [change.state async for change in runs[0].events()] == ["COMPLETED", "COMPLETED"]
            assert [piece async for piece in client.logs(f"{runs[0].id}/b")] == [(1, b"two\n")]
            assert {"async0", "async4"} <= {summary.dag for summary in await client.runs(10)}
            status = await runs[0].status()
            assert [job.worker for job in status.jobs] == ["w1", "w1"]
            with pytest.raises(NotFound):
                await client.job("nosuch/a")
            slow = await client.submit(DAG("slow", [Job("a", command="sleep 600")]))
            with pytest.raises(TimeoutError):
                await slow.wait(0.1)
            assert await slow.cancel() == 1

    asyncio.run(main())


def test_a_client_outlives_its_master(tmp_path: Path) -> None:
    """The master is killed while clients wait, follow events and read a log. Each client continues
    where it was, and gets nothing twice."""
    with cluster(tmp_path / "c", "w1") as c, Client(c.address) as client:
        go = tmp_path / "go"
        jobs = [Job("a", command=f"echo early; {until_there(go)}; echo late"), Job("b", command="true", parents=["a"])]
        run = client.submit(DAG("wait", jobs))
        until(lambda: run.status().jobs[0].state == "RUNNING", "the job runs")
        waiter = Waiter(c.address, run.id)
        changes, log = run.events(), client.logs(f"{run.id}/a", follow=True)
        assert {(change.job, change.state) for change in (next(changes), next(changes))} == {("a", "RUNNING"), ("b", "WAITING")}
        assert next(log) == (1, b"early\n")
        c.restart_master()
        go.touch()
        assert waiter.result().ok
        rest = [(change.job, change.state) for change in changes]
        assert rest[0] == ("a", "COMPLETED")
        assert rest[-1] == ("b", "COMPLETED")
        assert list(log) == [(1, b"late\n")]
        assert c.completions(run.id) == {"a": 1, "b": 1}


def test_patience_ends_when_the_master_stays_away(tmp_path: Path) -> None:
    with cluster(tmp_path / "c") as c, Client(c.address, patience_s=0.3) as client:
        assert client.runs() == []
        c.kill_master()
        with pytest.raises(MasterUnreachable, match="no master answers"):
            client.runs()
        c.start_master()
        assert client.runs() == []
