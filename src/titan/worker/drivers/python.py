"""Python driver: each script runs in a fork of a warm interpreter. This is the worker's own Python,
or the interpreter that the job names.

If an interpreter that a job names cannot have a warm warden, the driver starts it anew for each
script, like the process driver.
"""

from __future__ import annotations

from functools import partial

from titan.model.dag import JobTemplate
from titan.worker.drivers.process import ProcessDriver, stopped_early, under
from titan.worker.drivers.protocol import Attempt, Host, OneProcess
from titan.worker.processes.interpreters import Interpreters
from titan.worker.processes.orders import Script
from titan.worker.processes.reports import Refused, Sink
from titan.worker.processes.supervisor import Under
from titan.worker.processes.warden_link import WardenLink


def script_of(template: JobTemplate, args: tuple[str, ...]) -> Script:
    plain = f"./{template.file}" if template.file.startswith("-") else template.file
    return Script(plain, args, template.file_hash or f"{template.archive}/{template.file}")


class PythonDriver(OneProcess):
    def __init__(self, host: Host) -> None:
        self._supervisor = host.supervisor
        self._cold = ProcessDriver(host)
        self._waiting: dict[int, Attempt] = {}
        """Attempts whose interpreter is being checked."""
        self._interpreters = Interpreters(
            host.folder / "interpreters",
            link=host.supervisor.launch,
            on_reports=host.supervisor.take,
            on_died=host.supervisor.on_other_died,
            check=partial(_check, host),
            stop_check=lambda key: host.supervisor.stop(key, 0.0),
            refuse=self._refuse,
        )
        host.supervisor.others = self._interpreters.links

    def start(self, attempt: Attempt) -> None:
        assignment = attempt.assignment
        if not assignment.template.python:
            script, warden = script_of(assignment.template, assignment.args), under(attempt)
            self._supervisor.start(assignment.lease, script, attempt.options, attempt.report, under=warden, behind=attempt.behind)
        elif attempt.alone:
            self._cold.start(attempt)
        else:
            self._waiting[assignment.lease] = attempt
            self._interpreters.use(assignment.lease, assignment.template.python, partial(self._begin, attempt))

    def _begin(self, attempt: Attempt, link: WardenLink | None, executable: str) -> None:
        assignment = attempt.assignment
        self._waiting.pop(assignment.lease, None)
        if link is None:
            self._cold.start(attempt)
        else:
            self._supervisor.start_at(
                link, assignment.lease, script_of(assignment.template, assignment.args), attempt.options, attempt.report
            )

    def _refuse(self, lease: int, text: str, *, final: bool) -> None:
        attempt = self._waiting.pop(lease, None)
        if attempt is not None:
            attempt.report(Refused(lease, 0, text, final))

    def stop(self, lease: int, grace_s: float) -> None:
        attempt = self._waiting.pop(lease, None)
        if attempt is not None:
            self._interpreters.give_up(lease)
            attempt.report(stopped_early(lease))
        else:
            self._supervisor.stop(lease, grace_s)

    def withdraw(self, lease: int) -> None:
        self._supervisor.withdraw(lease)

    async def close(self) -> None:
        await self._interpreters.close()


def _check(host: Host, key: int, argv: list[str], base: str, report: Sink) -> None:
    """Check an interpreter with a helper process."""
    host.run_helper(key, argv, "/", (f"{base}.stdout", f"{base}.stderr"), report, Under.FIRST)
