"""Start of a new program by fork and exec, with its limits and environment, and with an explanation
if it could not be started.

Part of the warden. Like the warden it imports nothing of Titan.
"""

from __future__ import annotations

import _posixsubprocess
import errno
import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

if TYPE_CHECKING or __package__:
    from titan.worker.isolated.limits import limits_setter
else:
    from limits import limits_setter

FAILURE_BYTES = 4096


class Refused(Exception):
    """A process could not be started. `message` has the reason and a hint for the user."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def setter(limits: Mapping[str, Any] | None) -> Callable[[], None] | None:
    try:
        return limits_setter(limits)
    except LookupError as error:
        raise Refused(errno.EINVAL, str(error.args[0])) from None


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def candidates(name: bytes, pairs: Mapping[str, bytes]) -> tuple[bytes, ...]:
    if b"/" in name:
        return (name,)
    folders = pairs.get("PATH", b"PATH=" + encode(os.defpath))[len("PATH=") :].split(b":")
    return tuple(folder + b"/" + name if folder else name for folder in folders)


def explain(code: int, name: str, cwd: str, paths: Iterable[bytes]) -> str:
    if code == errno.ENOENT:
        if any(os.path.exists(os.path.join(encode(cwd), path)) for path in paths):
            return f"{name}: the file exists, but the interpreter or loader that it names does not"
        return f"{name}: no such file" if "/" in name else f"{name}: no such command in the job's PATH"
    if code == errno.EACCES:
        return f"{name}: permission denied (is it a file, and executable?)"
    if code == errno.ENOEXEC:
        return f"{name}: neither a program for this machine nor a script with a #! line"
    if code == errno.E2BIG:
        return f"{name}: the argument list or the environment is too long"
    return f"{name}: {os.strerror(code)}"


def fork_exec(arguments: tuple[Any, ...], open_files: int, core: int | None) -> int:
    """Call the private function that subprocess.Popen uses, without the work that Popen does around
    it. The function uses vfork if it can. Raises TypeError if its signature has changed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != open_files:  # the child inherits the limit; open descriptors above the limit stay usable
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, hard))
    forbidden = resource.getrlimit(resource.RLIMIT_CORE)
    if core is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (core, forbidden[1]))
    try:
        call: Any = _posixsubprocess.fork_exec
        if sys.version_info >= (3, 14):
            return int(call(*arguments))
        return int(call(*arguments, True))  # allow_vfork
    finally:
        if soft != open_files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if core is not None:
            resource.setrlimit(resource.RLIMIT_CORE, forbidden)


def spawn(
    argv: Sequence[str],
    cwd: str,
    env: Mapping[str, str],
    *,
    base: Mapping[str, bytes],
    rlimits: Mapping[str, Any] | None,
    stdio: tuple[int, int, int],
    open_files: int,
    core: int | None = None,
) -> int:
    """Start a process in a session of its own. Return its pid when exec has succeeded. Raises
    Refused.

    `stdio` are descriptors that become 0, 1 and 2 of the process. `open_files` is its soft limit on
    descriptors. `core` is its soft limit on core dumps (None: the limit of this process). `base`
    maps names to NAME=VALUE. It is the environment of every job, and `env` overrides it.

    Every descriptor of the warden is close-on-exec, so no descriptor needs to be closed here.
    PR_SET_PDEATHSIG is not set. The child would have to set it in a preexec_fn, which needs a slow
    fork instead of vfork. Instead the worker, which is a subreaper too, kills the processes that a
    killed warden leaves. Resource limits do need a preexec_fn, because the warden cannot lower its
    own limits and raise them again.
    """
    if not argv:
        raise Refused(errno.EINVAL, "the command is empty")
    before_exec = setter(rlimits)
    try:
        args = tuple(encode(arg) for arg in argv)
        pairs = {**base, **{name: encode(f"{name}={value}") for name, value in env.items()}}
        paths = candidates(args[0], pairs)
        if any("=" in name or not name for name in env):
            raise ValueError("an environment name is empty or holds '='")
        failures, failures_in = os.pipe()
        try:
            ends = (stdio[0], -1, -1, stdio[1], -1, stdio[2], failures, failures_in)
            # The first two values mean: default signals, new session.
            rest = (True, True, -1, None, None, None, -1, before_exec)
            pid = fork_exec((args, paths, False, (), encode(cwd), list(pairs.values()), *ends, *rest), open_files, core)
            os.close(failures_in)
            failures_in = -1
            failure = b""
            # A successful exec closes the other end, so the read returns nothing. A child that
            # fails may write its failure in pieces.
            while part := os.read(failures, FAILURE_BYTES):
                failure += part
        finally:
            os.close(failures)
            if failures_in >= 0:
                os.close(failures_in)
    except TypeError:
        return spawn_by_popen(argv, cwd, pairs, before_exec=before_exec, stdio=stdio, open_files=open_files, core=core)
    except (ValueError, AttributeError) as error:  # a null byte in argv, env or cwd, or text that cannot be encoded
        raise Refused(errno.EINVAL, f"{argv[0]!r}: {error}") from error
    except OSError as error:
        raise Refused(error.errno or errno.EIO, f"{argv[0]}: cannot create a process: {error.strerror}") from error
    if not failure:
        return pid
    os.waitpid(pid, 0)
    kind, number, where = failure.split(b":", 2)
    code = int(number, 16)
    if where.startswith(b"noexec"):
        raise Refused(code, f"cannot enter the working directory {cwd}: {os.strerror(code)}")
    if kind == b"SubprocessError":
        raise Refused(errno.EPERM, f"{argv[0]}: the resource limits could not be set")
    raise Refused(code, explain(code, argv[0], cwd, paths))


def spawn_by_popen(
    argv: Sequence[str],
    cwd: str,
    pairs: Mapping[str, bytes],
    *,
    before_exec: Callable[[], None] | None,
    stdio: tuple[int, int, int],
    open_files: int,
    core: int | None,
) -> int:
    """Start a process with subprocess.Popen, for a Python in which the private function has
    changed. The result is the same, but import and call are slower."""
    import subprocess

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        if core is not None:
            resource.setrlimit(resource.RLIMIT_CORE, (core, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        if before_exec is not None:
            before_exec()

    try:
        process = subprocess.Popen(
            [encode(arg) for arg in argv],
            cwd=encode(cwd),
            env=dict(pair.split(b"=", 1) for pair in pairs.values()),
            stdin=stdio[0],
            stdout=stdio[1],
            stderr=stdio[2],
            close_fds=False,
            start_new_session=True,
            preexec_fn=limit,  # noqa: PLW1509 - one thread
        )
    except (ValueError, subprocess.SubprocessError) as error:
        raise Refused(errno.EINVAL, f"{argv[0]!r}: {error}") from error
    except OSError as error:
        code = error.errno or errno.EIO
        if error.filename == encode(cwd):
            raise Refused(code, f"cannot enter the working directory {cwd}: {os.strerror(code)}") from error
        raise Refused(code, explain(code, argv[0], cwd, candidates(encode(argv[0]), pairs))) from error
    process.returncode = 0  # Popen must not reap the process, because the warden does
    return process.pid
