"""Titan: scripts, binaries, functions and services as one durable graph on many machines.

The public SDK. Everything in `__all__` is stable; everything else is private.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing `typing` would cost each `titan context` command 15 ms
if TYPE_CHECKING:
    from typing import Any

    from titan.sdk.call_future import CallFuture
    from titan.sdk.client import AsyncClient, Client
    from titan.sdk.gate import Gate
    from titan.sdk.job import DAG, Job
    from titan.sdk.pickles import register_by_value
    from titan.sdk.run import AsyncRun, Run
    from titan.sdk.tasks import TaskCall, task

__all__ = [
    "DAG",
    "AsyncClient",
    "AsyncRun",
    "CallFuture",
    "Client",
    "Gate",
    "Job",
    "Run",
    "TaskCall",
    "__version__",
    "register_by_value",
    "task",
]

_HOMES = {
    "AsyncClient": "titan.sdk.client",
    "AsyncRun": "titan.sdk.run",
    "CallFuture": "titan.sdk.call_future",
    "Client": "titan.sdk.client",
    "Run": "titan.sdk.run",
    "DAG": "titan.sdk.job",
    "Gate": "titan.sdk.gate",
    "Job": "titan.sdk.job",
    "TaskCall": "titan.sdk.tasks",
    "register_by_value": "titan.sdk.pickles",
    "task": "titan.sdk.tasks",
    "__version__": "titan._version",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use.

    A worker, a master or a job imports only the modules that it needs.
    """
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'titan' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    """Return the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
