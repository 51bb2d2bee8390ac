"""Options of calls, maps and executors: they hold where the calls run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import pytest

import titan
from support.cluster import Cluster, cluster
from support.waiting import until
from titan import CallFuture, Client
from titan.errors import CallerError, InvalidGraph, JobFailed
from titan.sdk.tasks import CallOptions

RESULT_S = 20.0


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("options") / "c") as made:
        given = ("--master", made.address, "--name", "w1", "--slots", "4", "--home", str(made.worker_home("w1")))
        env = {"CUDA_VISIBLE_DEVICES": "7,8"}
        made.workers["w1"] = made.spawn("worker", *given, "--cpus", "4", "--memory", "4G", env=env, label="w1")
        made.wait_for_workers("w1")
        yield made


def third_time(path: str) -> int:
    """Fail twice."""
    with open(path, "a") as file:
        file.write("x")
    tries = os.path.getsize(path)
    if tries < 3:
        raise ValueError("not yet")
    return tries


def await_file(path: str) -> bool:
    """Run until the file exists."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return True


def assert_running(client: Client, futures: list[CallFuture[bool]], count: int) -> None:
    """The first `count` calls run, and the others do not although a slot is free."""
    until(lambda: all(future.running() for future in futures[:count]), "the first calls run")
    assert client.call(pow, 2, 3).result(RESULT_S) == 8
    assert not any(future.running() for future in futures[count:])


def devices() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def slow_devices(_number: int) -> str | None:
    time.sleep(0.1)
    return devices()


WAYS: dict[str, Callable[[Client, str], int]] = {
    "options": lambda client, path: client.options(retries=2).call(third_time, path).result(RESULT_S),
    "map": lambda client, path: next(client.map(third_time, [path], retries=2)),
    "chunks": lambda client, path: next(client.map(third_time, [path], retries=2, chunksize=2)),
    "executor": lambda client, path: client.executor(retries=2).submit(third_time, path).result(RESULT_S),
    "options of an executor": lambda client, path: client.options(retries=2).executor().submit(third_time, path).result(RESULT_S),
    "over a task": lambda client, path: client.options(retries=2).call(titan.task(retries=0)(third_time), path).result(RESULT_S),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_retries_hold_for_every_way_of_calling(client: Client, tmp_path: Path, way: str) -> None:
    assert WAYS[way](client, str(tmp_path / "tries")) == 3


def test_a_timeout_ends_a_call_and_its_argument_of_that_name_stays(client: Client) -> None:
    def wait(timeout: float = 0.0) -> float:
        time.sleep(60 if not timeout else 0)
        return timeout

    with pytest.raises(JobFailed, match="timed out after 1 s"):
        client.options(timeout=1).call(wait).result(RESULT_S)
    assert client.options(timeout="1m").call(wait, timeout=5).result(RESULT_S) == 5


def test_calls_reserve_cpus_and_memory(client: Client, tmp_path: Path) -> None:
    reservations: list[tuple[CallOptions, int]] = [({"cpus": 2}, 2), ({"memory": "3G"}, 1)]
    for options, count in reservations:
        gate = tmp_path / next(iter(options))
        futures = [client.options(**options).call(await_file, str(gate)) for _ in range(3)]
        assert_running(client, futures, count)
        gate.touch()
        assert all(future.result(RESULT_S) for future in futures)
    assert "no worker" in str(until(client.options(cpus=5).call(devices).why, "the master knows the call"))


def test_calls_get_the_gpus_that_they_request(client: Client) -> None:
    seen = set(client.map(slow_devices, range(6), gpus=1))
    assert seen <= {"7", "8"} and seen
    assert client.options(gpus=2).call(devices).result(RESULT_S) == "7,8"
    assert client.call(devices).result(RESULT_S) == "7,8", "a call that requests no GPU sees those of the worker"


def test_an_executor_keeps_at_most_max_workers_calls_open(client: Client, tmp_path: Path) -> None:
    with client.executor(max_workers=2) as executor:
        futures = [executor.submit(await_file, str(tmp_path / "gate")) for _ in range(6)]
        assert futures[5].cancel() and futures[5].cancelled(), "the waiting call was not submitted yet"
        assert_running(client, futures, 2)
        (tmp_path / "gate").touch()
        assert all(future.result(RESULT_S) for future in futures[:5])
        assert list(executor.map(pow, range(50), [2] * 50)) == [n * n for n in range(50)]


def test_an_initializer_runs_once_in_each_process(client: Client) -> None:
    def prepare(folder: str) -> None:
        os.environ["PREPARED"] = f"{os.environ.get('PREPARED', '')}{folder}"

    with client.executor(initializer=prepare, initargs=("x",)) as executor:
        assert set(executor.map(lambda _: os.environ["PREPARED"], range(20))) == {"x"}
    broken = client.executor(initializer=lambda: 1 // 0)
    with pytest.raises(BrokenExecutor, match="the initializer failed: ZeroDivisionError"):
        broken.submit(pow, 2, 2).result(RESULT_S)


def test_a_program_that_ends_submits_all_calls_of_its_executor_first(c: Cluster, tmp_path: Path) -> None:
    program = "import os, sys, titan; pool = titan.Client(sys.argv[1]).executor(max_workers=1)\n"
    program += "for n in range(5): pool.submit(os.mkdir, f'{sys.argv[2]}/{n}')"
    (tmp_path / "program.py").write_text(program)
    (tmp_path / "made").mkdir()
    spawned = c.spawn("program.py", c.address, str(tmp_path / "made"), program=(sys.executable,), cwd=tmp_path)
    assert spawned.wait() == 0, spawned.err
    until(lambda: len(os.listdir(tmp_path / "made")) == 5, "all calls run")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"retries": -1}, "options of calls: retries: must be 0 to 1,000"),
        ({"timeout": 0}, "timeout: must be more than 0 seconds"),
        ({"timeout": "soon"}, "timeout: "),
        ({"requirement": "no blanks"}, "requirement: 'no blanks' is malformed"),
        ({"memory": "lots"}, "memory: "),
        ({"gpus": 0.5}, "gpus: must be a whole number of GPUs"),
        ({"colour": 1}, "unknown option 'colour': use one of retries, timeout"),
        ({"secrets": ["A"]}, "secrets"),
    ],
)
def test_bad_options_are_refused_at_once(client: Client, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidGraph, match=says):
        client.options(**options)
    with pytest.raises(InvalidGraph, match=says):
        client.executor(**options)


def test_a_bad_executor_is_refused(client: Client) -> None:
    with pytest.raises(CallerError, match="max_workers must be None or a positive integer, not 0"):
        client.executor(0)
