"""The worker accepts exactly those messages of a job that the routing table names."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from titan.gateway.routes import ROUTES, Party
from titan.protocol import messages as msg
from titan.worker import shell
from titan.worker.context.requests import ContextHandler
from titan.worker.shell import Worker

FROM_JOBS = {route.message for route in ROUTES.values() if Party.JOB in route.senders}


def taken(tmp_path: Path, patch: pytest.MonkeyPatch) -> dict[type[msg.Message], Any]:
    """Return the handlers of an open worker. The parts that start processes are replaced."""
    for name in ("become_subreaper", "drop_keys"):
        patch.setattr(shell, name, lambda: None)
    patch.setattr(shell, "kill_marked", lambda mark: 0)
    patch.setattr(shell, "open_limiter", lambda: None)
    patch.setattr(shell, "proven", lambda limiter: limiter)
    launcher = SimpleNamespace(open=lambda: None, limit_by=lambda limiter: None)
    patch.setattr(shell, "Launcher", lambda *args, **kwargs: launcher)

    async def opened() -> ContextHandler:
        worker = Worker(("127.0.0.1", 1), tmp_path, name="w", slots=1, capabilities=("GENERAL",))
        await worker._open()
        worker._relay.close()
        worker.handler.close()
        await worker._files.close()
        worker._reports.close()
        return worker.handler

    return asyncio.run(opened())._handlers


def test_each_row_of_a_job_has_a_handler_and_each_handler_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert taken(tmp_path, monkeypatch).keys() == FROM_JOBS


def test_the_master_handles_every_message_that_a_worker_forwards() -> None:
    """The worker forwards these messages, so the master must accept them from a worker."""
    on = {kind for kind in FROM_JOBS if ROUTES[kind].handler}
    assert on == {msg.Grow, msg.GetPipeline, msg.Stage, msg.SendFile, msg.FindArtifact, msg.ReadValue}
    assert all(Party.WORKER in ROUTES[kind].senders for kind in on)
