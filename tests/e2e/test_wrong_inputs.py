"""Wrong inputs of somebody who is new: each is one line that names the fix, and never a traceback;
in 80 columns, in the POSIX locale, as another user, on a read-only and on a full file system."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.cluster import TITAN, Cluster

PLAIN = {"COLUMNS": "80", "LANG": "C", "LC_ALL": "C"}
FILES = {
    "s.py": "print(1)\n",
    "s.txt": "text\n",
    "typo.yaml": "name: x\njobs:\n  - id: a\n    comand: 'true'\n",
    "cycle.yaml": "name: x\njobs:\n  - {id: a, command: 'true', depends_on: [b]}\n  - {id: b, command: 'true', depends_on: [a]}\n",
    "tab.yaml": "name: x\njobs:\n\t- id: a\n",
}
RUN = ("run", "--home", "h")
WRONG: list[tuple[tuple[str, ...], int, str]] = [
    ((*RUN, "nosuch.py"), 2, "file nosuch.py does not exist"),
    ((*RUN, "missing.yaml"), 2, "does not exist: check the path"),
    ((*RUN, "dir"), 2, "pass a pipeline, a script or a command"),
    ((*RUN, ""), 2, "pass a pipeline, a script or a command"),
    ((*RUN, "s.txt"), 2, "to run it, write ./s.txt"),
    ((*RUN, "--", "no-such-command"), 2, "check the name, or its folder in PATH"),
    ((*RUN, "typo.yaml"), 2, "typo.yaml:4: comand: unknown key: did you mean 'command'?"),
    ((*RUN, "cycle.yaml"), 2, "cycle"),
    ((*RUN, "tab.yaml"), 2, "tab.yaml:3: indentation: contains a tab: YAML needs spaces"),
    ((*RUN, "--worker", "3", "--", "true"), 2, "Did you mean '--workers'?"),
    ((*RUN, "--env", "NOT_THERE", "--", "true"), 2, "write NOT_THERE=VALUE"),
    ((*RUN, "--limit", "memory", "--", "true"), 2, "write NAME=AMOUNT, for example memory=512MiB"),
    ((*RUN, "--limit", "memory=4XB", "--", "true"), 2, "such as 512MiB"),
    ((*RUN, "--memory", "4XB", "--", "true"), 2, "such as 512MiB"),
    ((*RUN, "--log-limit", "5", "--", "true"), 2, "must be 4 KiB to"),
    ((*RUN, "--name", "a b", "--", "true"), 2, "an id is 1 to 128 of"),
    ((*RUN, "--timeout", "-5", "--", "true"), 2, "give a number of seconds or a duration such as 90s"),
    ((*RUN, "--retries", "-1", "--", "true"), 2, "0<=x<=1000"),
    ((*RUN, "--requirement", "a b", "--", "true"), 2, "a capability is 1 to 64 of"),
    ((*RUN, "--python", "nowhere", "s.py"), 2, "does not exist"),
    ((*RUN, "--project", "--cwd", "/tmp", "--", "ls"), 2, "leave one out"),
    (("submit", "--", "true"), 3, "start one with `titan up`, or give its address"),
    (("status", "--master", "localhost:http"), 2, "give HOST:PORT, for example 127.0.0.1:9090"),
    (("attach", "nope"), 3, "start one with `titan up`, or give its address"),
    (("statsu",), 2, "Did you mean 'status'?"),
    (("journal", "verify", "--home", "nowhere"), 2, "pass the master's home as --home"),
    (("replay",), 2, "pass either --at TIME|SEQ"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    (made / "dir").mkdir(parents=True)
    for name, text in FILES.items():
        (made / name).write_text(text)
    return made


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error, which has to be the only one."""
    assert "Traceback" not in done.stderr and "CRITICAL" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith(("titan: ", "Error: "))]
    assert len(lines) == 1, done.stderr
    assert done.stderr.isascii(), done.stderr
    return lines[0]


@pytest.mark.parametrize(("words", "code", "fix"), WRONG, ids=[" ".join(words) for words, _, _ in WRONG])
def test_a_wrong_input_is_one_line_that_names_the_fix(
    c: Cluster, folder: Path, words: tuple[str, ...], code: int, fix: str
) -> None:
    nobody = {**PLAIN, "TITAN_MASTER": "127.0.0.1:1"}
    done = c.cli(*words, cwd=folder, env=PLAIN if words[0] == "run" else nobody)
    assert done.returncode == code, done.stderr
    assert fix in only_line(done)


# -- places where nothing can be written -----------------------------------------------------------
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
READS = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
"""The interpreter is found wherever it is, and nothing can be written."""
COMMANDS = (
    ("run", "--home", "h", "--", "true"),
    ("up", "--port", "0", "--home", "h"),
    ("worker", "--master", "127.0.0.1:1", "--home", "h"),
)


def in_place(place: Path, options: str, before: str, command: tuple[str, ...]) -> list[str]:
    script = f'mount -t tmpfs -o {options} none {place} && cd {place} && {before} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", *TITAN, *command]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount a disk and to become another user")
@pytest.mark.parametrize("where", ["another user", "read only", "full"])
def test_a_home_that_cannot_be_written_is_one_line(c: Cluster, tmp_path: Path, where: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    for command in COMMANDS:
        if where == "another user":
            line = [*NOBODY, *READS, *TITAN, *command]
        elif where == "read only":
            line = in_place(place, "size=1m", f"mount -o remount,ro {place}", command)
        else:
            line = in_place(place, "size=64k", "! head -c 100000 /dev/zero 2>/dev/null >x", command)
        done = subprocess.run(
            line,
            cwd=place,
            env=c.environment(PLAIN),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if "unshare" in done.stderr or "setpriv" in done.stderr:
            pytest.skip(done.stderr)
        assert done.returncode == 74, done.stderr
        assert "choose another with --home" in only_line(done), command
