"""TitanStore beside redis-server: redis-benchmark with 50 clients in turn, memory of small keys,
and the loading of a journal.

    python benchmarks/store.py [--requests 100000] [--rounds 3] [--keys 500000]

TitanStore syncs before it answers (`--fsync always`); redis-server writes nothing to disk. Needs
redis-server and redis-tools.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

COMMANDS = ("set", "get", "incr", "lpush", "sadd", "hset", "zadd")
PIPELINES = (1, 16)
WAIT_S = 120.0


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def answers(port: int) -> None:
    """Wait until the store has loaded and answers."""
    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as s:
                s.sendall(b"PING\r\n")
                if s.recv(16).startswith(b"+PONG"):
                    return
        except OSError:
            time.sleep(0.005)
    raise TimeoutError(f"nothing answers on port {port}")


@contextmanager
def server(command: list[str], port: int) -> Iterator[psutil.Process]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answers(port)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def titan(home: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "titan", "store", "--home", str(home), "--port", str(port), "--quiet"]


def redis(folder: Path, port: int) -> list[str]:
    return ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]


def rates(port: int, requests: int, pipeline: int) -> dict[str, float]:
    """Return the requests per second of each command."""
    done = subprocess.run(
        [
            "redis-benchmark",
            "-p",
            str(port),
            "-c",
            "50",
            "-n",
            str(requests),
            "-P",
            str(pipeline),
            "-t",
            ",".join(COMMANDS),
            "--csv",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    found = re.findall(r'^"([A-Z]+)[^"]*","([0-9.]+)"', done.stdout, re.MULTILINE)
    return {name.lower(): float(rate) for name, rate in found}


def fill(port: int, keys: int) -> None:
    """Set the keys key:000000000000 and so on, with values of 3 bytes."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        for first in range(0, keys, 1000):
            batch = range(first, min(first + 1000, keys))
            s.sendall(b"".join(b"*3\r\n$3\r\nSET\r\n$16\r\nkey:%012d\r\n$3\r\nxxx\r\n" % i for i in batch))
            left = 5 * len(batch)
            while left:
                left -= len(s.recv(left))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keys", type=int, default=500_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    ours: dict[tuple[str, int], list[float]] = {}
    theirs: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        ports, home = (free_port(), free_port()), Path(folder) / "home"
        with server(titan(home, ports[0]), ports[0]), server(redis(Path(folder), ports[1]), ports[1]):
            for _ in range(asked.rounds):
                for pipeline in PIPELINES:
                    for port, found in zip(ports, (ours, theirs), strict=True):
                        for name, rate in rates(port, asked.requests * (4 if pipeline > 1 else 1), pipeline).items():
                            found.setdefault((name, pipeline), []).append(rate)
        home = Path(folder) / "memory"
        grown = []
        for command, port in ((titan(home, ports[0]), ports[0]), (redis(Path(folder), ports[1]), ports[1])):
            with server(command, port) as process:
                before = process.memory_info().rss
                fill(port, asked.keys)
                grown.append((process.memory_info().rss - before) / asked.keys)
        began = time.perf_counter()
        with server(titan(home, ports[0]), ports[0]):
            loaded = asked.keys / (time.perf_counter() - began)
    rows = []
    for name in COMMANDS:
        for pipeline in PIPELINES:
            a, b = statistics.median(ours[name, pipeline]), statistics.median(theirs[name, pipeline])
            rows.append({"command": name.upper(), "pipeline": pipeline, "titan": a, "redis": b, "ratio": a / b})
    if asked.json:
        print(json.dumps({"rates": rows, "bytes_per_key": {"titan": grown[0], "redis": grown[1]}, "loaded_per_s": loaded}))
        return
    print("| command | pipeline | titan store, /s | redis-server, /s | ratio |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row['command']} | {row['pipeline']} | {row['titan']:,.0f} | {row['redis']:,.0f} | {row['ratio']:.2f} |")
    print(f"\nmemory per small key: titan {grown[0]:,.0f} bytes, redis {grown[1]:,.0f} bytes, ratio {grown[0] / grown[1]:.2f}")
    print(f"a journal of {asked.keys:,} commands: {loaded:,.0f} commands/s, the start of the process included")


if __name__ == "__main__":
    main()
