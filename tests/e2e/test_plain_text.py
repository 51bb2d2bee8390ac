"""Text of other users is shown as plain text in tables, messages, errors and the live display. The
output of jobs is printed unchanged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.cluster import QUIET, TITAN, Cluster, cluster
from support.terminal import in_terminal
from support.waiting import until
from titan import DAG, Job

HIDE = "harmless\x1b[8m\x07 rm -rf /\x1b[2K\r\u202edrowssap\u200b\x9b31m"
SHOWN = "harmless\\x1b[8m\\x07 rm -rf /\\x1b[2K\\x0d\\u202edrowssap\\u200b\\x9b31m"


def assert_plain(*texts: str) -> None:
    for text in texts:
        bad = {c for c in text if not c.isprintable() and c not in "\n\t"}
        assert not bad, (bad, text)


def raw(c: Cluster, *args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*TITAN, *args], capture_output=True, env=c.environment(), cwd=c.base, timeout=60, check=False)


def test_text_of_other_users_is_printed_plain(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        gate = Job("gate", type="gate", message=HIDE + "\nline two  COMPLETED")
        says = Job("says", command='titan context status "$1"; exit 3', args=[HIDE], retries=0)
        loud = Job("loud", command="printf '\\033[31mred\\033[0m\\r\\001'")
        run = c.client.submit(DAG("d", [gate, loud, says]))
        until(c.client.gates, "the gate is open")
        until(lambda: {job.state for job in run.status().jobs} == {"PAUSED", "COMPLETED", "DEAD"}, "both runs are over")
        gates, status = c.cli("gates"), c.cli("status", run.id)
        assert_plain(gates.stdout, status.stdout)
        assert SHOWN in gates.stdout and "harmless [8m" in status.stdout
        assert len(gates.stdout.splitlines()) == 2, "no line is forged"
        for words in (
            ("status", HIDE),
            ("logs", f"{run.id}/{HIDE}"),
            ("submit", f"{HIDE}.py"),
            (HIDE,),
            ("run", "--requirement", HIDE, "x"),
        ):
            done = raw(c, *words)
            assert done.returncode
            assert_plain(done.stdout.decode(), done.stderr.decode())
        assert raw(c, "logs", f"{run.id}/loud").stdout == b"\x1b[31mred\x1b[0m\r\x01"
        (c.base / "loud.sh").write_text(r"printf '\033[31mred\033[0m\r\001'")
        assert raw(c, "run", "--quiet", "loud.sh").stdout == b"\x1b[31mred\x1b[0m\r\x01"


def test_names_are_no_markup_in_the_live_display(tmp_path: Path) -> None:
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text("name: '[red]x[/blue]'\njobs:\n  - {id: 'a[link=x]', command: 'true'}\n  - {id: b, command: 'true'}\n")
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        shown = in_terminal([*TITAN, "run", str(pipeline)], env=c.environment({"TERM": "xterm"}), cwd=c.base)
        assert "[red]x[/blue]" in shown
        assert "\x1b[" in shown, "the display refreshes by itself"


INHERITED = """
import os, sys, tempfile
file = tempfile.TemporaryFile()
os.dup2(file.fileno(), 1)
sys.stdout = open(1, "w", encoding="ascii", closefd=False)
sys.stdout.write("x")
sys.stdout.flush()
reading, writing = os.pipe()
os.dup2(writing, 1)
from titan.cli.terminal import make_plain
make_plain()
print("caf\\u00e9", flush=True)
sys.stderr.write(os.read(reading, 100).decode())
"""


def test_a_stream_whose_descriptor_became_a_pipe_is_made_plain() -> None:
    done = subprocess.run([sys.executable, "-c", INHERITED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "caf\\xe9\n"), done
