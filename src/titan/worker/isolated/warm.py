"""Warm interpreter: a fork of the warden takes the place of the process that `python x.py args`
would start.

This module owns both sides of the fork. `Warm` is the warden's side: it decides which scripts can
be forked, and has their compiled code and the modules that were imported in advance. `become` is
the child's side: it sets up descriptors, signals, environment, streams and `__main__`.
`script_exit` then runs and ends the script. Like the warden this module imports nothing of Titan,
runs in an interpreter that need not have Titan, and stays small. The interpreter runs without -I
and -S, so `sys.flags` and `sys.path` are those of `python x.py`.

The main cost of a fork is not the fork itself, but the memory pages that either side writes after
it. The kernel copies each of them in about 2 us. In Python even reading an object writes to it,
because of its reference count. So the outermost frame forks the child. And the warden creates in
advance what all children need: the streams, and the environment that all jobs share.

A script cannot be forked, and is executed in a new interpreter, in these cases:

- the job's environment differs from the warden's in a variable that Python reads at its start
- the script does not compile, or the compiler gives a warning
- the script is over 1 MiB, or contains the word `unraisablehook`
- the script is not a regular file
"""

from __future__ import annotations

import _frozen_importlib_external
import _imp
import _io
import gc
import os
import resource
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import CodeType, ModuleType
    from typing import Any
else:
    import _signal as signal

SOURCE_BYTES = 1024 * 1024
CACHED_SCRIPTS = 256
LEASE_DIGITS = 20
# Value of TITAN_LEASE in the warden's own environment. It reserves space for a job's lease.
LEASE_ROOM = "0" * LEASE_DIGITS
STARTUP_NAMES = ("GLIBC_TUNABLES", "SETUPTOOLS_USE_DISTUTILS", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
STARTUP_PREFIXES = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
PRELOAD_PREFIXES = ("OMP_", "OPENBLAS_", "MKL_", "BLIS_", "NUMEXPR_", "GOTO_", "KMP_", "NPY_")
HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # signals that the warden handles


# -- the warden's side -----------------------------------------------------------------------------
def differing_at_startup(
    own: Mapping[str, str], job: Mapping[str, str], *, user_site: bool = False, preloaded: bool = False
) -> list[str]:
    """Return the names of variables whose values differ between `own` and `job`, and that matter at
    the start: Python reads them, or a preloaded library reads them when it is loaded."""
    prefixes = STARTUP_PREFIXES + (PRELOAD_PREFIXES if preloaded else ())
    return [
        name
        for name in {**own, **job}
        if (name.startswith(prefixes) or name in STARTUP_NAMES or (user_site and name == "HOME")) and own.get(name) != job.get(name)
    ]


def startup_environment() -> dict[str, str]:
    """Return the environment with which this process was executed. `os.environ` may differ, because
    Python itself may have added LC_CTYPE."""
    with open("/proc/self/environ", "rb") as file:
        pairs = [entry.split(b"=", 1) for entry in file.read().split(b"\0") if b"=" in entry]
    return {os.fsdecode(name): os.fsdecode(value) for name, value in pairs}


def lease_address() -> int:
    """Return the memory address of the TITAN_LEASE value that /proc/PID/environ shows. Return 0 if
    no space was reserved for a job's lease, or if this process cannot write to its memory."""
    try:
        with open("/proc/self/stat", "rb") as file:
            start = int(file.read().rsplit(b")", 1)[1].split()[47])
        with open("/proc/self/environ", "rb") as file:
            at = (b"\0" + file.read()).find(b"\0TITAN_LEASE=" + LEASE_ROOM.encode() + b"\0")
        os.close(os.open("/proc/self/mem", os.O_WRONLY))
    except (OSError, ValueError, IndexError):
        return 0
    return start + at + len("TITAN_LEASE=") if start and at >= 0 else 0


class WarningCatcher:
    """Replacement of sys.stderr while the warden compiles a script. It records whether the compiler
    gave a warning, which has to go to the script's stderr instead."""

    written = False

    def write(self, _text: str) -> None:
        self.written = True

    def flush(self) -> None:
        pass


class Script:
    """A script, and the setup of the child process that will run it."""

    __slots__ = ("args", "code", "env", "open_files", "path", "set_limits", "stdio")

    def __init__(
        self,
        path: str,
        args: Sequence[str],
        code: CodeType,
        env: dict[str, str],
        set_limits: Callable[[], None] | None,
        stdio: tuple[int, int, int],
        open_files: int,
    ) -> None:
        self.path, self.args, self.code, self.env = path, args, code, env
        self.set_limits, self.stdio, self.open_files = set_limits, stdio, open_files


class Warm:
    """State of a warm warden. `script` is the script to be forked next. For each script the warden
    calls `prepare`, forks, and calls `done`."""

    def __init__(self, preload: Iterable[str]) -> None:
        self.script: Script | None = None
        self._lease_at = lease_address()
        self._memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC) if self._lease_at else -1
        self._own = startup_environment()
        coerced = os.environ.get("LC_CTYPE")
        self._added = {"LC_CTYPE": coerced} if coerced is not None and "LC_CTYPE" not in self._own else {}
        self._user_site = bool(getattr(sys.modules.get("site"), "ENABLE_USER_SITE", False))
        # names of variables that Python reads at its start, and whose values for all jobs differ
        # from the warden's
        self._differing: frozenset[str] = frozenset()
        self._codes: dict[str, CodeType] = {}
        self._utf8 = sys.getfilesystemencoding() == "utf-8"
        self._preloaded = load_ahead(preload)
        self.names = frozenset(sys.modules)
        self.modules = len(sys.modules)
        make_streams()
        gc.collect()
        gc.freeze()

    def on_environment(self, env: Mapping[str, str]) -> None:
        """Set the environment that all jobs share. A child then only adds the variables of its
        job."""
        self._differing = frozenset(self._differ(self._own, env))
        set_environment(env)

    def _differ(self, own: Mapping[str, str], env: Mapping[str, str]) -> list[str]:
        return differing_at_startup(own, env, user_site=self._user_site, preloaded=self._preloaded)

    def prepare(
        self,
        program: tuple[str, Sequence[str], str],
        cwd: str,
        env: Mapping[str, str],
        *,
        set_limits: Callable[[], None] | None,
        stdio: tuple[int, int, int],
        open_files: int,
    ) -> bool:
        """Prepare the fork of a script. If it returns True, the caller forks and then calls `done`.
        If it returns False, the script has to be executed in a new interpreter.

        `program` has the path, arguments and content hash of the script.
        """
        path, args, content_hash = program
        if not self._can_fork(path, args, env):
            return False
        try:
            os.chdir(os.fsencode(cwd))
        except (OSError, ValueError):
            return False  # the execution of the script reports the error
        code = self._code(path, content_hash)
        if code is None:
            os.chdir("/")
            return False
        self.script = Script(path, args, code, {**env, **self._added}, set_limits, stdio, open_files)
        self._mark_lease(env.get("TITAN_LEASE", ""))
        gc.freeze()
        # Signals are blocked, so a signal to the child stays pending until the child has default
        # handlers.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        return True

    def done(self) -> None:
        """Restore the warden after the fork."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        os.chdir("/")
        self.script = None

    def _mark_lease(self, lease: str) -> None:
        """Write the job's lease to the memory that /proc/PID/environ of the child shows. By this
        lease the warden finds processes that the child leaves behind."""
        if self._lease_at:
            value = lease.encode("utf-8", "surrogateescape").ljust(LEASE_DIGITS, b"\0")
            try:
                os.pwrite(self._memory, value if len(value) == LEASE_DIGITS else LEASE_ROOM.encode(), self._lease_at)
            except OSError:  # the warden then identifies processes of the child by their session or their age
                self._lease_at = 0

    def _can_fork(self, path: str, args: Sequence[str], env: Mapping[str, str]) -> bool:
        if not self._utf8 or not path or path.startswith("-"):
            return False
        if any("=" in name or not name for name in env):
            return False
        text = "\0".join((path, *args, *env.keys(), *env.values()))
        if text.count("\0") != len(args) + 2 * len(env):
            return False
        try:
            text.encode("utf-8", "surrogateescape")
        except UnicodeError:
            return False
        named = {name: self._own[name] for name in env if name in self._own}
        return self._differing.issubset(env) and not self._differ(named, env)

    def _code(self, path: str, content_hash: str) -> CodeType | None:
        code = self._codes.pop(content_hash, None)
        if code is None:
            code = compile_script(path)
        if content_hash and code is not None:
            self._codes[content_hash] = code  # most recently used last
            if len(self._codes) > CACHED_SCRIPTS:
                del self._codes[next(iter(self._codes))]
        return code


def compile_script(path: str) -> CodeType | None:
    """Return the compiled code of a script. Return None if the script has to be executed in a new
    interpreter, which then reports errors and warnings."""
    catcher, stderr = WarningCatcher(), sys.stderr
    sys.stderr = catcher
    try:
        fd = os.open(os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > SOURCE_BYTES:
                return None
            source = file.read(SOURCE_BYTES + 1)
        if len(source) > SOURCE_BYTES or b"\0" in source or b"unraisablehook" in source:
            return None
        code: CodeType = compile(source, absolute(path), "exec", dont_inherit=True)
    except Exception:  # a new interpreter reports the same error to the job
        return None
    finally:
        sys.stderr = stderr
        if catcher.written and "linecache" in sys.modules:
            sys.modules["linecache"].clearcache()
    return None if catcher.written else code


def absolute(path: str) -> str:
    return path if path.startswith("/") else f"{os.getcwd()}/{path}"


def load_ahead(names: Iterable[str]) -> bool:
    loaded = False
    for name in names:
        try:
            __import__(name)
            loaded = True
        except Exception as error:
            os.write(
                2,
                f"titan warden: {sys.executable} cannot preload {name}: {type(error).__name__}: {error}\n".encode(
                    "utf-8", "replace"
                ),
            )
    return loaded


# -- the child's side ------------------------------------------------------------------------------
def serve(fds: str, preload: Sequence[str], boot: CodeType, base: Iterable[str]) -> None:
    """Run a warm warden. The function returns in the warden at its end, and in each forked child.
    In both cases the caller has to return at once: in a child the script runs after that."""
    import script_exit  # type: ignore[import-not-found]
    import warden  # type: ignore[import-not-found]

    # A script must find only the modules in sys.modules that a plain interpreter has imported.
    for name in set(sys.modules).difference(base):
        del sys.modules[name]
    warm = Warm(preload)
    loop = warden.prepare(fds, warm)
    pid: Any = -1
    while pid != 0 and loop.run():
        try:
            pid = os.fork()
        except OSError as error:
            pid = error
        if pid != 0:
            warm.done()
            loop.on_forked(pid)
    if pid != 0:
        return
    try:
        for _ in range(len(sys.modules) - warm.modules):  # os.wait4 imports resource
            sys.modules.popitem()
        script_exit.Ending.kept = [warm, loop, sys.modules["__main__"], warden, script_exit]
        script = warm.script
        assert script is not None
        main = become(warm, script)
        script_exit.arrange(script.code, main, boot, warm.names)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    except BaseException as error:
        os.write(2, f"titan: the process cannot become the script: {type(error).__name__}: {error}\n".encode("utf-8", "replace"))
        os._exit(1)


def become(warm: Warm, script: Script) -> ModuleType:
    """Set up this forked process for the script. Return its `__main__` module, in which the
    script's code will run."""
    os.setsid()
    for target, fd in enumerate(script.stdio):
        os.dup2(fd, target)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_NOFILE, (script.open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    if script.set_limits is not None:
        script.set_limits()
    add_environment(script.env)
    path = absolute(script.path)
    sys.argv = [script.path, *script.args]
    if hasattr(sys, "orig_argv"):  # from 3.10 on
        sys.orig_argv = [sys.orig_argv[0], *sys.argv]
    if not getattr(sys.flags, "safe_path", False):  # from 3.11 on
        sys.path.insert(0, real_folder(script.path))
    _imp._fix_co_filename(script.code, path)  # type: ignore[attr-defined]
    main = make_main(path)
    reseed()
    return main


def real_folder(path: str) -> str:
    """Return the folder of the file to which `path` leads. One look-up in /proc is quicker than
    `os.path.realpath`, which checks each part of the path."""
    if "/" not in path:
        try:
            os.readlink(path)
        except OSError:  # `path` is not a link, so the file is in the current folder
            return os.getcwd()
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            return os.path.dirname(os.readlink(f"/proc/self/fd/{fd}"))
        finally:
            os.close(fd)
    except OSError:
        return os.path.dirname(os.path.realpath(path))


def set_environment(env: Mapping[str, str]) -> None:
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    new = {name.encode("utf-8", "surrogateescape"): value.encode("utf-8", "surrogateescape") for name, value in env.items()}
    zone = data.get(b"TZ")
    for name in data.keys() - new.keys():
        os.unsetenv(name)
    for name, value in new.items():
        if data.get(name) != value:
            os.putenv(name, value)
    data.clear()  # os.environb shows the same dict
    data.update(new)
    if data.get(b"TZ") != zone:
        time.tzset()


def add_environment(env: Mapping[str, str]) -> None:
    data: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    for name, value in env.items():
        key, new = name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape")
        os.putenv(key, new)
        data[key] = new
    if "TZ" in env:
        time.tzset()


def make_streams() -> None:
    """Create sys.stdin, stdout and stderr like Python at its start, if descriptor 0 is /dev/null
    and descriptors 1 and 2 are pipes.

    The warden has these stream objects too, and its forks inherit them.
    """
    own = [os.dup(fd) for fd in range(3)]
    reading, writing = os.pipe()
    stdin = os.open(os.devnull, os.O_RDONLY)
    for target, fd in enumerate((stdin, writing, writing)):
        os.dup2(fd, target)
    try:
        open_streams()
    finally:
        for target, fd in enumerate(own):
            os.dup2(fd, target)
        for fd in (*own, reading, writing, stdin):
            os.close(fd)


def open_streams() -> None:
    unbuffered = isinstance(getattr(sys.__stdout__, "buffer", None), _io.FileIO)
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        own: Any = getattr(sys, f"__{name}__")
        raw_only = unbuffered and fd > 0
        buffer: Any = _io.open(fd, "wb" if fd else "rb", 0 if raw_only else -1, closefd=False)
        (buffer if raw_only else buffer.raw).name = f"<{name}>"
        stream: Any = _io.TextIOWrapper(
            buffer,
            encoding=own.encoding,
            errors=own.errors,
            newline="\n",
            line_buffering=fd == 2 and not unbuffered,
            write_through=unbuffered,
        )
        stream.mode = "w" if fd else "r"
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def make_main(path: str) -> ModuleType:
    old = sys.modules["__main__"].__dict__
    main = type(sys)("__main__")
    names = main.__dict__
    names["__loader__"] = _frozen_importlib_external.SourceFileLoader("__main__", path)
    names["__spec__"] = None
    if "__annotations__" in old:
        names["__annotations__"] = {}
    names["__builtins__"] = sys.modules["builtins"]
    names["__file__"] = path
    names["__cached__"] = None
    sys.modules["__main__"] = main
    return main


def reseed() -> None:
    """Seed the random generator of numpy, so that forks do not share its state. The module `random`
    seeds itself after a fork."""
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()
