"""Random pipeline files. Each YAML gives a DAG or an error with file, line and key, never another
error, and in bounded time."""

from __future__ import annotations

import os
import random
import re
import sys
import tempfile
from pathlib import Path

from fuzz.harness import Fuzzer, damaged, main
from titan.errors import CallerError, InvalidPipeline
from titan.sdk.outline import outline
from titan.sdk.pipeline import load_pipeline

ROOT = Path(__file__).parents[2]
FILE = re.compile(rb"file: [^ ,}\n]+")
EXAMPLES = sorted(FILE.sub(b"file: a.py", path.read_bytes()) for path in ROOT.glob("examples/**/*.yaml"))
KEYS = tuple(sorted({key for text in EXAMPLES for key in re.findall(rb"^[ -]*([a-z_]+):", text, re.M)}))
VALUES = (
    *(b"1", b"-1", b"0", b"1e308", b"1e309", b".nan", b".inf", b"-.inf", b"0x7fffffffffffffffff", b"9" * 400, b"1_000", b"1.10"),
    *(
        b"yes",
        b"null",
        b"~",
        b"''",
        b'"\\x1b[2J"',
        b'"\\u202e"',
        b'"\\0"',
        b"!!python/object:os.system x",
        b"!!binary aGk=",
        b"&a [*a]",
    ),
    *(
        b"*missing",
        b"[]",
        b"{}",
        b"[[[[[[]]]]]]",
        b"{a: {b: {c: d}}}",
        b"|\n  text\n",
        b">-\n  folded",
        b"../../../etc/passwd",
        b"a" * 5000,
    ),
    *(b"5m", b"1h30m", b"5 parsecs", b"16GiB", b"1e99GB", b"2026-02-30", b"2026-12-01T00:00:00Z", b"GENERAL", b"[a, a, a]"),
    *(
        b"${{matrix.x}}",
        b"{item}",
        b"{{item}}",
        b"{",
        b"%s%s%n",
        b"- - - -",
        b"../../../etc/passwd",
        b"<<: *a",
        b"? complex",
        b"\xff\xfe",
        b"\xc0\x80",
    ),
)


def make(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.4:
        return damaged(rng, rng.choice(EXAMPLES), others=EXAMPLES)
    if kind < 0.8:
        return _other_values(rng, rng.choice(EXAMPLES))
    if kind < 0.9:
        return _invented(rng)
    return _swollen(rng)


def run(data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="titan-fuzz-") as folder:
        path = Path(folder, "p.yaml")
        path.write_bytes(data)
        Path(folder, "a.py").write_text("")
        try:
            outline(load_pipeline(path))
        except InvalidPipeline as e:
            assert str(e).startswith(f"{path}:"), f"no place is named: {e}"
            assert "Traceback" not in str(e)
            raise


def _other_values(rng: random.Random, text: bytes) -> bytes:
    """Return the example with some of its values or keys replaced."""
    lines = text.split(b"\n")
    for _ in range(rng.choice((0, 1, 1, 1, 2, 6))):
        at = rng.randrange(len(lines))
        key, colon, _ = lines[at].partition(b":")
        if not colon:
            lines.insert(at, rng.choice((b"    ", b"  ", b"")) + rng.choice(KEYS) + b": " + rng.choice(VALUES))
        elif rng.random() < 0.8:
            lines[at] = key + b": " + rng.choice(VALUES)
        else:
            lines[at] = re.sub(rb"[a-z_]+$", rng.choice(KEYS), key) + lines[at][len(key) :]
    return b"\n".join(lines)


def _invented(rng: random.Random) -> bytes:
    jobs = [
        b"  - {" + b", ".join(rng.choice(KEYS) + b": " + rng.choice(VALUES) for _ in range(rng.randint(1, 8))) + b"}"
        for _ in range(rng.randint(0, 6))
    ]
    return b"name: x\njobs:\n" + b"\n".join(jobs)


def _swollen(rng: random.Random) -> bytes:
    """Return a large file: aliases of aliases, deep nesting, one long line, a matrix of matrices,
    or many jobs."""
    match rng.randrange(5):
        case 0:
            levels = b"".join(b"  a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12))
            return b"name: x\nenv:\n  a0: &a0 [x]\n" + levels
        case 1:
            return b"name: x\njobs: " + b"[" * rng.choice((31, 33, 1000, 100_000))
        case 2:
            return b"name: " + b"x" * rng.choice((1000, 1_000_000)) + b"\njobs: [{id: a, command: b}]"
        case 3:
            axis = b"[" + b", ".join(b"%d" % i for i in range(1100)) + b"]"
            return b"name: x\njobs:\n  - id: a\n    command: b\n    matrix: {x: " + axis + b", y: " + axis + b"}\n"
        case _:
            count = rng.choice((10, 2000))
            return b"name: x\njobs:\n" + b"".join(
                b"  - {id: j%d, command: c, depends_on: j%d}\n" % (i, (i * 7) % count) for i in range(count)
            )


FUZZER = Fuzzer("pipelines", make, run, (CallerError,), case_s=30.0, memory_mib=1024)

if __name__ == "__main__":
    os.chdir(tempfile.gettempdir())
    sys.exit(main(FUZZER))
