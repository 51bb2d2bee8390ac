"""Interpreters that jobs name with `python`. Each has a warm warden, which is started for the
interpreter's first script.

Before its first script an interpreter is checked. `CHECK` finds out whether it runs, and its Python
version. `probe` finds out whether its warden can fork a script. Scripts wait for both results,
about 50 ms. If the path is not a Python interpreter, its scripts are refused as final, because no
retry helps. If the warden does not start or cannot fork scripts (see `OLDEST`), each script runs in
a new process of the interpreter.

A virtual environment can change under a running worker. If the interpreter, pyvenv.cfg or a package
folder has changed since the start of a warden, that warden gets no more scripts, and a new warden
starts. A warden without work for `IDLE_S` is ended. If a further interpreter needs a warden and
there are `MOST`, the warden that has been idle longest is ended. If none of them is idle, scripts
of the further interpreter run in new processes.

Owns these wardens and the scripts that wait for them. This module must not know the purpose of a
script.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

from titan.errors import EnvironmentFault
from titan.worker.isolated import probe
from titan.worker.processes.orders import ProcessOptions, Script
from titan.worker.processes.reports import Exited, Lost, Output, Refused, Report, Sink
from titan.worker.processes.warden_link import WardenLink

log = logging.getLogger("titan.worker")

OLDEST = (3, 9)
"""Oldest Python version that the warden and its forks support."""
MOST = 8
IDLE_S = 600.0
SETTLE_S = 20.0
FIRST_KEY = -(1 << 40)
"""Keys of interpreter checks are below this number. Keys of function runners are above it."""
PROBE_KEY = 0
"""Key of the probe script. No attempt has this key, because no lease is 0."""
# Program that runs on any Python from 2.6 on. It needs the site module, which adds the package
# folders to sys.path.
CHECK = """\
import sys
name = getattr(getattr(sys, "implementation", None), "name", "")
folders = [folder for folder in sys.path if folder.endswith("-packages")]
sys.stdout.write("\\n".join(["titan", name, "%d.%d" % sys.version_info[:2]] + folders))
"""

Begin = Callable[[WardenLink | None, str], None]
"""begin(link, executable) starts the script in a fork of the link's warden. If `link` is None, the
executable runs the script in a new process."""
Stamp = tuple[int, ...]


class NoPython(Exception):
    """The interpreter that a job names cannot be executed. The message says how to fix that."""


def executable_of(python: str) -> tuple[str, os.stat_result]:
    """Return the executable of `python` and its status. `python` is the path of an interpreter or
    of a virtual environment's folder. Raises NoPython."""
    try:
        status = os.stat(python)
        if not stat.S_ISDIR(status.st_mode):
            return python, _executable(python, status)
        inside = os.path.join(python, "bin", "python")
        return inside, _executable(inside, os.stat(inside))
    except OSError as error:
        raise NoPython(_explain(python, error)) from None


def _executable(path: str, status: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.X_OK):
        raise NoPython(f"python: {path} is not a program that this worker may execute")
    return status


def _explain(python: str, error: OSError) -> str:
    if error.errno != errno.ENOENT:
        return f"python: {python} cannot be read on this worker: {error.strerror}"
    if os.path.isdir(python) and not os.path.lexists(os.path.join(python, "bin", "python")):
        return f"python: {python} is a folder without bin/python on this worker: create it with python3 -m venv {python}"
    if os.path.lexists(python):
        return f"python: {python} links to a Python that no longer exists on this worker: create the virtual environment again"
    return (
        f"python: {python} does not exist on this worker: install it there, or name an interpreter or the folder of a virtual "
        "environment that each worker with the job's capability has"
    )


class _Refuse(Protocol):
    def __call__(self, lease: int, text: str, *, final: bool) -> None: ...


class _Interpreter:
    def __init__(self, executable: str, key: int) -> None:
        self.executable = executable
        self.key = key
        """Key of the interpreter's check."""
        self.output = {1: b"", 2: b""}
        self.watched: list[str] = [executable, os.path.join(os.path.dirname(os.path.dirname(executable)), "pyvenv.cfg")]
        self.stamp: Stamp = ()
        self.settled = False
        self.link: WardenLink | None = None
        """Warm warden of the interpreter. If it is None after the check, scripts run in new
        processes instead of forks."""
        self.waiting: dict[int, Begin] = {}
        self.leases: set[int] = set()
        self.idle_since = 0.0
        self.timed = False
        """True while a timer runs that will check whether the interpreter has been idle for too
        long."""

    @property
    def idle(self) -> bool:
        return self.settled and not self.leases

    def modification_times(self) -> Stamp:
        return tuple(map(_modified, self.watched))


def _modified(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


class Interpreters:
    def __init__(
        self,
        folder: Path,
        *,
        link: Callable[[str, Callable[[list[Report]], None], Callable[[int], None]], WardenLink],
        on_reports: Callable[[list[Report]], None],
        on_died: Callable[[WardenLink, str, int], None],
        check: Callable[[int, list[str], str, Sink], None],
        stop_check: Callable[[int], None],
        refuse: _Refuse,
        most: int = MOST,
        idle_s: float = IDLE_S,
    ) -> None:
        """Create the set without any interpreter.

        `link(python, on_reports, on_died)` launches a warden. `on_died(link, executable,
        returncode)` is called after the death of a warden. `check(key, argv, base, sink)` starts a
        process that checks an interpreter: `base` is the path prefix of its logs, and `sink` gets
        its reports. `refuse` reports that an attempt cannot start.
        """
        self._folder = folder
        self._make_link = link
        self._on_reports = on_reports
        self._on_died = on_died
        self._check = check
        self._stop_check = stop_check
        self._refuse = refuse
        self._most = most
        self._idle_s = idle_s
        self._all: dict[str, _Interpreter] = {}
        """executable -> interpreter."""
        self._retired: list[_Interpreter] = []
        """Replaced interpreters. Each of them is ended after its last script."""
        self._checks: dict[int, _Interpreter] = {}
        self._next_key = FIRST_KEY
        self._closing: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()

    # -- use ---------------------------------------------------------------------------------------
    def use(self, lease: int, python: str, begin: Begin) -> None:
        """Call `begin` for a script, at once or after the check of its interpreter. Refuse the
        script if the interpreter does not work."""
        try:
            executable, _ = executable_of(python)
        except NoPython as e:
            self._refuse(lease, str(e), final=True)
            return
        interpreter = self._all.get(executable)
        if interpreter is not None and interpreter.settled and interpreter.modification_times() != interpreter.stamp:
            log.info("%s has changed: its warden is restarted", executable)
            self._retire(interpreter)
            interpreter = None
        if interpreter is None:
            interpreter = self._begin_check(executable)
        interpreter.waiting[lease] = begin
        if interpreter.settled:
            self._serve(interpreter)

    def give_up(self, lease: int) -> bool:
        """Drop a script that waits for its interpreter's check. Return whether it was waiting."""
        return any(interpreter.waiting.pop(lease, None) is not None for interpreter in self._all.values())

    def links(self) -> list[WardenLink]:
        return [interpreter.link for interpreter in (*self._all.values(), *self._retired) if interpreter.link is not None]

    def _serve(self, interpreter: _Interpreter) -> None:
        waiting, interpreter.waiting = interpreter.waiting, {}
        for lease, begin in waiting.items():
            if interpreter.link is not None:
                interpreter.leases.add(lease)
            begin(interpreter.link, interpreter.executable)
        if interpreter.idle:
            self._rest(interpreter)

    # -- check and probe ---------------------------------------------------------------------------
    def _begin_check(self, executable: str) -> _Interpreter:
        self._next_key -= 1
        interpreter = self._all[executable] = self._checks[self._next_key] = _Interpreter(executable, self._next_key)
        self._folder.mkdir(exist_ok=True)
        self._check(interpreter.key, [executable, "-c", CHECK], f"{self._folder}/{-interpreter.key}", self.on_report)
        self._later(SETTLE_S, partial(self._stop_check, interpreter.key))
        return interpreter

    def on_report(self, report: Report) -> None:
        """Handle a report about an interpreter's check. Repeat the check if the warden of the
        checking process died."""
        key = report.key
        interpreter = self._checks.get(key)
        if interpreter is None:
            return
        if isinstance(report, Output):
            interpreter.output[report.stream] += report.data
        elif isinstance(report, Lost):
            del self._checks[key]
            self._begin_check(interpreter.executable).waiting = interpreter.waiting
        elif isinstance(report, (Exited, Refused)):
            del self._checks[key]
            for stream in ("stdout", "stderr"):
                Path(f"{self._folder}/{-key}.{stream}").unlink(missing_ok=True)
            self._on_checked(interpreter, report)

    def _on_checked(self, interpreter: _Interpreter, end: Exited | Refused) -> None:
        lines = interpreter.output[1].decode("utf-8", "surrogateescape").split("\n")
        if lines[0] != "titan" or len(lines) < 3:
            last_line = interpreter.output[2].decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
            reason = (
                end.text
                if isinstance(end, Refused)
                else f"the check of its version ended with code {end.code}{last_line and ': '}{last_line}"
            )
            text = (
                f"python: {interpreter.executable} is no Python that works on this worker ({reason}): reinstall it, or name another"
            )
            del self._all[interpreter.executable]
            for lease in interpreter.waiting:
                # A check that was killed by a signal may succeed later.
                self._refuse(lease, text, final=isinstance(end, Refused) or end.code >= 0)
            return
        version = tuple(map(int, lines[2].split(".")))
        interpreter.watched += lines[3:]
        interpreter.stamp = interpreter.modification_times()
        if lines[1] != "cpython" or version < OLDEST:
            self._settle_cold(interpreter, f"it is {lines[1] or 'Python'} {lines[2]}; forks need CPython {OLDEST[0]}.{OLDEST[1]}")
        elif not self._make_room(interpreter):
            self._settle_cold(interpreter, f"the {self._most} other interpreters are busy")
        else:
            self._warm_up(interpreter)

    def _warm_up(self, interpreter: _Interpreter) -> None:
        try:
            interpreter.link = self._make_link(
                interpreter.executable, partial(self._on_warden_reports, interpreter), partial(self._on_warden_died, interpreter)
            )
        except EnvironmentFault as e:
            self._settle_cold(interpreter, str(e))
            return
        base = f"{self._folder}/{-interpreter.key}"
        options = ProcessOptions(
            cwd="/", env={}, stdout_path=f"{base}.stdout", stderr_path=f"{base}.stderr", log_limit=4096, grace_s=0.0
        )
        interpreter.link.start(PROBE_KEY, Script(probe.__file__, ()), options)
        self._later(SETTLE_S, partial(self._on_late, interpreter))

    def _on_late(self, interpreter: _Interpreter) -> None:
        if not interpreter.settled and interpreter.link is not None:
            self._settle_cold(interpreter, f"its warden did not come up within {SETTLE_S:g} s")

    def _settle_cold(self, interpreter: _Interpreter, reason: str) -> None:
        log.warning("scripts of %s run in fresh processes, not in forks: %s", interpreter.executable, reason)
        interpreter.settled = True
        if interpreter.link is not None:
            self._close(interpreter.link)
            interpreter.link = None
        self._serve(interpreter)

    # -- reports -----------------------------------------------------------------------------------
    def _on_warden_reports(self, interpreter: _Interpreter, reports: list[Report]) -> None:
        if not interpreter.settled:
            self._on_probe_reports(interpreter, reports)
            return
        ended = [report.key for report in reports if isinstance(report, (Exited, Refused))]
        interpreter.leases.difference_update(ended)
        self._on_reports(reports)
        if ended and interpreter.idle:
            self._rest(interpreter)

    def _on_probe_reports(self, interpreter: _Interpreter, reports: list[Report]) -> None:
        for report in reports:
            if isinstance(report, Exited):
                Path(f"{self._folder}/{-interpreter.key}.stdout").unlink(missing_ok=True)
                Path(f"{self._folder}/{-interpreter.key}.stderr").unlink(missing_ok=True)
                if report.code == probe.CODE:
                    interpreter.settled = True
                    self._serve(interpreter)
                else:
                    self._settle_cold(interpreter, f"a script in a fork of it failed with code {report.code}")
            elif isinstance(report, Refused):
                self._settle_cold(interpreter, f"a script in a fork of it was refused with errno {report.errno}")

    def _on_warden_died(self, interpreter: _Interpreter, returncode: int) -> None:
        link, interpreter.link = interpreter.link, None
        if not interpreter.settled:
            self._settle_cold(interpreter, f"its warden ended with code {returncode}")
            return
        self._forget(interpreter)
        if link is not None:
            self._on_died(link, interpreter.executable, returncode)

    # -- the end -----------------------------------------------------------------------------------
    def _rest(self, interpreter: _Interpreter) -> None:
        """Handle an interpreter without work: end it now if it was replaced, otherwise after
        `IDLE_S`. The end also drops the result of the check. So an interpreter that could not have
        a warden is checked again at its next use."""
        if interpreter in self._retired:
            self._end(interpreter)
            return
        if interpreter.link is not None or not interpreter.timed:
            interpreter.idle_since = asyncio.get_running_loop().time()
        if not interpreter.timed:
            interpreter.timed = True
            self._later(self._idle_s, partial(self._on_idle, interpreter))

    def _on_idle(self, interpreter: _Interpreter) -> None:
        interpreter.timed = False
        left = interpreter.idle_since + self._idle_s - asyncio.get_running_loop().time()
        if interpreter.idle and left > 0:
            interpreter.timed = True
            self._later(left, partial(self._on_idle, interpreter))
        elif interpreter.idle:
            self._end(interpreter)

    def _make_room(self, newcomer: _Interpreter) -> bool:
        others = [other for other in self._all.values() if other.link is not None and other is not newcomer]
        if len(others) < self._most:
            return True
        idle = [other for other in others if other.idle]
        if idle:
            self._end(min(idle, key=lambda other: other.idle_since))
        return bool(idle)

    def _retire(self, interpreter: _Interpreter) -> None:
        del self._all[interpreter.executable]
        self._retired.append(interpreter)
        if interpreter.idle:
            self._end(interpreter)

    def _end(self, interpreter: _Interpreter) -> None:
        self._forget(interpreter)
        if interpreter.link is not None:
            self._close(interpreter.link)
            interpreter.link = None

    def _forget(self, interpreter: _Interpreter) -> None:
        if self._all.get(interpreter.executable) is interpreter:
            del self._all[interpreter.executable]
        if interpreter in self._retired:
            self._retired.remove(interpreter)

    def _close(self, link: WardenLink) -> None:
        task = asyncio.get_running_loop().create_task(link.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _later(self, delay_s: float, do: Callable[[], None]) -> None:
        def go() -> None:
            self._timers.discard(handle)
            do()

        handle = asyncio.get_running_loop().call_later(delay_s, go)
        self._timers.add(handle)

    async def close(self) -> None:
        for handle in self._timers:
            handle.cancel()
        self._timers.clear()
        for link in self.links():
            self._close(link)
        self._all.clear()
        self._retired.clear()
        if self._closing:
            await asyncio.wait(self._closing)
