"""The warm interpreter: a process forked from the warden becomes what `python x.py args` would be.

It owns both sides of that fork. `Warm` is the warden's: which scripts can be forked at all, their compiled code, the modules that
are imported ahead. `become` and `end` are the child's: its descriptors, signals, environment, streams and `__main__`, and its end.
Like the warden it imports nothing of Titan, runs in an interpreter that need not have it, and stays small: a fork costs what it
copies. The interpreter runs without -I and -S, so `sys.flags` and `sys.path` are those of a plain one.

How the script gets an empty stack. The frames of the warden would show in `traceback.print_stack`, in `warnings` and in the depth
of a recursion. So the child returns out of all of them, and out of the -c code that started the warden; that code object is freed
then, and two weak references to it have callbacks. The first is `reversed`, of all things: it calls a method of the reference, in
C and outside the count of recursions, and that method is the script. So there is no frame below it. The second is `end`. It always
comes, gets what the script raised through `sys.unraisablehook`, and leaves by os._exit.

Why there is no real finalization: it writes to each object and so copies all memory of the warden. What can be seen of it is
done here: threads, atexit, the streams, and the globals of the script and of the modules that it imported.

What cannot be forked is executed: a script whose environment differs in a name that Python reads at its start, one that does not
compile or warns on being compiled, one over 1 MiB or with a `sys.unraisablehook` of its own, and what is no plain file.
"""

from __future__ import annotations

import _frozen_importlib_external
import _imp
import _io
import _weakref
import atexit
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
    from types import CodeType, ModuleType, TracebackType
    from typing import Any, NoReturn
else:
    import _signal as signal

SOURCE_BYTES = 1024 * 1024
CACHED_SCRIPTS = 256
LEASE_DIGITS = 20
LEASE_ROOM = "0" * LEASE_DIGITS  # the value of TITAN_LEASE in the warden's own environment: room for a job's
STARTUP_NAMES = ("GLIBC_TUNABLES", "SETUPTOOLS_USE_DISTUTILS", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
STARTUP_PREFIXES = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
PRELOAD_PREFIXES = ("OMP_", "OPENBLAS_", "MKL_", "BLIS_", "NUMEXPR_", "GOTO_", "KMP_", "NPY_")
LOST_CODE = 70


# -- the warden's side ----------------------------------------------------------------------------------------------
def differing_at_startup(
    own: Mapping[str, str], job: Mapping[str, str], *, user_site: bool = False, preloaded: bool = False
) -> str | None:
    """The first name whose value Python reads as it starts, or a preloaded library as it loads, and that the two differ in."""
    prefixes = STARTUP_PREFIXES + (PRELOAD_PREFIXES if preloaded else ())
    for name in sorted({*own, *job}):
        read = name.startswith(prefixes) or name in STARTUP_NAMES or (user_site and name == "HOME")
        if read and own.get(name) != job.get(name):
            return name
    return None


def startup_environment() -> dict[str, str]:
    """What this process was executed with: `os.environ` may have got LC_CTYPE since, from Python itself."""
    with open("/proc/self/environ", "rb") as file:
        pairs = [entry.split(b"=", 1) for entry in file.read().split(b"\0") if b"=" in entry]
    return {os.fsdecode(name): os.fsdecode(value) for name, value in pairs}


def lease_address() -> int:
    """Where in memory the value of TITAN_LEASE is that /proc/PID/environ shows; 0 if there is no room for a job's."""
    try:
        with open("/proc/self/stat", "rb") as file:
            start = int(file.read().rsplit(b")", 1)[1].split()[47])
        with open("/proc/self/environ", "rb") as file:
            at = (b"\0" + file.read()).find(b"\0TITAN_LEASE=" + LEASE_ROOM.encode() + b"\0")
    except (OSError, ValueError, IndexError):
        return 0
    return start + at + len("TITAN_LEASE=") if start and at >= 0 else 0


class Complaint:
    """Stands in for sys.stderr while the warden compiles: a warning is for the script's own stderr."""

    heard = False

    def write(self, _text: str) -> None:
        self.heard = True

    def flush(self) -> None:
        pass


class Script:
    """One script, as a child has to become it."""

    __slots__ = ("args", "code", "env", "key", "open_files", "path", "set_limits", "stdio")

    def __init__(
        self,
        key: int,
        path: str,
        args: Sequence[str],
        code: CodeType,
        env: dict[str, str],
        set_limits: Callable[[], None] | None,
        stdio: tuple[int, int, int],
        open_files: int,
    ) -> None:
        self.key, self.path, self.args, self.code, self.env = key, path, args, code, env
        self.set_limits, self.stdio, self.open_files = set_limits, stdio, open_files


class Warm:
    """What the warden keeps for its scripts. `child` is set in a forked child only, which must then return to `serve` at once."""

    def __init__(self, preload: Iterable[str]) -> None:
        self.child: Script | None = None
        self.keep: list[Any] = []  # what must not be freed in a child: its descriptors are closed already
        self.lease_at = lease_address()
        self._own = startup_environment()
        coerced = os.environ.get("LC_CTYPE")
        self._added = {"LC_CTYPE": coerced} if coerced is not None and "LC_CTYPE" not in self._own else {}
        self._user_site = bool(getattr(sys.modules.get("site"), "ENABLE_USER_SITE", False))
        self._codes: dict[str, CodeType] = {}
        self._utf8 = sys.getfilesystemencoding() == "utf-8"
        self._preloaded = load_ahead(preload)
        self.modules = frozenset(sys.modules)
        gc.collect()
        gc.freeze()

    def fork(
        self,
        key: int,
        path: str,
        args: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        content_hash: str,
        *,
        set_limits: Callable[[], None] | None,
        stdio: tuple[int, int, int],
        open_files: int,
    ) -> int | None:
        """The pid of a child that becomes the script, 0 in the child, or None: this one has to be executed. Raises OSError."""
        if not self._can_fork(path, args, env):
            return None
        try:
            os.chdir(os.fsencode(cwd))
        except (OSError, ValueError):
            return None  # for the other way to explain
        try:
            code = self._code(path, content_hash)
            if code is None:
                return None
            script = Script(key, path, args, code, {**env, **self._added}, set_limits, stdio, open_files)
            gc.freeze()
            # A signal that reaches the child before it has default handlers waits until it has.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                pid = os.fork()
                if pid == 0:
                    self.child = script
                    return 0
            finally:
                if self.child is None:
                    signal.pthread_sigmask(signal.SIG_SETMASK, [])
            return pid
        finally:
            if self.child is None:
                os.chdir("/")

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
        return differing_at_startup(self._own, env, user_site=self._user_site, preloaded=self._preloaded) is None

    def _code(self, path: str, content_hash: str) -> CodeType | None:
        code = self._codes.pop(content_hash, None)
        if code is None:
            code = compile_script(path)
        if content_hash and code is not None:
            self._codes[content_hash] = code  # the last is the one used last
            if len(self._codes) > CACHED_SCRIPTS:
                del self._codes[next(iter(self._codes))]
        return code


def compile_script(path: str) -> CodeType | None:
    """None for what Python itself has to read: it then also says what is wrong with it."""
    complaint, stderr = Complaint(), sys.stderr
    sys.stderr = complaint
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
    except Exception:  # whatever it is, the plain interpreter reports it to the job
        return None
    finally:
        sys.stderr = stderr
        if complaint.heard and "linecache" in sys.modules:
            sys.modules["linecache"].clearcache()
    return None if complaint.heard else code


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


# -- the child: becoming the script ---------------------------------------------------------------------------------
class Hook(_weakref.ref):  # type: ignore[type-arg]
    """A weak reference whose `__reversed__` is to be run."""

    __reversed__: Any = None


class Ending:
    """What `end` needs of the script's run, and what must outlive it."""

    kept: list[Any] = []
    main: list[ModuleType] = []
    modules: frozenset[str] = frozenset()  # imported before the script ran
    raised: list[BaseException] = []
    hook: Any = None


def serve(fd: int, preload: Sequence[str], boot: CodeType, base: Iterable[str]) -> None:
    """A warm warden's life. Returns in the warden at its end, and in each child: the caller has to end then, and do nothing."""
    import warden  # type: ignore[import-not-found]

    for name in set(sys.modules).difference(base):  # a script finds what a plain interpreter has imported
        del sys.modules[name]
    warm = Warm(preload)
    warden.main(fd, warm)
    if warm.child is None:
        return
    try:
        for name in set(sys.modules).difference(warm.modules):  # os.wait4 imports resource
            del sys.modules[name]
        Ending.kept = [warm, sys.modules["__main__"], warden]
        become(warm.child, boot, lease_at=warm.lease_at)
        warm.child = None
    except BaseException as error:
        os.write(2, f"titan: the process cannot become the script: {type(error).__name__}: {error}\n".encode("utf-8", "replace"))
        os._exit(1)


def become(script: Script, boot: CodeType, *, lease_at: int) -> None:
    """Turn this process into the script's, ready to run as `boot` is freed."""
    os.setsid()
    for target, fd in enumerate(script.stdio):
        os.dup2(fd, target)
    mark_lease(script.env.get("TITAN_LEASE", ""), lease_at)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_NOFILE, (script.open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    if script.set_limits is not None:
        script.set_limits()
    set_environment(script.env)
    open_streams()
    path = absolute(script.path)
    sys.argv = [script.path, *script.args]
    if hasattr(sys, "orig_argv"):  # from 3.10 on
        sys.orig_argv = [sys.orig_argv[0], *sys.argv]
    if not getattr(sys.flags, "safe_path", False):  # from 3.11 on
        sys.path.insert(0, real_folder(script.path))
    _imp._fix_co_filename(script.code, path)  # type: ignore[attr-defined]
    main = make_main(path)
    reseed()
    arrange(script.code, main, boot)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def real_folder(path: str) -> str:
    """The folder of the file that `path` leads to; in one step, as `os.path.realpath` looks at each part of it."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            return os.path.dirname(os.readlink(f"/proc/self/fd/{fd}"))
        finally:
            os.close(fd)
    except OSError:
        return os.path.dirname(os.path.realpath(path))


def mark_lease(lease: str, at: int) -> None:
    """Show the lease in /proc/PID/environ, by which the warden knows what this process leaves behind."""
    value = lease.encode("utf-8", "surrogateescape")
    if not at or len(value) > LEASE_DIGITS:
        return
    try:
        fd = os.open("/proc/self/mem", os.O_WRONLY)
        os.pwrite(fd, value.ljust(LEASE_DIGITS, b"\0"), at)  # closed with all others
    except OSError:  # then it is known by its session, or by its age
        pass


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


def open_streams() -> None:
    """sys.stdin, stdout and stderr as Python makes them for a file or a pipe, and as the warden's own environment wants them."""
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
    """`random` does it by itself after a fork."""
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()


function: Any = type(lambda: None)


def arrange(code: CodeType, main: ModuleType, boot: CodeType) -> None:
    """Have the script run, and then `end`, when `boot` is freed. Of the references the later one is called first."""
    Ending.hook = sys.unraisablehook
    sys.unraisablehook = sys.__unraisablehook__ = on_unraisable
    atexit.register(lost)
    Ending.main = [main]
    Ending.modules = frozenset(sys.modules)
    Hook.__reversed__ = staticmethod(function(code, main.__dict__))
    Ending.kept += [_weakref.ref(boot, end), Hook(boot, reversed), _weakref.ref(boot, found)]


def found(_reference: object) -> None:
    atexit.unregister(lost)


def lost() -> None:
    """The interpreter goes down and the script has not run: no release of Python that is known frees its -c code so late."""
    os.write(2, b"titan: this Python cannot run a script in a forked process\n")
    os._exit(LOST_CODE)


def on_unraisable(args: Any) -> None:
    """Takes what ended the script; all else goes where it went before."""
    if args.object is reversed:
        Ending.raised.append(args.exc_value)
    else:
        Ending.hook(args)


# -- the child: the end of the script -------------------------------------------------------------------------------
def end(_reference: object) -> NoReturn:
    """What Python does after a script, as far as it can be seen, and then os._exit."""
    status = 1
    try:
        status = finish()
    except BaseException as error:
        os.write(2, f"titan: the end of the script failed: {type(error).__name__}: {error}\n".encode("utf-8", "replace"))
    finally:
        os._exit(status & 0xFF)


def finish() -> int:
    if sys.unraisablehook is on_unraisable:
        sys.unraisablehook = Ending.hook
    sys.__unraisablehook__ = Ending.hook
    Hook.__reversed__ = None
    flush_quietly()
    error = Ending.raised.pop() if Ending.raised else None
    interrupted = isinstance(error, KeyboardInterrupt)
    status = report(error) if error is not None else 0
    if not isinstance(error, SystemExit):
        for name in ("__file__", "__cached__"):
            Ending.main[0].__dict__.pop(name, None)
    error = None
    if "threading" in sys.modules:
        end_threads()
    atexit._run_exitfuncs()
    if not flush_streams():
        status = 120
    clear_modules()
    if not flush_streams():
        status = 120
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return status


def report(error: BaseException) -> int:
    """Print what the script raised; returns its exit code."""
    if isinstance(error, SystemExit):
        return exit_code(error)
    below = error.__traceback__
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, below
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    hook = getattr(sys, "excepthook", None)
    if hook is None:
        complain("sys.excepthook is missing\n")
        hook = sys.__excepthook__
    try:
        hook(type(error), error, below)
    except SystemExit as wish:
        return exit_code(wish)
    except BaseException as second:
        complain("Error in sys.excepthook:\n")
        show(second, second.__traceback__.tb_next if second.__traceback__ is not None else None)
        complain("\nOriginal exception was:\n")
        show(error, below)
    return 1


def show(error: BaseException, below: TracebackType | None) -> None:
    error.__traceback__ = below
    sys.__excepthook__(type(error), error, below)


def exit_code(error: SystemExit) -> int:
    wish = error.code
    if wish is None:
        return 0
    if isinstance(wish, int):
        return wish if -(2**63) <= wish < 2**63 else -1
    complain(f"{wish}\n")
    return 1


def complain(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except Exception:  # closed, or None
        pass


def end_threads() -> None:
    """Wait for the threads that are no daemons."""
    threading = sys.modules["threading"]
    try:
        threading._shutdown()
    except BaseException as error:
        unraisable(error, threading)


def unraisable(error: BaseException, where: object) -> None:
    below = error.__traceback__.tb_next if error.__traceback__ is not None else None
    details: Any = type("UnraisableHookArgs", (), {})()
    details.exc_type, details.exc_value, details.exc_traceback = type(error), error, below
    details.err_msg, details.object = "Exception ignored in", where
    try:
        sys.unraisablehook(details)
    except TypeError:  # the built-in hook takes its own type only
        complain(f"Exception ignored in: {where!r}\n")
        show(error, below)


def flush_quietly() -> None:
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except Exception:  # said at the last flush
            pass


def flush_streams() -> bool:
    """False if what the script printed could not be written."""
    clean = True
    for stream in (getattr(sys, "stdout", None), getattr(sys, "stderr", None)):
        if stream is None or getattr(stream, "closed", False):
            continue
        try:
            stream.flush()
        except BaseException as error:
            if stream is sys.stdout:
                unraisable(error, stream)
            clean = False
    return clean


def clear_modules() -> None:
    """Free the script's globals and those of the modules that it imported, so that files are flushed and `__del__` is called."""
    sys.last_type = sys.last_value = sys.last_traceback = None
    if sys.version_info >= (3, 12):
        sys.last_exc = None  # type: ignore[assignment]
    gc.collect()
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    fresh = [name for name in sys.modules if name == "__main__" or name not in Ending.modules]
    alive = []
    Ending.main.clear()
    for name in fresh:
        module = sys.modules[name]
        if isinstance(module, type(sys)):
            alive.append(_weakref.ref(module))
        sys.modules[name] = None  # type: ignore[assignment]
        del module
    for name in fresh:
        sys.modules.pop(name, None)
    gc.collect()
    for reference in alive:
        left = reference()
        if left is not None:
            clear_names(left.__dict__)
        del left


def clear_names(names: dict[str, Any]) -> None:
    """As Python clears a module: private names first, then the others, by None and in their order."""
    for private in (True, False):
        for name in list(names):
            if isinstance(name, str) and name != "__builtins__" and (name[:1] == "_" and name[:2] != "__") is private:
                names[name] = None
