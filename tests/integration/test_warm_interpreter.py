"""The warm interpreter. A script that is forked from the warden sees, prints and returns the same
as in a plain interpreter."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from support.waiting import until_async
from support.warden import WardenBench, run_in_loop, running_warden
from titan.errors import EnvironmentFault
from titan.worker.isolated import probe, warden, warm
from titan.worker.isolated import script_exit as ending
from titan.worker.isolated.warm import differing_at_startup
from titan.worker.processes.interpreters import CHECK, OLDEST
from titan.worker.processes.warden_link import WARM_BOOT, WARM_STAGE, WardenLink

MIB = 1024 * 1024
DEADLINE_S = 10.0
ARGS = ["one", "two words", "", "ü", "-x"]

HELLO = "print('hello')\n"
SLOW_THREAD = """
import threading
ready = threading.Event()
def late():
    ready.wait()
    print("from the thread", flush=True)
threading.Thread(target=late).start()
print("main done", flush=True)
ready.set()
"""
POOL = """
import multiprocessing, os
def square(x):
    return x * x
if __name__ == "__main__":
    context = multiprocessing.get_context("{}")
    with context.Pool(1) as pool:
        print(pool.map(square, range(5)))
    process = context.Process(target=print, args=("from the process",))
    process.start()
    process.join()
    print(process.exitcode)
"""
SIGNALS = """
import signal
for number in sorted(signal.valid_signals()):
    print(int(number), signal.getsignal(number))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.set_wakeup_fd(-1), signal.sigpending())
print([line for line in open("/proc/self/status") if line.startswith(("SigIgn", "SigBlk", "SigCgt"))])
"""
STREAMS = """
import sys
for s in (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__):
    print(s, s.encoding, s.errors, s.line_buffering, s.write_through, s.newlines, s.name, s.mode, s.fileno(), s.isatty(), s.closed)
    print(s.buffer, getattr(s.buffer, "raw", None), s.buffer.mode, s.seekable())
print(sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__)
"""
WORLD = """
import sys
names = sorted(sys.modules)
import os, resource, gc, time
print(names)
print(sys.argv, sys.orig_argv, sys.executable, sys.prefix, sys._base_executable)
print(sys.path, sys.meta_path, sys.path_hooks, sorted(sys.path_importer_cache))
print(sys.flags, sys.warnoptions, sys._xoptions, sys.getrecursionlimit(), sys.getswitchinterval(), sys.dont_write_bytecode)
print(sorted(vars(sys)))
print(os.getcwd(), sorted(os.environ.items()), os.environb == {k.encode(): v.encode("utf-8", "surrogateescape")
      for k, v in os.environ.items()})
print(resource.getrlimit(resource.RLIMIT_NOFILE), sorted(os.listdir("/proc/self/fd")), os.readlink("/proc/self/fd/0"))
print(gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.callbacks)
print(os.getsid(0) == os.getpgrp() == os.getpid(), os.umask(0o22), os.nice(0), os.sched_getscheduler(0))
print(sys.getprofile(), sys.gettrace(), sys.excepthook is sys.__excepthook__, sys.unraisablehook is sys.__unraisablehook__)
print(time.tzname, time.timezone)
"""
MAIN = """'''The docstring.'''
print(list(globals()))
print(__name__, __file__, __spec__, __cached__, __package__, __doc__, __annotations__, __builtins__)
print(__loader__, type(__loader__), __loader__.name, __loader__.path, __loader__.get_source("__main__")[:10])
import sys
print(sys.modules["__main__"].__dict__ is globals(), sys._getframe().f_back, sys._getframe().f_code.co_filename)
x: int = 3
print(__annotations__)
def f(): pass
print(f.__module__, f.__code__.co_filename, f.__globals__ is globals())
"""
AT_END = """
import atexit, sys
class Last:
    def __init__(self, name): self.name = name
    def __del__(self):
        print("del", self.name, "__file__" in globals(), sys is not None)
kept = Last("kept")
def method(): return kept
import helper
helper.held = Last("in a module")
atexit.register(lambda: print("atexit one", "__file__" in globals()))
@atexit.register
def failing(): raise ValueError("in atexit")
out = open("left-open.txt", "w")
out.write("flushed at the end")
print("end of main")
"""
STDOUT_GONE = """
import sys, os
sys.stdout.write("lost")
os.close(1)
"""

# A plain interpreter and the warden run each script. Exit code, stdout and stderr must be equal to
# the last byte.
SCRIPTS: dict[str, str] = {
    "hello": HELLO,
    "empty": "",
    "world": WORLD,
    "main": MAIN,
    "signals": SIGNALS,
    "streams": STREAMS,
    "no newline": "print('no newline', end='')",
    "unicode": "import sys\nprint('ü€😀'); sys.stderr.write('ü\\udc80€\\n')",
    "bad surrogate": "print('\\udc80')",
    "bytes out": "import sys\nsys.stdout.buffer.write(bytes(range(256)))",
    "much": "for i in range(30000): print(i, 'x' * 10)",
    "exit int": "import sys; sys.exit(7)",
    "exit none": "import sys; sys.exit()",
    "exit text": "import sys; print('out'); sys.exit('a message')",
    "exit object": "import sys; sys.exit([1, 'a'])",
    "exit big": "import sys; sys.exit(300)",
    "exit negative": "import sys; sys.exit(-1)",
    "exit huge": "import sys; sys.exit(10 ** 30)",
    "exit true": "import sys; sys.exit(True)",
    "quit": "quit(3)",
    "os._exit": "import os; print('lost'); os._exit(9)",
    "raise": "def f(x):\n    return 1 / x\n\nf(0)",
    "raise chain": "try:\n    {}['a']\nexcept KeyError as e:\n    raise RuntimeError('outer') from e",
    "raise context": "try:\n    {}['a']\nexcept KeyError:\n    int('x')",
    "raise note": "e = ValueError('v'); e.add_note('a note'); raise e",
    "raise group": "raise ExceptionGroup('g', [ValueError(1), TypeError(2)])",
    "raise custom": "class MyError(Exception): pass\nraise MyError('mine')",
    "raise base": "class B(BaseException): pass\nraise B",
    "raise unprintable": "class U(Exception):\n    def __str__(self): raise ValueError\nraise U",
    "raise in module": "import helper\nhelper.fail()",
    "assert": "assert 1 == 2, 'no'",
    "stop iteration": "raise StopIteration",
    "generator exit": "raise GeneratorExit",
    "recursion": "def f(n): return f(n + 1)\nf(0)",
    "recursion depth": "def f(n):\n    try: return f(n + 1)\n    except RecursionError: return n\nprint(f(0))",
    "interrupt": "raise KeyboardInterrupt",
    "interrupt by signal": "import os, signal\nprint('a'); os.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(5)",
    "terminated": "import os, signal\nprint('a', flush=True); os.kill(os.getpid(), signal.SIGTERM)",
    "segfault": "import ctypes\nctypes.string_at(1)",
    "aborted": "import os\nos.abort()",
    "broken pipe": "import os\nr, w = os.pipe(); os.close(r)\nos.write(w, b'x')",
    "syntax error": "print('never')\nif True print(2)",
    "indentation error": "def f():\nreturn 1",
    "null byte": "print(1)\n\0",
    "bad encoding": "# coding: nonsense\nprint(1)",
    "not utf-8": "print('\udcff')",
    "latin-1": "# coding: latin-1\nprint('\udce9')",
    "syntax warning": "x = 1\nprint(x is 1)",
    "escape warning": "print('\\d')",
    "future": "from __future__ import annotations\nx: Undefined = 1\nprint(__annotations__)",
    "crlf": "print('a')\r\nif True:\r\n    print('b')\r\n",
    "bom": "\ufeffprint('bom')",
    "excepthook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0], a[2].tb_lineno, a[2].tb_next)\n1 / 0",
    "bad excepthook": "import sys\ndef hook(*a): raise ValueError('in the hook')\nsys.excepthook = hook\n1 / 0",
    "exit in excepthook": "import sys\nsys.excepthook = lambda *a: sys.exit(5)\n1 / 0",
    "no excepthook": "import sys\ndel sys.excepthook\n1 / 0",
    "unraisable": "class D:\n    def __del__(self): 1 / 0\nD()\nprint('on')",
    "unraisablehook": "import sys\nsys.unraisablehook = lambda a: print('got', a.exc_type)\n"
    "class D:\n    def __del__(self): 1 / 0\nD()",
    "print stack": "import traceback\ndef f(): traceback.print_stack()\nf()",
    "inspect stack": "import inspect\nprint([(f.filename, f.function, f.lineno) for f in inspect.stack()])",
    "warn": "import warnings\nwarnings.warn('w')\nwarnings.warn('d', DeprecationWarning)\nwarnings.warn('far', stacklevel=2)",
    "warn resource": "import warnings\nwarnings.simplefilter('always')\nopen('x.py')\nprint('on')",
    "logging": "import logging\nlogging.warning('w'); logging.basicConfig(level=10); logging.info('i', stack_info=True)",
    "stdin": "print(open(0).read() == '')\ninput('prompt ')",
    "stdin lines": "import sys\nprint(list(sys.stdin))",
    "threads": SLOW_THREAD,
    "thread fails": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='T')\nt.start(); t.join()",
    "daemon thread": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\nprint('end')",
    "main thread": "import threading\nprint(threading.main_thread() is threading.current_thread(), threading.active_count())\n"
    "print(threading.get_native_id() == __import__('os').getpid())",
    "at the end": AT_END,
    "cycle": "class D:\n    def __del__(self): print('del', kept, D)\nkept = [D()]\nkept.append(kept)",
    "left open": "print(repr(open('left-open.txt').read()))",
    "del at the end, raised": "class D:\n    def __del__(self): print('del', D, x)\nx = 3\nd = D()\nd.me = d\n1 / 0",
    "del in order": "class D:\n    def __init__(self, n): self.n = n\n    def __del__(self): print(self.n)\n"
    "b, a, _c = D('b'), D('a'), D('c')",
    "stdout gone": STDOUT_GONE,
    "stdout closed": "import sys\nprint('a')\nsys.stdout.close()",
    "stdout none": "import sys\nprint('a')\nsys.stdout = None\nprint('b')",
    "stdout replaced": "import io, sys\nprint('a')\nsys.stdout = io.StringIO()\nprint('b')",
    "sibling": "import helper\nfrom pkg import part\nprint(helper.__name__, helper.__file__, part.VALUE, part.__package__)",
    "relative": "from . import helper",
    "no module": "import no_such_module",
    "main guard": "import __main__\nif __name__ == '__main__': print('guarded', __main__.__file__)",
    "installed": "import click, msgspec\nprint(click.__file__, msgspec.__name__)",
    "pickle": "import pickle\nclass C: pass\nprint(pickle.loads(pickle.dumps(C())).__class__, C)",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nprint(P(1))",
    "fork": "import os, sys\npid = os.fork()\nif not pid: sys.exit(3)\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
    "exec": "import os\nos.execv('/bin/echo', ['echo', 'from', 'echo'])",
    "subprocess": "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'import sys; print(sys.path, sys.flags)'],"
    " capture_output=True, text=True))",
    "flags": "import subprocess\nprint(subprocess._args_from_interpreter_flags())",
    "environ": "import os, subprocess\nos.environ['ADDED'] = 'a'\ndel os.environ['PATH']\n"
    "print(sorted(subprocess.check_output('/usr/bin/env').split(b'\\n')))\n"
    "import ctypes\ng = ctypes.CDLL(None).getenv\ng.restype = ctypes.c_char_p\n"
    "print(g(b'ADDED'), g(b'PATH'), g(b'LANG'), g(b'OWN'))",
    "pool fork": POOL.format("fork"),
    "pool spawn": POOL.format("spawn"),
    "pool forkserver": POOL.format("forkserver"),
    "executor": "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(2) as p: print(list(p.map(abs, [-1, 2])))",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    raise ValueError('in a task')\nasyncio.run(f())",
    "runpy": "import runpy\nprint(sorted(runpy.run_path('helper.py')))",
    "exec code": "import code\nexec(compile('print(__name__, __file__)', 'x', 'exec'))",
    "reload main": "import importlib, helper\nprint(importlib.reload(helper))",
    "rebind main": "import sys, types\nsys.modules['__main__'] = types.ModuleType('other')\nprint('on')",
    "source lines": "import inspect\ndef f(): return 1\nprint(inspect.getsource(f), inspect.getfile(f))",
    "lambda": "raise (lambda: ValueError)()",
    "faulthandler": "import faulthandler, sys\nfaulthandler.dump_traceback(file=sys.stderr, all_threads=False)",
    "signal handler": "import os, signal, sys\nsignal.signal(signal.SIGTERM, lambda *a: sys.exit(4))\n"
    "os.kill(os.getpid(), signal.SIGTERM)",
    "alarm": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\nsignal.pause()",
    "sitecustomize": "import site, builtins\nprint(site.ENABLE_USER_SITE, sorted(vars(builtins)))",
}

HELPER = "import sys\nheld = None\ndef fail():\n    raise LookupError('from the helper')\n"


def warm_warden(
    folder: Path, *, env: Mapping[str, str] | None = None, python: str = sys.executable, **link: Any
) -> AbstractAsyncContextManager[WardenBench]:
    env = dict(os.environ if env is None else env)
    return running_warden(folder, env=env, link={"env": env, "python": python, **link})


def furnish(folder: Path) -> None:
    (folder / "helper.py").write_text(HELPER)
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / "pkg" / "part.py").write_text("VALUE = 5\n")


def plain(folder: Path, env: Mapping[str, str], *args: str, python: str = sys.executable) -> tuple[int, bytes, bytes]:
    command = [python, *args]
    done = subprocess.run(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False, start_new_session=True
    )
    return done.returncode, done.stdout, done.stderr


def blur(text: bytes) -> bytes:
    """Replace addresses and ids, which differ from process to process."""
    import re

    text = re.sub(rb"0x[0-9a-f]{6,}", b"0xADDRESS", text)
    return re.sub(rb"\bpid=\d+|Thread-\d+|\b\d{15}\b", b"ID", text)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    """Return the results of each script: (plain, warm)."""
    # The background jobs of a shell, and programs under nohup, ignore these signals. Jobs of a
    # worker do not ignore them.
    for number in (signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    folder = tmp_path_factory.mktemp("both")
    furnish(folder)
    env = {**os.environ, "TITAN_LEASE": "1", "OWN": "a job's"}
    found: dict[str, tuple[Any, Any]] = {}

    async def main() -> None:
        async with warm_warden(folder, jobs_env={**os.environ, "OWN": "everybody's"}) as bench:
            for key, (name, source) in enumerate(SCRIPTS.items(), 1):
                text = source.encode("utf-8", "surrogateescape")
                (folder / "x.py").write_bytes(text)
                (folder / "left-open.txt").write_text("flushed at the end") if name == "left open" else None
                expected = plain(folder, {**env, "TITAN_LEASE": str(key)}, "x.py", *ARGS)
                bench.script(key, "x.py", *ARGS, env={"TITAN_LEASE": str(key), "OWN": "a job's"}, content_hash=name)
                found[name] = (expected, await bench.ended(key))

    run_in_loop(main(), on="asyncio")
    return found


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_does_what_a_plain_interpreter_does(both: dict[str, tuple[Any, Any]], name: str) -> None:
    (code, out, err), (warm_code, warm_out, warm_err) = both[name]
    assert blur(warm_err).decode(errors="replace") == blur(err).decode(errors="replace")
    assert blur(warm_out).decode(errors="replace") == blur(out).decode(errors="replace")
    assert warm_code == code


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("venv") / "v"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (package,) = folder.glob("lib/python*/site-packages")
    (package / "only_here.py").write_text("VALUE = 41\n")
    return folder


def test_the_python_of_a_virtual_environment(venv: Path, tmp_path: Path) -> None:
    furnish(tmp_path)
    python = str(venv / "bin" / "python")
    names = ["world", "main", "streams", "at the end", "raise chain", "pool spawn", "subprocess", "installed", "sitecustomize"]
    scripts = {name: SCRIPTS[name] for name in names}
    scripts["package"] = "import only_here, sys\nprint(only_here, only_here.VALUE + 1, sys.prefix, sys.base_prefix, sys.executable)"

    async def main() -> None:
        async with warm_warden(tmp_path, python=python, preload=["only_here"]) as bench:
            for key, (name, source) in enumerate(scripts.items(), 1):
                # one of the listed modules is preloaded, so the lists of modules differ
                (tmp_path / "x.py").write_text(source.replace("names = sorted(sys.modules)", "names = 0"))
                expected = plain(tmp_path, {**bench.env, "TITAN_LEASE": str(key)}, "x.py", *ARGS, python=python)
                bench.script(key, "x.py", *ARGS, content_hash=name)
                ended = await bench.ended(key)
                assert (ended[0], *map(blur, ended[1:])) == (expected[0], *map(blur, expected[1:])), name
            assert f"42 {venv} ".encode() in ended[1]

    run_in_loop(main(), on="asyncio")


@pytest.mark.parametrize("module", [warden, warm, ending, probe], ids=lambda it: it.__name__)
def test_code_for_other_interpreters_parses_with_the_oldest_supported_version(module: Any) -> None:
    ast.parse(Path(module.__file__).read_text(), feature_version=OLDEST)
    for text in (WARM_STAGE, WARM_BOOT, CHECK):
        ast.parse(text, feature_version=OLDEST)


# -- what is not a comparison ----------------------------------------------------------------------
WAIT = "import os, sys, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n"


def test_differences_in_variables_that_python_reads_at_its_start_are_found() -> None:
    own = {"PATH": "/bin", "LANG": "C.UTF-8", "PYTHONPATH": "/x", "HOME": "/root"}
    assert differing_at_startup(own, {**own, "PATH": "/usr/bin", "TITAN_JOB": "j", "OMP_NUM_THREADS": "1", "HOME": "/"}) == []
    assert differing_at_startup(own, {**own, "PYTHONPATH": "/y"}) == ["PYTHONPATH"]
    assert differing_at_startup(own, {"PATH": "/bin", "PYTHONPATH": "/x"}) == ["LANG"]
    for name in ("LC_ALL", "LD_PRELOAD", "MALLOC_ARENA_MAX", "PYTHONHASHSEED", "GLIBC_TUNABLES"):
        assert differing_at_startup(own, {**own, name: ""}) == [name]
    assert differing_at_startup(own, {**own, "HOME": "/"}, user_site=True) == ["HOME"]
    assert differing_at_startup(own, {**own, "OMP_NUM_THREADS": "1"}, preloaded=True) == ["OMP_NUM_THREADS"]


def test_an_environment_that_differs_is_executed(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("import os\nprint(os.environ['PYTHONHASHSEED'], hash('a'), flush=True)\n" + WAIT)

    async def main() -> None:
        async with warm_warden(tmp_path) as bench:
            env = {**bench.env, "TITAN_LEASE": "1", "PYTHONHASHSEED": "7"}
            bench.script(1, "x.py", env=env)
            bench.script(2, "x.py", env={**env, "TITAN_LEASE": "2", "PYTHONHASHSEED": "7"})
            (tmp_path / "wait.py").write_text(WAIT)
            bench.script(3, "wait.py")
            await bench.until(
                lambda: len(bench.content) == 3 and all(c.endswith(b"\n") for c in bench.content.values()), "their lines"
            )
            assert [bench.is_fork(key) for key in (1, 2, 3)] == [False, False, True]
            assert bench.content[1, 1].splitlines()[0] == bench.content[2, 1].splitlines()[0]
            for key in (1, 2, 3):
                bench.link.stop(key, 0)
                assert (await bench.ended(key))[0] == -signal.SIGKILL

    run_in_loop(main(), on="asyncio")


def test_a_variable_that_python_reads_at_its_start_may_differ_between_warden_and_jobs(tmp_path: Path) -> None:
    """Python reads such variables only when it starts. A job whose value differs from the warden's
    starts a new process; a job with the same value is forked."""
    (tmp_path / "x.py").write_text("import os\nprint(os.environ['PYTHONHASHSEED'], list(os.environ)[-1], flush=True)\n" + WAIT)

    async def main() -> None:
        env = {**os.environ, "PYTHONHASHSEED": "1"}
        async with warm_warden(tmp_path, env=env, jobs_env={**env, "PYTHONHASHSEED": "2"}) as bench:
            bench.script(1, "x.py", env={"TITAN_LEASE": "1"})
            bench.script(2, "x.py", env={"PYTHONHASHSEED": "1", "TITAN_LEASE": "2"})
            bench.script(3, "x.py", env={"PYTHONHASHSEED": "3", "TITAN_LEASE": "3"})
            await bench.until(
                lambda: len(bench.content) == 3 and all(c.count(b"\n") == 2 for c in bench.content.values()), "their lines"
            )
            said = [bench.content[key, 1].split()[:2] for key in (1, 2, 3)]
            assert said == [[b"2", b"TITAN_LEASE"], [b"1", b"TITAN_LEASE"], [b"3", b"TITAN_LEASE"]]
            assert [bench.is_fork(key) for key in (1, 2, 3)] == [False, True, False]

    run_in_loop(main(), on="asyncio")


def test_a_stop_at_once_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(WAIT)

    async def main() -> None:
        async with warm_warden(tmp_path) as bench:
            for key in range(1, 21):
                bench.script(key, "x.py", content_hash="x")
                bench.link.stop(key)
            for key in range(1, 21):
                assert (await bench.ended(key))[0] == -signal.SIGTERM

    run_in_loop(main(), on="asyncio")


def test_a_script_is_compiled_once_per_hash_and_jobs_do_not_share_state(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    body = (
        "import random, sys, tempfile\n"
        "print(__file__, sys.path[0], sys._getframe().f_code.co_filename, (lambda: 0).__code__.co_filename)"
    )
    (tmp_path / "a" / "x.py").write_text(f"{body}\nsys.stderr.write(str(random.random()) + tempfile.mktemp())\nsys.shared = 1\n")

    async def main() -> None:
        async with warm_warden(tmp_path, preload=["random", "tempfile"]) as bench:
            bench.script(1, "x.py", cwd=str(tmp_path / "a"), content_hash="h")
            first = await bench.ended(1)
            # there is no such file: the warden knows the code by its hash
            bench.script(2, "x.py", cwd=str(tmp_path / "b"), content_hash="h")
            second = await bench.ended(2)
            bench.script(3, "x.py", cwd=str(tmp_path / "c"))
            missing = await bench.ended(3)
            assert (first[0], second[0]) == (0, 0)
            for name, job in (("a", first), ("b", second)):
                folder = tmp_path / name
                assert job[1].decode() == f"{folder}/x.py {folder} {folder}/x.py {folder}/x.py\n"
            assert first[2] != second[2]
            assert missing == plain(tmp_path / "c", bench.env, "x.py")

    run_in_loop(main(), on="asyncio")


@pytest.mark.parametrize(
    "path", ["./x.py", "sub/x.py", "../work/x.py", "link.py", "sub//../x.py", "none.py", "sub", "x.txt", "{}/x.py"]
)
def test_paths_are_those_of_a_plain_interpreter(tmp_path: Path, path: str) -> None:
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    for name in ("x.py", "sub/x.py", "x.txt"):
        (work / name).write_text(MAIN + "print(sys.path, sys.argv, sys.orig_argv)\n1 / 0\n")
    (work / "link.py").symlink_to("sub/x.py")
    (tmp_path / "through").symlink_to("work")

    async def main() -> None:
        async with warm_warden(tmp_path) as bench:
            for key, cwd in enumerate((work, tmp_path / "through"), 1):
                bench.script(key, path.format(cwd), "a", cwd=str(cwd))
                expected = plain(cwd, {**bench.env, "TITAN_LEASE": str(key)}, path.format(cwd), "a")
                assert [blur(it) if isinstance(it, bytes) else it for it in await bench.ended(key)] == [
                    blur(it) if isinstance(it, bytes) else it for it in expected
                ]

    run_in_loop(main(), on="asyncio")


HARD = {
    "parentheses": "(" * 50_000,
    "minuses": "-" * 100_000 + "1",
    "attributes": "a" + ".b" * 100_000,
    "blocks": "".join(" " * i + "if 1:\n" for i in range(150)),
    "sum": "1" + "+1" * 50_000,
    "digits": "9" * 100_000,
}


@pytest.mark.parametrize("name", HARD)
def test_a_source_that_python_cannot_take_leaves_the_warden_alive(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.py").write_text(HARD[name])
    (tmp_path / "bench.py").write_text(HELLO)

    async def main() -> None:
        async with warm_warden(tmp_path) as bench:
            bench.script(1, "x.py")
            code, _, err = await bench.ended(1)
            expected = plain(tmp_path, bench.env, "x.py")
            assert (code, err[-200:]) == (expected[0], expected[2][-200:])
            bench.script(2, "bench.py")
            assert await bench.ended(2) == (0, b"hello\n", b"")

    run_in_loop(main(), on="asyncio")


def test_preloaded_modules_change_nothing_for_scripts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.py").write_text(
        "import sys\nprint('json' in sys.modules, 'ctypes' in sys.modules)\nimport json, threading\n"
        "print(json.dumps(1), threading.current_thread().name)\nt = threading.Thread(target=print, args=('t',))\n"
        "t.start()"
    )

    async def main() -> None:
        async with warm_warden(tmp_path, preload=["json", "no_such_module", "threading"]) as bench:
            bench.script(1, "x.py")
            assert await bench.ended(1) == (0, b"True False\n1 MainThread\nt\n", b"")

    run_in_loop(main(), on="asyncio")
    assert (
        capfd.readouterr().err
        == f"titan warden: {sys.executable} cannot preload no_such_module: ModuleNotFoundError: No module named 'no_such_module'\n"
    )


def test_limits_logs_and_refusals(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "import resource, sys\nprint(resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        "sys.stderr.write('e' * 5000)"
    )
    import resource

    async def main() -> None:
        async with warm_warden(tmp_path) as bench:
            bench.script(1, "x.py", rlimits={"RLIMIT_CORE": 4096}, log_limit=1000)
            code, out, err = await bench.ended(1)
            assert (code, out) == (0, f"(4096, 4096) {resource.getrlimit(resource.RLIMIT_NOFILE)}\n".encode())
            assert (tmp_path / "1.1").read_bytes() == out
            assert (tmp_path / "1.2").read_bytes() == err
            assert len(err) <= 1000
            assert bench.exits[1][7] == 4000
            bench.script(2, "x.py", cwd="/no/such/folder")
            bench.script(3, "x.py", "a\0b")
            bench.script(4, "x.py", rlimits={"RLIMIT_NONSENSE": 1})
            await bench.until(lambda: sum(r[0] == "refused" for r in bench.reports) == 3, "three refusals")
            texts = [r[3] for r in sorted(r for r in bench.reports if r[0] == "refused")]
            assert "cannot enter the working directory" in texts[0]
            assert "null byte" in texts[1]
            assert "no such resource limit" in texts[2]

    run_in_loop(main(), on="asyncio")


def test_a_daemon_that_leaves_is_known_by_its_lease(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "import os, time\nr, w = os.pipe()\nif not os.fork():\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
        "    os.closerange(0, 3)\n    os.write(w, b'%d' % os.getpid())\n    time.sleep(60)\n"
        "os.wait()\nprint(os.read(r, 20).decode())"
    )
    (tmp_path / "wait.py").write_text(WAIT)

    async def main() -> None:
        async with warm_warden(tmp_path) as bench:
            # By its age alone, the daemon could belong to this script.
            bench.script(1, "wait.py")
            bench.script(2, "x.py")
            pid = int((await bench.ended(2))[1])
            await bench.until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the daemon")
            assert 1 not in bench.exits

    run_in_loop(main(), on="asyncio")


def test_a_killed_warden_is_reported(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(WAIT)

    async def main() -> None:
        bench = WardenBench(tmp_path, env=os.environ, link={"env": os.environ, "python": sys.executable})
        bench.link.launch()
        bench.script(1, "x.py")
        await bench.until(lambda: (1, 1) in bench.content, "its pid")
        os.kill(bench.link.pid, signal.SIGKILL)
        os.kill(int(bench.content[1, 1]), signal.SIGKILL)
        await bench.until(lambda: bench.returncodes, "the warden's death")
        assert bench.returncodes == [-signal.SIGKILL]

    run_in_loop(main(), on="asyncio")


def test_a_closed_warden_takes_its_scripts_along(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(WAIT)

    async def main() -> None:
        async with warm_warden(tmp_path) as bench:
            for key in (1, 2):
                bench.script(key, "x.py")
            await bench.until(lambda: len(bench.content) == 2, "their pids")
        assert not any(Path(f"/proc/{int(pid)}").exists() for pid in bench.content.values())
        assert bench.returncodes == []

    run_in_loop(main(), on="asyncio")


def test_an_invalid_python_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        died: list[int] = []
        link = WardenLink(on_reports=lambda _: None, on_died=died.append, python=str(tmp_path / "no-python"))
        with pytest.raises(EnvironmentFault, match="no-python"):
            link.launch()
        link = WardenLink(on_reports=lambda _: None, on_died=died.append, python="/bin/false")
        link.launch()
        await until_async(lambda: died, "the end of the interpreter")
        assert died == [1]

    run_in_loop(main(), on="asyncio")


def test_a_plain_warden_executes_scripts(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(HELLO)

    async def main() -> None:
        async with warm_warden(tmp_path) as bench:
            await bench.link.close()
            bench.link = bench.make_link()
            bench.link.launch()
            bench.script(1, "x.py")
            assert await bench.ended(1) == (0, b"hello\n", b"")

    run_in_loop(main(), on="asyncio")


def test_without_a_locale_python_makes_one(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("import os, sys\nprint(sorted(os.environ.items()), sys.stdout.encoding, sys.stdin.errors)")
    env = {name: value for name, value in os.environ.items() if name != "LANG" and not name.startswith("LC_")}

    async def main() -> None:
        async with warm_warden(tmp_path, env=env) as bench:
            bench.script(1, "x.py")
            assert await bench.ended(1) == plain(tmp_path, {**env, "TITAN_LEASE": "1"}, "x.py")

    run_in_loop(main(), on="asyncio")
