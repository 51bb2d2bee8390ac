"""The table of drivers: which templates each has, and how it is made. A new driver is a file beside this one and a row here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from titan.errors import Bug
from titan.model.dag import JobTemplate
from titan.worker.drivers.process import ProcessDriver
from titan.worker.drivers.protocol import Driver, Host
from titan.worker.drivers.python import PythonDriver, is_warm
from titan.worker.drivers.service import ServiceDriver


class Row(NamedTuple):
    name: str
    fits: Callable[[JobTemplate], bool]
    make: Callable[[Host], Driver]


SERVICE = Row("service", lambda template: template.service is not None, ServiceDriver)
ROWS = (
    SERVICE,
    Row("python", is_warm, PythonDriver),
    Row("process", lambda template: True, ProcessDriver),
)
"""The first row that fits a template has it."""


class Drivers:
    """One driver of each row, for a worker."""

    def __init__(self, host: Host, rows: Sequence[Row] = ROWS) -> None:
        self._all = {row.name: row.make(host) for row in rows}
        self._rows = [(row.fits, self._all[row.name]) for row in rows]

    def named(self, name: str) -> Driver:
        return self._all[name]

    def of(self, template: JobTemplate) -> Driver:
        for fits, driver in self._rows:
            if fits(template):
                return driver
        raise Bug(f"no driver has the template {template}")

    async def close(self) -> None:
        for _, driver in self._rows:
            await driver.close()
