"""A notebook in a real kernel: its own classes, a module beside it, arrays, exceptions, Ctrl-C,
progress, and a last cell that submits calls and ends. Many scripts at once end in the same way."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_core.utils import ensure_async
from nbclient import NotebookClient

from support.cluster import Cluster, cluster
from support.waiting import until
from titan import Client

LAST_CALLS = 200
MODULE = """
import dataclasses

@dataclasses.dataclass
class Square:
    side: float

def area(shape):
    return shape.side ** 2
"""
CELLS = {
    "connect": """
from dataclasses import dataclass
import os, sys, time
import numpy as np
import shapes
from titan import Client, Job, DAG, context

client = Client()
""",
    "class of its own": """
@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0

def mirrored(point):
    return Point(-point.x, point.y)

points = list(client.map(mirrored, [Point(n, 1) for n in range(5)]))
assert points == [Point(-n, 1) for n in range(5)], points
assert type(points[0]) is Point
""",
    "class defined anew": """
@dataclass(frozen=True)
class Point:
    x: int
    z: int = 7

assert client.call(lambda: Point(3)).result() == Point(3, 7)
""",
    "local module": """
assert list(client.map(shapes.area, [shapes.Square(2.0), shapes.Square(3.0)])) == [4.0, 9.0]
assert client.call(lambda side: shapes.Square(side), 5).result() == shapes.Square(5)
""",
    "arrays": """
grid = np.arange(600_000, dtype=np.float64).reshape(600, 1000)
rows = list(client.map(lambda row: row * 2, np.array_split(grid, 4)))
assert np.array_equal(np.concatenate(rows), grid * 2)
assert client.call(np.linalg.norm, np.array([3.0, 4.0])).result() == 5.0
""",
    "exception": """
class TooLarge(Exception):
    def __str__(self):
        return f"{self.args[0]} is too large"

def checked(n):
    if n > 2:
        raise TooLarge(n)
    return n

try:
    list(client.map(checked, range(5)))
except TooLarge as error:
    print("caught", error)
    print("line 7, in checked" in str(error.__cause__))
""",
    "uncaught exception": "client.call(checked, 9).result()",
    "interrupted": """
def wait(folder, number):
    open(f"{folder}/started-{number}", "w").close()
    while not os.path.exists(f"{folder}/go"):
        time.sleep(0.02)
    return number

list(client.map(wait, [os.getcwd()] * 2, range(2)))
""",
    "after the interrupt": """
open("go", "w").close()
assert client.call(pow, 2, 10).result() == 1024
""",
    "progress": """
code = "import os, sys; from titan import context; context.progress(0.5, 'half'); os.read(os.open(sys.argv[1], os.O_RDONLY), 1)"
os.mkfifo("seen")
run = client.submit(DAG("watched", [Job("count", command=[sys.executable, "-c", code, os.path.abspath("seen")])]))
for change in run.events(progress=True):
    if change.status.progress == 0.5 and os.path.exists("seen"):
        print(f"{change.job} {change.status.progress:.0%} {change.status.message}")
        with open("seen", "w") as pipe:
            pipe.write("1")
        os.unlink("seen")
print(run.wait().state)
""",
    "last": f"""
def add(number):
    context.shared_store.execute("SADD", "last", number)

client.map(add, range({LAST_CALLS}))
client.call(add, {LAST_CALLS})
""",
}

SCRIPT = """
import sys
from dataclasses import dataclass
from titan import Client, context

@dataclass
class Part:
    script: str
    number: int

def add(part):
    context.shared_store.execute("SADD", "scripts", f"{part.script}/{part.number}")

client = Client()
client.map(add, [Part(sys.argv[1], number) for number in range(5)])
client.call(add, Part(sys.argv[1], 5))
"""
as_notebook: Callable[[dict[str, Any]], nbformat.NotebookNode] = nbformat.from_dict
CALLS_OF_A_SCRIPT = 6
AT_ONCE = 4
LOAD = 50
"""Number of calls of other clients for each script."""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("notebook") / "c", "w1", "w2") as made:
        yield made


class Notebook:
    """A notebook with CELLS, whose kernel runs in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        cells = [{"cell_type": "code", "source": source, "metadata": {}, "outputs": []} for source in CELLS.values()]
        self.runs = NotebookClient(
            as_notebook({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells}),
            kernel_name="python3",
            timeout=60,
            allow_errors=True,
            resources={"metadata": {"path": str(folder)}},
        )

    async def execute(self) -> None:
        async with self.runs.async_setup_kernel():
            for number, name in enumerate(CELLS):
                running = asyncio.create_task(self.runs.async_execute_cell(self.runs.nb.cells[number], number))
                if name == "interrupted":
                    await asyncio.to_thread(until, lambda: len(list(self.folder.glob("started-*"))) == 2, "the calls run")
                    assert self.runs.km is not None
                    await ensure_async(self.runs.km.interrupt_kernel())
                await running

    def outputs(self) -> dict[str, str]:
        """Return cell -> its output, or the name and text of its exception."""
        shown = {}
        for name, cell in zip(CELLS, self.runs.nb.cells, strict=True):
            texts = [
                out.get("text") or f"{out['ename']}: {out['evalue']}"
                for out in cell.outputs
                if out.output_type in ("stream", "error")
            ]
            shown[name] = "".join(texts)
        return shown


def test_a_notebook_uses_the_cluster_and_loses_no_call(c: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shapes.py").write_text(MODULE)
    monkeypatch.setenv("TITAN_MASTER", c.address)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = Notebook(tmp_path)

    asyncio.run(notebook.execute())

    assert notebook.outputs() == dict.fromkeys(CELLS, "") | {
        "exception": "caught 3 is too large\nTrue\n",
        "uncaught exception": "TooLarge: 9 is too large",
        "interrupted": "KeyboardInterrupt: ",
        "progress": "count 50% half\nCOMPLETED\n",
    }
    with Client(c.address) as client:
        until(lambda: client.store.execute("SCARD", "last") == LAST_CALLS + 1, "every call of the last cell runs")


@pytest.mark.parametrize("scripts", [12, pytest.param(100, marks=pytest.mark.slow)])
def test_scripts_that_end_at_once_lose_no_call_under_load(
    scripts: int, c: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    monkeypatch.setenv("TITAN_MASTER", c.address)

    def run(number: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, path, str(number)], capture_output=True, text=True, timeout=60, check=False)

    with Client(c.address) as client, ThreadPoolExecutor(AT_ONCE) as pool:
        client.store.delete("scripts")
        load = client.map(sum, [range(20_000)] * LOAD * scripts)
        ended = list(pool.map(run, range(scripts)))
        assert [(done.returncode, done.stdout + done.stderr) for done in ended] == [(0, "")] * scripts
        wanted = {f"{script}/{number}".encode() for script in range(scripts) for number in range(CALLS_OF_A_SCRIPT)}
        until(lambda: set(client.store.execute("SMEMBERS", "scripts")) == wanted, "every call of every script runs", 60)
        assert len(list(load)) == LOAD * scripts
