"""The timer of a worker that sends the reports of its jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvloop

from titan.protocol import messages as msg
from titan.worker.context.reports import JobReports
from titan.worker.context.requests import ContextHandler, JobRequest
from titan.worker.secrets import AttemptSecrets
from titan.worker.value_uploads import Values


class Routes:
    """Handler of requests that only records which class serves them."""

    def __init__(self) -> None:
        self.served: dict[type, Callable[[JobRequest], None]] = {}

    def serve(self, kind: type, function: Callable[[JobRequest], None]) -> None:
        self.served[kind] = function


def test_reports_that_are_due_at_once_are_sent_in_one_batch(tmp_path: Path) -> None:
    routes, sent = Routes(), list[Any]()
    JobReports(
        cast(ContextHandler, routes),
        tmp_path / "parts",
        store=cast(Values, None),
        send=lambda message, blob: sent.append(message),
        can_send=lambda: True,
        see=lambda _: None,
        secrets=AttemptSecrets(),
    )

    async def report() -> None:
        for lease in (1, 2, 3):
            routes.served[msg.ReportProgress](JobRequest(cast(Any, None), lease, msg.ReportProgress(0, 0.5, "half"), b""))

    uvloop.run(report())
    (message,) = sent
    assert sorted(message.leases) == [1, 2, 3]
