"""The command `titan` from a fork of a process that has imported it already: it starts in about 30
ms instead of 400 ms.

This speeds up tests that type many commands. A server receives arguments, folder, environment and
the three standard streams, and forks. The fork runs `titan.cli.main`. The command that `install`
writes takes the place of `titan` in a PATH.

    python -m support.forked_titan DESCRIPTOR   # the server, on a listening socket that it inherits

`errors_only` is for commands that end with an error. Their forks exit without freeing the objects
of the interpreter, which takes ten times as long as such a command.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

COMMAND = """\
#!{python} -IS
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as it:
    it.connect({path!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(it, [len(request).to_bytes(4, "big")], [0, 1, 2])
    it.sendall(request)
    code = it.recv(1)
sys.exit(code[0] if code else 70)
"""


@contextlib.contextmanager
def server(folder: Path, prefix: Sequence[str] = (), *, errors_only: bool = False) -> Iterator[Path]:
    """Yield the socket of a server that accepts. `folder` must be short: the path of a socket has
    107 bytes at most. The commands run as the server does, which is started by the command
    `prefix`: as another user, or with other file systems."""
    path = folder / "titan.socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(16)
        command = [*prefix, sys.executable, "-m", "support.forked_titan", str(listening.fileno()), *["errors"] * errors_only]
        search = os.pathsep.join(str(part) for part in (Path(__file__).parents[1], *filter(None, [os.environ.get("PYTHONPATH")])))
        env = {**os.environ, "PYTHONPATH": search}
        running = subprocess.Popen(command, pass_fds=[listening.fileno()], env=env, stdin=subprocess.DEVNULL)
    try:
        yield path
    finally:
        running.kill()
        running.wait()


def install(folder: Path, path: Path) -> None:
    """Write the command `titan` that uses the server at `path`."""
    command = folder / "titan"
    command.write_text(COMMAND.format(python=sys.executable, path=str(path)))
    command.chmod(0o755)


def call(path: Path, args: Sequence[str], folder: Path, env: Mapping[str, str], streams: Sequence[int]) -> int:
    """Run `titan ARGS` in a fork of the server at `path`, with descriptors as its three standard
    streams. Return its exit code."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(60.0)
        asking.connect(os.fspath(path))
        request = json.dumps([list(args), os.fspath(folder), dict(env)]).encode()
        socket.send_fds(asking, [len(request).to_bytes(4, "big")], list(streams))
        asking.sendall(request)
        code = asking.recv(1)
    assert code, "the server has ended"
    return code[0]


def serve(listening: socket.socket) -> None:
    """Return in the forks, each of which is to run the command. An intermediate process sends the
    exit code of the fork to the caller.

    The server ends within a second of its parent.
    """
    parent = os.getppid()
    listening.settimeout(1.0)
    while True:
        try:
            asking, _ = listening.accept()
        except TimeoutError:
            if os.getppid() != parent:
                sys.exit()
            continue
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if os.fork() == 0:
            listening.close()
            break
        asking.close()
    with asking:
        head, streams, _, _ = socket.recv_fds(asking, 4, 3)
        data = b""
        while len(data) < int.from_bytes(head, "big"):
            data += asking.recv(1 << 20)
        pid = os.fork()
        if pid:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with contextlib.suppress(BrokenPipeError):
                asking.sendall(bytes([code if code >= 0 else 128 - code]))
            os._exit(0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    args, folder, environment = json.loads(data)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["titan", *args]


def import_all() -> None:

    import titan.cli
    import titan.sdk

    for package in (titan.cli, titan.sdk):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def run_and_exit(command: Callable[[], NoReturn]) -> NoReturn:
    """Run a command that starts no threads, and exit at once."""
    try:
        command()
    except SystemExit as e:
        assert isinstance(e.code, int), e.code
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(e.code)


if __name__ == "__main__":
    from titan.cli import main

    import_all()
    gc.freeze()
    errors_only = len(sys.argv) > 2
    serve(socket.socket(fileno=int(sys.argv[1])))
    if errors_only:
        run_and_exit(main)
    main()
