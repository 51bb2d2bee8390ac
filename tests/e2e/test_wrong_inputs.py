"""Wrong inputs of a new user. The error of each is one line that names the fix, never a traceback.

The same line comes on a terminal of 80 columns, in the POSIX locale, as another user, on a
read-only and on a full file system, because the input is checked before anything is written. The
line is one line of text however long it is: nothing in it is cut or wrapped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import struct
import subprocess
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support import forked_titan
from support.cluster import QUIET, Cluster, cluster
from support.users import as_nobody
from titan import DAG, Job

FILES = {
    "s.py": "print(1)\n",
    "s.txt": "text\n",
    "ok.yaml": "name: x\njobs:\n  - id: a\n    command: 'true'\n",
    "typo.yaml": "name: x\njobs:\n  - id: a\n    comand: 'true'\n",
    "cycle.yaml": "name: x\njobs:\n  - {id: a, command: 'true', depends_on: [b]}\n  - {id: b, command: 'true', depends_on: [a]}\n",
    "tab.yaml": "name: x\njobs:\n\t- id: a\n",
    "unknown.yaml": "name: x\njobs:\n  - id: a\n    command: echo ${params.nothing}\n",
    "parent.yaml": "name: x\njobs:\n  - id: a\n    command: 'true'\n    depends_on: [nobody]\n",
    "twice.yaml": "name: x\njobs:\n  - {id: a, command: 'true'}\n  - {id: a, command: 'true'}\n",
    "no-file.yaml": "name: x\njobs:\n  - {id: a, file: gone.py}\n",
    "empty.yaml": "",
}


class Wrong(NamedTuple):
    words: tuple[str, ...]
    code: int
    fix: str
    late: bool = False
    """True if the home is opened before the input is checked. On a file system without room or
    permission the error is then about the home."""


RUN = ("run", "--home", "h")
NO_MASTER = "start one with `titan up`, or give its address with --master or TITAN_MASTER"
ALONE = [
    Wrong((*RUN, "nosuch.py"), 2, "file nosuch.py does not exist: check the path"),
    Wrong((*RUN, "no\nsuch.py"), 2, "such.py does not exist: check the path"),
    Wrong((*RUN, "missing.yaml"), 2, "does not exist: check the path"),
    Wrong((*RUN, "dir"), 2, "pass a pipeline, a script or a command"),
    Wrong((*RUN, ""), 2, "pass a pipeline, a script or a command"),
    Wrong((*RUN, "s.txt"), 2, "to run it, write ./s.txt"),
    Wrong((*RUN, "--", "no-such-command"), 2, "check the name, or its folder in PATH", late=True),
    Wrong((*RUN, "typo.yaml"), 2, "typo.yaml:4: comand: unknown key: did you mean 'command'?"),
    Wrong((*RUN, "cycle.yaml"), 2, "cycle"),
    Wrong((*RUN, "tab.yaml"), 2, "tab.yaml:3: indentation: contains a tab: YAML needs spaces"),
    Wrong((*RUN, "unknown.yaml"), 2, "unknown.yaml:4: command: ${params.nothing}"),
    Wrong((*RUN, "parent.yaml"), 2, "parent.yaml:5: depends_on"),
    Wrong((*RUN, "twice.yaml"), 2, "twice.yaml:4:"),
    Wrong((*RUN, "no-file.yaml"), 2, "no-file.yaml:3: file: 'gone.py': does not exist in "),
    Wrong((*RUN, "empty.yaml"), 2, "empty.yaml"),
    Wrong((*RUN, "--worker", "3", "--", "true"), 2, "Did you mean '--workers'?"),
    Wrong((*RUN, "--env", "NOT_THERE", "--", "true"), 2, "write NOT_THERE=VALUE"),
    Wrong((*RUN, "--limit", "memory", "--", "true"), 2, "write NAME=AMOUNT, for example memory=512MiB"),
    Wrong((*RUN, "--limit", "memory=4XB", "--", "true"), 2, "such as 512MiB"),
    Wrong((*RUN, "--memory", "4XB", "--", "true"), 2, "such as 512MiB"),
    Wrong((*RUN, "--log-limit", "5", "--", "true"), 2, "must be 4 KiB to"),
    Wrong((*RUN, "--name", "a b", "--", "true"), 2, "an id is 1 to 128 of"),
    Wrong((*RUN, "--timeout", "-5", "--", "true"), 2, "give a number of seconds or a duration such as 90s"),
    Wrong((*RUN, "--retries", "-1", "--", "true"), 2, "0<=x<=1000"),
    Wrong((*RUN, "--requirement", "a b", "--", "true"), 2, "a capability is 1 to 64 of"),
    Wrong((*RUN, "--python", "nowhere", "s.py"), 2, "does not exist", late=True),
    Wrong((*RUN, "--project", "--cwd", "/tmp", "--", "ls"), 2, "leave one out"),
    Wrong((*RUN, "--param", "lr", "ok.yaml"), 2, "--param lr: write --param NAME=VALUE"),
    Wrong((*RUN, "--param", "lr=1", "ok.yaml"), 2, "has no parameter"),
    Wrong(("run", "--home", "s.txt", "--", "true"), 2, "s.txt is a file: give a folder"),
    Wrong(("submit", "--", "true"), 3, NO_MASTER),
    Wrong(("attach", "nope"), 3, NO_MASTER),
    Wrong(("disk",), 3, NO_MASTER),
    Wrong(("status", "--master", "localhost:http"), 2, "give HOST:PORT, for example 127.0.0.1:9090"),
    Wrong(("status", "--master", "http://127.0.0.1:9090"), 2, "give HOST:PORT, for example 127.0.0.1:9090"),
    Wrong(("status", "--home", "dir"), 2, "dir is not the home of a cluster: dir/store does not exist: choose another with --home"),
    Wrong(("statsu",), 2, "Did you mean 'status'?"),
    Wrong(("logs",), 2, "Missing argument 'RUN|RUN/JOB'"),
    Wrong(("push", "nosuch"), 2, "nosuch does not exist: check the path"),
    Wrong(("secret", "set", "PATH", "--home", "h"), 2, "choose another name"),
    Wrong(("context", "run", "x"), 2, "use `titan context run` (quote an argument that has blanks)"),
    Wrong(("journal", "verify", "--home", "nowhere"), 2, "pass the master's home as --home"),
    Wrong(("replay",), 2, "pass either --at TIME|SEQ"),
    Wrong(("simulate", "missing.yaml"), 2, "does not exist: check the path"),
    Wrong(("master", "--home", "h", "--scale", "x"), 2, "give CAPABILITY=MIN..MAX, for example GENERAL=0..8"),
    Wrong(("master", "--home", "h", "--port", "99999"), 2, "0<=x<=65535"),
    Wrong(("master", "--home", "h", "--fsync", "sometimes"), 2, "'always', 'everysec', 'no'"),
    Wrong(("master", "--home", "h", "--host", "0.0.0.0"), 2, "Give --insecure if that network is yours alone"),
    Wrong(("worker", "--home", "h", "--slots", "0"), 2, "1<=x<=65536"),
    Wrong(("worker", "--home", "h", "--keep", "5"), 2, "give a unit, as in 5s or 7d"),
    Wrong(("worker", "--home", "h", "--master", "http://127.0.0.1:9090"), 2, "give HOST:PORT, for example 127.0.0.1:9090"),
]
"""Wrong inputs of a user without a cluster."""
ASKING = [
    Wrong(("run", "okk.yaml"), 2, "does not exist: check the path"),
    Wrong(("schedule", "add", "s", "ok.yaml", "--every", "0"), 2, "an interval is at least 1 second"),
    Wrong(("schedule", "add", "s", "ok.yaml"), 2, "--every"),
    Wrong(("schedule", "add", "s", "ok.yaml", "--cron", "61 * * * *"), 2, "61"),
    Wrong(("status", "nope"), 2, "there is no run 'nope', and no DAG of that name has a run: `titan runs` lists them"),
    Wrong(("logs", "nope"), 2, "`titan runs` lists them"),
    Wrong(("logs", "last/nope"), 2, "has no job 'nope': `titan status "),
    Wrong(("result", "nope"), 2, "`titan runs` lists them"),
    Wrong(("wait", "nope"), 2, "`titan runs` lists them"),
    Wrong(("attach", "nope"), 2, "`titan runs` lists them"),
    Wrong(("rerun", "nope"), 2, "`titan runs` lists them"),
    Wrong(("cancel", "nope"), 2, "`titan runs` lists them"),
    Wrong(("why", "last/nope"), 2, "has no job 'nope': `titan status "),
    Wrong(("dlq", "retry", "nope/a"), 2, "`titan"),
    Wrong(("approve", "nope/gate"), 2, "`titan"),
    Wrong(("stop", "nope/web"), 2, "`titan"),
    Wrong(("workers", "drain", "nobody"), 2, "`titan workers`"),
    Wrong(("artifact", "get", "nope", "out"), 2, "`titan artifacts"),
    Wrong(("secret", "remove", "NOPE"), 2, "titan secret set NOPE"),
    Wrong(("run", "--secret", "NOPE", "--", "true"), 2, "titan secret set NOPE"),
    Wrong(("run", "--requirement", "GPUU", "--timeout", "abc", "--", "true"), 2, "such as 90s"),
    Wrong(("cancel",), 2, "--all"),
]
"""Wrong inputs of a user with a cluster."""
UNUSABLE = "choose another with --home"
NEED_A_HOME = [
    ("run", "--home", "h", "--", "true"),
    ("up", "--port", "0", "--home", "h"),
    ("master", "--port", "0", "--home", "h"),
    ("worker", "--master", "127.0.0.1:1", "--home", "h"),
    ("store", "--port", "0", "--home", "h"),
]


class Place(NamedTuple):
    """A place where a user types a command."""

    name: str
    folder: Path
    server: Path
    terminal: bool = False

    @property
    def can_write(self) -> bool:
        return self.name in ("pipes", "terminal")

    def type(self, words: tuple[str, ...], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run `titan WORDS` in the POSIX locale and 80 columns."""
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
        env = {**keep, "LANG": "C", "LC_ALL": "C", **env}
        if self.terminal:
            return _on_terminal(words, self.server, self.folder, env)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, Path(os.devnull).open("rb") as none:
            streams = [file.fileno() for file in (none, out, err)]
            code = forked_titan.call(self.server, words, self.folder, {**env, "COLUMNS": "80"}, streams)
            texts = [os.pread(fd, 1 << 20, 0).decode() for fd in streams[1:]]
        return subprocess.CompletedProcess(words, code, *texts)


def _on_terminal(words: tuple[str, ...], server: Path, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command in a terminal of 80 columns. The result has all its output as stderr."""
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        code = forked_titan.call(server, words, folder, {**env, "TERM": "xterm"}, [slave] * 3)
        os.set_blocking(master, False)
        text = b""
        with contextlib.suppress(BlockingIOError, OSError):
            while part := os.read(master, 1 << 16):
                text += part
    finally:
        os.close(master)
        os.close(slave)
    return subprocess.CompletedProcess(words, code, "", text.decode().replace("\r\n", "\n"))


_MOUNT = """\
folder=$1 options=$2 then=$3; shift 3
cp -r "$folder" "$folder.files" && mount -t tmpfs -o "$options" none "$folder" && cp -r "$folder.files/." "$folder" || exit 99
(cd "$folder" && eval "$then") && exec "$@"
"""
MOUNTED = ("unshare", "-m", "sh", "-c", _MOUNT, "sh")
"""Command that runs another one with its own file system at FOLDER: MOUNTED FOLDER OPTIONS THEN."""


@pytest.fixture(scope="module")
def places() -> Iterator[list[Place]]:
    """Provide a shell with pipes, a terminal, another user, a read-only and a full file system."""
    if os.geteuid():
        pytest.skip("needs the right to mount a disk and to become another user")
    with tempfile.TemporaryDirectory(prefix="t") as scratch, contextlib.ExitStack() as stack:
        base = Path(scratch)
        base.chmod(0o755)
        files = base / "files"
        (files / "dir").mkdir(parents=True)
        for name, text in FILES.items():
            (files / name).write_text(text)
        prefixes: dict[str, list[str]] = {
            "pipes": [],
            "another user": as_nobody(base / "python"),
            "read only": [*MOUNTED, str(files), "size=1m", "mount -o remount,ro ."],
            "full": [*MOUNTED, str(files), "size=256k", "! head -c 1000000 /dev/zero 2>/dev/null >x"],
        }
        made = []
        for name, prefix in prefixes.items():
            folder = base / name.replace(" ", "-")
            sockets = base / f"{folder.name}.sockets"
            sockets.mkdir()
            shutil.copytree(files, folder)
            start = [part.replace(str(files), str(folder)) for part in prefix]
            made.append(Place(name, folder, stack.enter_context(forked_titan.server(sockets, start, errors_only=True))))
        yield [*made, made[0]._replace(name="terminal", terminal=True)]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Provide a cluster with a run of one job."""
    with cluster(tmp_path_factory.mktemp("asked") / "c", "w1", settings=QUIET) as c:
        assert c.client.submit(DAG("d", [Job("a", command="true")])).wait(timeout=60).ok
        yield c


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error line. Fail if there are several."""
    assert "Traceback" not in done.stderr and "CRITICAL" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith(("titan: ", "Error: "))]
    assert len(lines) == 1, done.stderr
    assert done.stderr.isascii(), done.stderr
    return lines[0]


def check(places: list[Place], wrong: Wrong, env: dict[str, str]) -> None:
    lines = set()
    for place in places:
        done = place.type(wrong.words, env)
        line = only_line(done)
        if wrong.late and not place.can_write:
            assert (done.returncode, UNUSABLE in line) == (74, True), (place.name, done)
            continue
        assert done.returncode == wrong.code and wrong.fix in line, (place.name, done)
        lines.add(line.replace(str(place.folder), ""))
    assert len(lines) == 1, lines


@pytest.mark.parametrize("command", NEED_A_HOME, ids=[" ".join(command) for command in NEED_A_HOME])
def test_a_home_that_cannot_be_written_is_one_line(places: list[Place], command: tuple[str, ...]) -> None:
    for place in places:
        if not place.can_write:
            done = place.type(command, {})
            assert (done.returncode, UNUSABLE in only_line(done)) == (74, True), (place.name, done)


@pytest.mark.parametrize("wrong", ALONE, ids=[" ".join(wrong.words) for wrong in ALONE])
def test_a_wrong_input_is_one_line_that_names_the_fix(places: list[Place], wrong: Wrong) -> None:
    check(places, wrong, {} if "--home" in wrong.words else {"TITAN_MASTER": "127.0.0.1:1"})


@pytest.mark.parametrize("wrong", ASKING, ids=[" ".join(wrong.words) for wrong in ASKING])
def test_a_wrong_request_is_one_line_that_names_the_fix(places: list[Place], asked: Cluster, wrong: Wrong) -> None:
    check(places, wrong, {"TITAN_MASTER": asked.address})
