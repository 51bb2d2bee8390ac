"""`titan top`: workers, queues and runs on the whole terminal, as they change."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator, Sequence

import click

from titan.cli.cells import ago_text
from titan.cli.options import master_option
from titan.cli.session import open_client
from titan.cli.signals import interrupt_on_sigterm
from titan.cli.table import cut, has_colours, table_lines
from titan.cli.tally import done_text
from titan.cli.terminal import Raw, one_line
from titan.cli.workers import worker_table
from titan.errors import TitanError
from titan.sdk.client import Client
from titan.sdk.cluster_changes import ClusterChange
from titan.sdk.status import RunSummary, WorkerStatus

REDRAW_S = 1.0
"""Seconds after which ages are drawn again if nothing changed."""
MOST_RUNS = 1000
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
"""Control sequences: the terminal's other screen without a cursor, and back."""


class ClusterView:
    """The newest known state of a cluster."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.problem = ""
        """Reason why the state may be old; "" if it is current."""
        self._lock = threading.Lock()
        self._runs: dict[str, RunSummary] = {}
        self._workers: dict[str, WorkerStatus] = {}
        self._newest: ClusterChange | None = None

    def take(self, change: ClusterChange) -> None:
        with self._lock:
            if change.first:
                self._runs.clear()
                self._workers.clear()
            self._runs |= {run.run: run for run in change.runs}
            for old in sorted(self._runs)[: max(0, len(self._runs) - MOST_RUNS)]:
                del self._runs[old]
            self._workers |= {worker.name: worker for worker in change.workers}
            for name in change.gone:
                self._workers.pop(name, None)
            self._newest = change

    def lines(self, columns: int, rows: int, now: float, *, colour: bool = False) -> list[str]:
        """Return at most `rows` lines of at most `columns` columns."""
        with self._lock:
            runs, workers, newest = list(self._runs.values()), list(self._workers.values()), self._newest
        if newest is None:
            return [cut(self.problem or f"titan top: waiting for the master at {self.address}", columns, middle=False)]
        alive = [worker for worker in workers if worker.state == "ALIVE"]
        slots, busy = sum(w.slots for w in alive), sum(min(w.held, w.slots) for w in alive)
        head = [
            f"master {self.address}: {len(alive):,} of {len(workers):,} workers alive, {busy:,} of {slots:,} slots busy",
            f"{newest.running:,} runs open, {newest.queued:,} jobs queued",
            *([f"{newest.gates:,} gates wait for a decision: titan gates"] if newest.gates else []),
            *([f"{newest.dead:,} dead jobs: titan dlq list"] if newest.dead else []),
            *(f"! {ago_text(at, now)}: {text}" for at, text in newest.notices[-3:]),
            *([f"! {self.problem}"] if self.problem else []),
        ]
        found = [cut(one_line(line), columns, middle=False) for line in head]
        workers.sort(key=lambda worker: (worker.state != "ALIVE", worker.name))
        queues: list[tuple[str, ...]] = [
            (queue.demand or f"only on {queue.worker}", f"{queue.jobs:,}", ago_text(queue.first_at or 0.0, now))
            for queue in newest.queues
        ]
        runs.sort(key=lambda run: run.run, reverse=True)
        runs.sort(key=lambda run: run.over)
        listed: list[tuple[str, ...]] = [(r.run, r.dag, r.state, done_text(r), ago_text(r.submitted_at, now)) for r in runs]
        sections: list[tuple[tuple[str, ...], list[tuple[str, ...]], tuple[str, ...], str]] = [
            (*worker_table(workers, now), ("HOST", "TAKEN"), "workers"),
            (("DEMAND", "QUEUED", "FIRST"), queues, (), "queues"),
            (("RUN", "DAG", "STATE", "DONE", "SUBMITTED"), listed, (), "runs"),
        ]
        filled = [section for section in sections if section[1]]
        room = _share([len(section[1]) for section in filled], rows - len(found) - 3 * len(filled) - 1)
        for (names, cells, spare, kind), most in zip(filled, room, strict=True):
            found += ["", *table_lines(names, cells[:most], columns, spare=spare, colour=colour)]
            if len(cells) > most:
                found.append(f"{len(cells) - most:,} more {kind}")
        return [*found[: rows - 1], "q ends"]


def _share(wanted: Sequence[int], room: int) -> list[int]:
    """Divide lines among sections: no section gets more than it wants, and the last gets the
    rest.

    >>> _share([2, 50, 50], 30)
    [2, 14, 14]
    """
    lines = [0] * len(wanted)
    for rest, i in zip(range(len(wanted), 0, -1), sorted(range(len(wanted)), key=wanted.__getitem__), strict=True):
        lines[i] = min(wanted[i], max(1, room // rest))
        room -= lines[i]
    return lines


@click.command()
@master_option
def top(master: str | None) -> None:
    """Show workers, queues and runs, live. q or Ctrl-C ends it."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise click.UsageError("titan top needs a terminal: for programs there is titan status --json")
    interrupt_on_sigterm()
    with open_client(master) as client:
        view = ClusterView(client.address)
        changed = threading.Event()
        threading.Thread(target=_follow, args=(client, view, changed), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt), _whole_screen() as out:
            while not _draws_until_quit(view, changed, out):
                pass


def _follow(client: Client, view: ClusterView, changed: threading.Event) -> None:
    def away(is_away: bool) -> None:
        view.problem = f"the master at {client.address} does not answer: this is its last known state" if is_away else ""
        changed.set()

    client.on_away(away)
    while True:
        try:
            for change in client.cluster_changes():
                view.take(change)
                changed.set()
        except TitanError as error:  # the master is away for longer than a client waits
            view.problem = str(error)
            changed.set()
            time.sleep(REDRAW_S)


def _draws_until_quit(view: ClusterView, changed: threading.Event, out: Raw) -> bool:
    """Draw once, and wait for the next reason to draw. Return True if the user quits."""
    changed.clear()
    size = shutil.get_terminal_size()
    lines = view.lines(size.columns, size.lines, time.time(), colour=has_colours())
    out.write("\x1b[H" + "".join(f"{line}\x1b[K\r\n" for line in lines[:-1]) + f"{lines[-1]}\x1b[K\x1b[J")
    out.flush()
    until = time.monotonic() + REDRAW_S
    while time.monotonic() < until and not changed.is_set():
        if select.select([sys.stdin], [], [], 0.1)[0] and os.read(sys.stdin.fileno(), 64).lower()[:1] in (b"q", b"\x03", b""):
            return True
    return False


@contextlib.contextmanager
def _whole_screen() -> Iterator[Raw]:
    """Use the terminal's other screen, and read single keys."""
    out, before = Raw(sys.stdout), termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        out.write(_ENTER)
        yield out
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        out.write(_LEAVE)
        out.flush()
