"""Functions and wrappers by value: another process, without this module and without Titan, runs
them."""

from __future__ import annotations

import functools
import json
import linecache
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import titan
from titan.errors import CallerError
from titan.sdk.functions import Function, with_source
from titan.sdk.pickles import dumps, is_own, loads


@functools.lru_cache(maxsize=5, typed=True)
def fib(n: int) -> int:
    return n if n < 2 else fib(n - 1) + fib(n - 2)


@functools.singledispatch
def kind(_x: object) -> str:
    return "any"


@kind.register
def _(x: int) -> str:
    return f"int, not {kind(str(x))}"


class Counter:
    def __init__(self, start: int) -> None:
        self.start = start

    @functools.cached_property
    def twice(self) -> int:
        return self.start * 2

    @functools.lru_cache
    def plus(self, n: int) -> int:
        return self.start + n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counter) and self.start == other.start

    def __hash__(self) -> int:
        return self.start


def elsewhere(pickled: bytes, call: str, folder: Path) -> Any:
    """Return the value of an expression about the unpickled `f`, from a process without Titan."""
    (folder / "pickled").write_bytes(pickled)
    program = f"""
import pickle, sys
class NoTitan:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("titan", "test_by_value"): raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoTitan())
f = pickle.load(open("pickled", "rb"))
import cloudpickle
open("result", "wb").write(cloudpickle.dumps({call}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return loads((folder / "result").read_bytes())


def test_wrappers_of_functools_run_elsewhere(tmp_path: Path) -> None:
    assert elsewhere(Function(fib).pickled, "(f(20), f.cache_info().hits > 0, f.cache_parameters(), f.__name__)", tmp_path) == (
        6765,
        True,
        {"maxsize": 5, "typed": True},
        "fib",
    )
    assert elsewhere(Function(kind).pickled, "(f(3), f('x'))", tmp_path) == ("int, not any", "any")
    assert elsewhere(Function(functools.partial(fib, 10)).pickled, "f()", tmp_path) == 55
    assert elsewhere(Function(lambda: fib(4) + Counter(3).plus(1) + Counter(5).twice).pickled, "f()", tmp_path) == 17


def test_values_whose_class_has_wrappers_come_back_as_this_class(tmp_path: Path) -> None:
    assert elsewhere(dumps(Counter(4)), "f.twice + f.plus(1)", tmp_path) == 13
    back = elsewhere(dumps(Counter(4)), "(f.twice, f)[1]", tmp_path)
    assert type(back) is Counter and back == Counter(4) and back.twice == 8


def test_equal_functions_have_equal_pickles() -> None:
    def inner() -> int:
        return fib(3)

    assert Function(inner).hash == Function(inner).hash


def test_installed_wrappers_travel_by_reference() -> None:
    assert pickle.loads(dumps(functools.partial(json.loads, "[1]")))() == [1]
    assert pickle.loads(dumps(linecache.getlines)) is linecache.getlines


def test_a_registered_module_travels_by_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("only_here")
    module.__file__ = f"{Path(json.__file__).parent.parent}/only_here.py"  # as if it were installed
    exec("def double(x): return inner(x) * 2\ndef inner(x): return x", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    assert not is_own("only_here")
    assert b"only_here" in Function(module.double).pickled
    titan.register_by_value(module)
    assert is_own("only_here") and not is_own("only_here_too")
    assert elsewhere(Function(module.double).pickled, "f(21)", tmp_path) == 42


@pytest.mark.parametrize("module", ["no_such_module", 3, "titan.sdk"])
def test_registering_something_that_is_no_module_is_refused(module: Any) -> None:
    with pytest.raises(CallerError, match="register_by_value: "):
        titan.register_by_value(module)


def test_code_keeps_its_file_and_tracebacks_get_the_lines_that_only_the_caller_has() -> None:
    assert pickle.loads(Function(Counter.__init__).pickled).__code__.co_filename == __file__
    linecache.cache["<cell 7>"] = (9, None, ["x = 1\n", "    return 1 / 0  # why\n"], "<cell 7>")
    trace = 'Traceback (most recent call last):\n  File "<cell 7>", line 2, in f\n  File "<gone>", line 1, in g\nError: x\n'
    shown = 'Traceback (most recent call last):\n  File "<cell 7>", line 2, in f\n    return 1 / 0  # why\n'
    assert with_source(trace) == shown + '  File "<gone>", line 1, in g\nError: x\n'
    assert with_source(with_source(trace)) == with_source(trace)
