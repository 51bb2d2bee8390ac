"""Table of drivers: the class for each driver name of `titan.model.drivers`, and the driver
instances of a worker.

To add a driver, add a file beside this one, a row to `CLASSES`, and a row in `titan.model.drivers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from titan.errors import Bug
from titan.model.dag import JobTemplate
from titan.model.drivers import driver_of
from titan.worker.drivers.function import FunctionDriver
from titan.worker.drivers.process import ProcessDriver
from titan.worker.drivers.protocol import AttemptDriver, CannotStart, Driver, Host, Orders
from titan.worker.drivers.python import PythonDriver
from titan.worker.drivers.service import ServiceDriver

CLASSES: dict[str, Callable[[Host], Driver]] = {
    "function": FunctionDriver,
    "service": ServiceDriver,
    "python": PythonDriver,
    "process": ProcessDriver,
}


class Drivers:
    """Drivers of one worker, one instance of each class."""

    def __init__(self, host: Host) -> None:
        self._all = {name: make(host) for name, make in CLASSES.items()}
        self._of_attempts = {name: driver for name, driver in self._all.items() if isinstance(driver, AttemptDriver)}
        self.orders: Orders = {kind: follow for driver in self._all.values() for kind, follow in driver.orders.items()}
        if len(self.orders) < sum(len(driver.orders) for driver in self._all.values()):
            raise Bug("two drivers follow one instruction")

    def of(self, template: JobTemplate) -> AttemptDriver:
        """Return the driver of a template. Raises CannotStart if this version of Titan does not
        have the driver. The error is not final, because other workers may run a later version."""
        driver = self._of_attempts.get(driver_of(template))
        if driver is None:
            raise CannotStart(
                f"this worker has no driver {template.driver[:80]!r}: its version of Titan may be too old", final=False
            )
        return driver

    def open(self) -> None:
        for driver in self._all.values():
            driver.open()

    async def close(self) -> None:
        await asyncio.gather(*[driver.close() for driver in self._all.values()])
