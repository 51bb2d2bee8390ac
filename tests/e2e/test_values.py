"""Large values and arguments on a real cluster. They travel by content, and survive the end of the
processes that hold them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import titan
from support.cluster import FAST, Cluster, cluster
from support.waiting import until
from titan import Client
from titan.content.transfer import DamagedCopy
from titan.sdk import connection

RESULT_S = 30.0
MB = 1_000_000


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("values") / "c", "w1") as made:
        yield made


def numbered(n: int, size: int) -> bytes:
    return b"%20d" % n + bytes(size)


def fail(size: int) -> None:
    raise ValueError("x" * size)


@titan.task
def make(n: int, size: int) -> bytes:
    return numbered(n, size)


@titan.task
def lengths(*them: bytes) -> list[int]:
    return [len(it) for it in them]


@titan.task
def block(gate: str, value: bytes) -> bytes:
    """Wait until the test writes into the fifo."""
    with open(gate) as fifo:
        fifo.read()
    return value


def objects(c: Cluster) -> int:
    """Return the bytes of the content in the master's store."""
    return sum(path.stat().st_size for path in (c.home / "files").iterdir())


def test_values_of_sizes_around_the_limits_come_back_equal(client: Client) -> None:
    for size in (65_500, 65_536, 70_000, MB, 3 * MB):
        assert client.call(numbered, 7, size).result(RESULT_S) == numbered(7, size)
        assert client.call(len, bytes(size)).result(RESULT_S) == size


def test_large_values_of_many_types_come_back_equal(client: Client) -> None:
    value = {"list": list(range(100_000)), "text": "ü" * 200_000, "nested": [bytes(100_000)] * 3}
    assert client.call(lambda it: it, value).result(RESULT_S) == value
    assert len(client.call(lambda: [lambda n=n: n for n in range(3000)]).result(RESULT_S)) == 3000


def test_a_large_exception_comes_back_whole(client: Client) -> None:
    error = client.call(fail, 300_000).exception(RESULT_S)
    assert isinstance(error, ValueError) and len(str(error)) == 300_000
    assert "in fail" in str(error.__cause__)


def test_the_same_value_is_kept_once(c: Cluster, client: Client) -> None:
    before = objects(c)
    assert len(set(client.map(lambda _: bytes(4 * MB), range(5)))) == 1
    assert 4 * MB <= objects(c) - before < 5 * MB


def test_a_map_of_large_values_in_order(client: Client) -> None:
    values = list(client.map(numbered, range(30), [MB] * 30))
    assert [int(v[:20]) for v in values] == list(range(30))
    mixed = list(client.map(lambda n: bytes(MB) if n % 3 == 0 else n, range(30)))
    assert [v if isinstance(v, int) else len(v) for v in mixed] == [MB if n % 3 == 0 else n for n in range(30)]


def test_a_map_of_large_arguments(client: Client) -> None:
    assert list(client.map(len, [bytes(200_000 + n) for n in range(300)])) == [200_000 + n for n in range(300)]


def test_large_values_become_arguments(client: Client) -> None:
    given = bytes(2 * MB)
    assert client.compute(lengths(make(1, MB), make(2, 10), given, make(1, MB))).result(RESULT_S) == [MB + 20, 30, 2 * MB, MB + 20]


def test_a_value_reaches_another_worker(tmp_path: Path) -> None:
    with cluster(tmp_path / "c") as c, Client(c.address) as client:
        c.start_worker("w1", "--capability", "ONE")
        c.start_worker("w2", "--capability", "TWO")
        c.wait_for_workers("w1", "w2")
        value = make.options(requirement="ONE")(5, 5 * MB)
        asked = [lengths.options(requirement="TWO", name=f"n{n}")(value, value) for n in range(3)]
        assert [f.result(RESULT_S) for f in client.compute(asked)] == [[5 * MB + 20] * 2] * 3


def test_results_can_be_read_after_their_workers_have_ended(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1") as c, Client(c.address) as client:
        results = client.map(numbered, range(10), [MB] * 10)
        until(lambda: any(r.over for r in client.runs(1)), "the run is over")
        c.kill_worker("w1")
        assert [int(v[:20]) for v in results] == list(range(10))


def test_the_master_is_killed_in_the_middle_of_large_values(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", "w2") as c, Client(c.address) as client:
        results = client.map(numbered, range(40), [5 * MB] * 40)
        for n in range(40):
            if n in (3, 17):
                c.restart_master()
            assert int(next(results)[:20]) == n
        (run,) = client.runs(10)
        assert set(c.completions(run.run).values()) == {1}
        assert [p.name for p in (c.home / "files").glob("*.part")] == []


def test_a_worker_is_killed_while_its_values_are_needed(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with cluster(tmp_path / "c", "w1", settings=FAST) as c, Client(c.address) as client:
        future = client.compute(lengths(block(str(gate), make(3, 4 * MB)), make(4, 4 * MB)))
        until(
            lambda: any(r.tally.get("COMPLETED") == 2 and r.tally.get("RUNNING") for r in client.runs(1)),
            "only the blocking node is left",
        )
        c.kill_worker("w1")
        c.start_workers("w2")
        until(lambda: client.runs(1)[0].tally.get("RUNNING"), "the node runs on the other worker")
        gate.write_text("through")
        assert future.result(RESULT_S) == [4 * MB + 20] * 2


def test_large_values_do_not_delay_heartbeats(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings=FAST) as c, Client(c.address) as client:
        assert sum(map(len, client.map(numbered, range(4), [100 * MB] * 4))) == 400 * MB + 80
        (run,) = client.runs(1)
        status = client.status(run.run)
        assert [job.attempt for job in status.jobs] == [1] * 4


def test_values_on_one_machine_are_hard_links_in_both_homes(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1") as c, Client(c.address) as client:
        assert [len(value) for value in client.map(numbered, range(2), [3 * MB] * 2)] == [3 * MB + 20] * 2
        assert client.call(lambda: [bytearray(b"b" * 3 * MB)]).result(RESULT_S) == [bytearray(b"b" * 3 * MB)]
        blobs = [path for path in (c.home / "files").iterdir() if path.stat().st_size > 3 * MB]
        assert len(blobs) == 3 and {path.stat().st_nlink for path in blobs} == {2}
        assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in blobs] == [path.name for path in blobs]


def test_a_client_that_cannot_read_the_home_gets_values_over_its_connection(c: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "prove", lambda _: None)
    with Client(c.address) as far:
        assert far.call(numbered, 7, 4 * MB).result(RESULT_S) == numbered(7, 4 * MB)


def test_a_value_that_was_changed_in_the_home_is_not_returned(c: Cluster, client: Client) -> None:
    future = client.call(numbered, 11, 5 * MB)
    assert len(future.result(RESULT_S)) == 5 * MB + 20
    (blob,) = [path for path in (c.home / "files").iterdir() if 5 * MB < path.stat().st_size < 6 * MB]
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(1000)
        file.write(b"changed")
    os.utime(blob, (1.0, 1.0))
    run = client.runs(1)[0].run
    with pytest.raises(DamagedCopy):
        client.run(run).result("0", RESULT_S, trust=True)
