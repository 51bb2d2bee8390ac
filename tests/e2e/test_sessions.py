"""State that one program's calls leave in their runner. No other program sees it, and a runner that
leaks is replaced."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster
from titan import Client

RESULT_S = 60.0
PROGRAM = """
import sys
from titan import Client

def look():
    import builtins, json, locale, os, signal, sys
    mask = os.umask(0)
    os.umask(mask)
    return {
        "environ": os.environ.get("LEFT"), "path": "/left" in sys.path, "builtins": hasattr(builtins, "left"), "umask": mask,
        "signal": signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL, "json": json.dumps({}), "module": "left" in sys.modules,
        "locale": locale.setlocale(locale.LC_ALL), "limit": sys.getrecursionlimit(), "folder": os.getcwd() == "/",
    }

def leave():
    import builtins, json, locale, os, signal, sys, types
    os.environ["LEFT"] = "1"
    os.chdir("/")
    sys.path.insert(0, "/left")
    sys.modules["left"] = types.ModuleType("left")
    builtins.left = True
    os.umask(0o111)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    json.dumps = lambda _: "mine"
    sys.setrecursionlimit(12345)
    return os.getpid()

def pid():
    import os
    return os.getpid()

with Client(sys.argv[1]) as client:
    clean = client.call(look).result(60)
    if len(sys.argv) > 2:
        left = client.call(leave).result(60)
        assert client.call(pid).result(60) == left, "one program's calls share a process"
        assert client.call(look).result(60) != clean
    print(clean, end="")
"""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("sessions") / "c", "w1", slots=1) as made:
        yield made


def test_state_that_a_program_leaves_in_a_runner_is_invisible_to_other_programs(c: Cluster, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def looks(*leaves: str) -> str:
        command = [sys.executable, str(program), c.address, *leaves]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout

    first = looks("leave")
    assert "'environ': None" in first
    for _ in range(6):  # more sessions than there are idle runners kept
        assert looks("leave") == first
    assert looks() == first


def threads(count: int) -> int:
    import os
    import threading
    import time

    for _ in range(count):
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
    return os.getpid()


def descriptors(count: int) -> int:
    import os
    import sys

    kept = vars(sys).setdefault("_kept", [])
    kept += [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
    return os.getpid()


def nap(_: int) -> int:
    import os
    import time

    time.sleep(0.02)
    return os.getpid()


@pytest.mark.parametrize("leak", [threads, descriptors])
def test_a_runner_that_leaks_is_replaced_between_calls(c: Cluster, leak: Callable[[int], int]) -> None:
    with Client(c.address) as client:
        count = 300 if leak is threads else 1100
        pids = list(client.map(nap, range(40)))
        leaking = client.call(leak, count).result(RESULT_S)
        assert leaking in pids
        after = list(client.map(nap, range(60), timeout=RESULT_S))
        assert after[-1] != leaking and len(after) == 60
