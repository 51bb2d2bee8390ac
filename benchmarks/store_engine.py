"""Cost of the store's engine alone, without sockets and disk.

    python benchmarks/store_engine.py [--count 200000] [--keys 1000000] [--json]

Measures the microseconds per command, including its change and its encoded reply; the commands per
second of a replay; and the resident memory of a small string key. Each part runs three times, in a
process of its own. The quickest run counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

from titan.store.resp import encode
from titan.store.store import Store

COMMANDS: dict[str, Callable[[int], list[bytes]]] = {
    "SET": lambda i: [b"SET", b"key:%06d" % (i % 100_000), b"value"],
    "GET": lambda i: [b"GET", b"key:%06d" % (i % 100_000)],
    "INCR": lambda i: [b"INCR", b"counter:%04d" % (i % 10_000)],
    "LPUSH": lambda i: [b"LPUSH", b"list", b"value"],
    "LPOP": lambda i: [b"LPOP", b"list"],
    "SADD": lambda i: [b"SADD", b"set", b"member:%06d" % (i % 100_000)],
    "HSET": lambda i: [b"HSET", b"hash", b"field:%06d" % (i % 100_000), b"value"],
    "HGET": lambda i: [b"HGET", b"hash", b"field:%06d" % (i % 100_000)],
    "ZADD": lambda i: [b"ZADD", b"zset", b"%d" % (i * 7919 % 100_003), b"member:%06d" % (i % 100_000)],
    "XADD": lambda i: [b"XADD", b"stream", b"*", b"field", b"value"],
    "EXPIRE": lambda i: [b"EXPIRE", b"key:%06d" % (i % 100_000), b"1000"],
    "MGET of 10": lambda i: [b"MGET", *[b"key:%06d" % ((i + j) % 100_000) for j in range(10)]],
    "LRANGE of 100": lambda i: [b"LRANGE", b"list", b"0", b"99"],
    "ZRANGE of 10": lambda i: [b"ZRANGE", b"zset", b"%d" % (i % 1000), b"%d" % (i % 1000 + 9)],
}
TARGET_US = 3.0
TARGET_REPLAY = 300_000
ROUND = 100
"""Number of commands whose replies are encoded into one buffer, as for a pipeline."""


def measure(name: str, count: int) -> float:
    """Return the microseconds per command."""
    store = Store()
    session = store.open_session(1)
    now = 1_700_000_000_000
    for i in range(100_000):
        for prepared in ("SET", "LPUSH", "HSET", "ZADD"):
            store.execute(now, session, COMMANDS[prepared](i))
    store.take_changes()
    calls = [COMMANDS[name](i) for i in range(count)]
    _as_a_shell_has_it()
    began = time.perf_counter()
    for start in range(0, count, ROUND):
        out = bytearray()
        for args in calls[start : start + ROUND]:
            encode(store.execute(now, session, args), session.resp, out)
        store.take_changes()
        store.take_deliveries()
    return (time.perf_counter() - began) / count * 1e6


def measure_replay(count: int) -> float:
    """Return the replayed commands per second, for the changes of a mixed load."""
    source = Store()
    session = source.open_session(1)
    changes = []
    for i in range(count):
        source.execute(1_700_000_000_000, session, COMMANDS[("SET", "INCR", "HSET", "LPUSH", "SADD", "ZADD")[i % 6]](i))
        changes += source.take_changes()
    store = Store()
    _as_a_shell_has_it()
    began = time.perf_counter()
    for database, args in changes:
        store.replay(database, args)
    took = time.perf_counter() - began
    assert store.digest() == source.digest()
    return len(changes) / took


def measure_memory(keys: int) -> float:
    """Return the bytes per key, for keys of 10 bytes with values of 3 bytes."""
    before = _resident()
    store = Store()
    session = store.open_session(1)
    for i in range(keys):
        store.execute(0, session, [b"SET", b"key%07d" % i, b"%03d" % (i % 1000)])
        if not i % 1000:
            store.take_changes()
    store.take_changes()
    gc.collect()
    return (_resident() - before) / keys


def _as_a_shell_has_it() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def in_a_process(part: str, options: argparse.Namespace, best: Callable[[list[float]], float]) -> float:
    call = [sys.executable, __file__, "--part", part, "--count", str(options.count), "--keys", str(options.keys)]
    return best([float(subprocess.run(call, check=True, capture_output=True, text=True).stdout) for _ in range(options.rounds)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000, help="commands per measurement")
    parser.add_argument("--keys", type=int, default=1_000_000, help="keys for the measurement of memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        if options.part == "replay":
            print(measure_replay(options.count))
        elif options.part == "memory":
            print(measure_memory(options.keys))
        else:
            print(measure(options.part, options.count))
        return
    found = {name: in_a_process(name, options, min) for name in COMMANDS}
    replay, memory = in_a_process("replay", options, max), in_a_process("memory", options, min)
    if options.json:
        print(json.dumps({"us": found, "replay_per_s": replay, "bytes_per_key": memory}))
        return
    print(f"{'command':<16}  us with its change and its reply (aim: {TARGET_US:g})")
    for name, us in found.items():
        print(f"{name:<16}  {us:6.2f}")
    print(f"\nreplay: {replay:,.0f} commands/s (aim: {TARGET_REPLAY:,})")
    print(f"memory: {memory:.0f} bytes for a key of 10 bytes with a value of 3")


if __name__ == "__main__":
    main()
