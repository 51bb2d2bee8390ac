"""Errors of calls: what they say about the user's code, the job and the worker; and callees that
are wrapped."""

from __future__ import annotations

import functools
import json
import linecache
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.cluster import Cluster, cluster
from titan import Client
from titan.errors import JobFailed

RESULT_S = 20.0


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("errors") / "c", "w1") as made:
        yield made


def text_of(error: BaseException | None) -> str:
    assert error is not None
    return "".join(traceback.format_exception(error))


def cell(source: str) -> dict[str, Any]:
    """Execute source as a notebook does: its file exists in the memory of this process alone."""
    name = "/tmp/ipykernel_1/7.py"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), namespace)
    return namespace


def divide(x: int) -> float:
    return x / 0  # this line is shown


def test_a_traceback_shows_file_line_and_source_of_the_user(client: Client) -> None:
    trace = text_of(client.call(divide, 1).exception(RESULT_S))
    assert f'File "{__file__}", line {divide.__code__.co_firstlineno + 1}, in divide' in trace
    assert "return x / 0  # this line is shown" in trace


def test_a_traceback_shows_the_lines_of_a_cell(client: Client) -> None:
    failing = cell("def outer(x):\n    return inner(x)\n\ndef inner(x):\n    raise KeyError(x)  # in a cell\n")["outer"]
    for ways in (client.call(failing, 1).exception(RESULT_S), error_of_map(client, failing)):
        trace = text_of(ways)
        assert '7.py", line 5, in inner\n    raise KeyError(x)  # in a cell' in trace and "return inner(x)" in trace
        remote = trace.partition("The above exception")[0]
        assert "titan/sdk" not in remote, "frames of Titan are left out"


def error_of_map(client: Client, function: Any) -> BaseException | None:
    try:
        list(client.map(function, [1], chunksize=2))
    except KeyError as error:
        return error
    return None


@pytest.mark.parametrize("way", ["call", "map"])
def test_the_error_of_a_call_that_dies_names_its_place(client: Client, way: str) -> None:
    with pytest.raises(JobFailed, match="died while it ran the call") as failed:
        client.call(os._exit, 3).result(RESULT_S) if way == "call" else list(client.map(os._exit, [3]))
    error = failed.value
    assert (error.worker, error.attempts, error.exit_code) == ("w1", 1, -1)
    assert client.job(error.job)[0].state == "DEAD"


class Odd(Exception):
    """Cannot be unpickled: its constructor wants two arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def odd() -> None:
    raise Odd(1, 2)


def test_an_exception_that_cannot_be_pickled_arrives_as_text(client: Client) -> None:
    error = client.call(odd).exception(RESULT_S)
    assert isinstance(error, JobFailed) and error.error_type.endswith("Odd")
    assert "raise Odd(1, 2)" in error.traceback and error.worker == "w1" and error.job


@pytest.mark.parametrize("way", ["call", "map"])
def test_a_module_that_the_worker_lacks_is_named_with_call_worker_and_interpreter(
    client: Client, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    module = ModuleType("only_installed_here")
    module.__file__ = f"{Path(json.__file__).parent.parent}/only_installed_here.py"
    exec("def twice(x): return 2 * x", module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(ModuleNotFoundError, match="only_installed_here") as missing:
        client.call(module.twice, 1).result(RESULT_S) if way == "call" else list(client.map(module.twice, [1]))
    notes = " ".join(missing.value.__notes__)
    for part in (f"the interpreter is {sys.executable}, Python 3.", "on worker w1", "titan.register_by_value(module)", "in call "):
        assert part in notes


@functools.lru_cache
def fib(n: int) -> int:
    return n if n < 2 else fib(n - 1) + fib(n - 2)


class Shape:
    def __init__(self, side: int) -> None:
        self.side = side

    @functools.cached_property
    def area(self) -> int:
        return self.side**2


def grown(shape: Shape) -> Shape:
    return Shape(shape.side + int(shape.area > 0))


def test_wrapped_callees_and_classes_with_wrappers_travel_both_ways(client: Client) -> None:
    assert client.call(fib, 30).result(RESULT_S) == 832040
    assert list(client.map(fib, [5, 6])) == [5, 8]
    assert client.call(functools.partial(fib, 7)).result(RESULT_S) == 13
    back = client.call(grown, Shape(2)).result(RESULT_S)
    assert type(back) is Shape and (back.side, back.area) == (3, 9)
