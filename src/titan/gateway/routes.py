"""Routing table: the senders and the handler of each message. The master rejects other messages.

The master dispatches from this table, docs/protocol.md is generated from it, and a test compares it
with the opcodes. If the master accepts a message, the message's row names a handler. The handler's
method is `on_` and the message's name: `on_submit(peer, message)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Flag, auto
from typing import Any, NamedTuple

from titan.errors import Bug, ProtocolError
from titan.protocol import messages as msg


class Party(Flag):
    """Sender of a message."""

    MASTER = auto()
    CLIENT = auto()
    WORKER = auto()
    JOB = auto()
    """Job, to its own worker over the context socket."""
    TO_JOB = auto()
    """Worker, to one of its jobs."""


class Route(NamedTuple):
    message: type[msg.Message]
    senders: Party
    handler: str = ""
    """Name of the master's handler; "" if the message is not for the master, and for Hello, which
    the server answers."""
    changes: bool = False
    """True if the message changes durable state. The master records the requesting user with the
    change."""
    blob: bool = False
    """True if the handler also gets the blob of the message."""

    @property
    def method(self) -> str:
        """Name of the handler's method.

        >>> ROUTES[msg.GetRun].method
        'on_get_run'
        """
        return "on_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.message.__name__).lower()


M, C, W, J, A = Party.MASTER, Party.CLIENT, Party.WORKER, Party.JOB, Party.TO_JOB
ANSWER = M | A
"""Senders of an answer: the master answers clients, and a worker answers its jobs."""

_ROWS = (
    Route(msg.Hello, C | W),
    Route(msg.Welcome, M),
    Route(msg.Error, ANSWER | W, "errors"),
    Route(msg.Ping, C | W, "cluster"),
    Route(msg.Pong, M),
    # runs
    Route(msg.Submit, C, "runs", changes=True),
    Route(msg.OpenRun, C, "runs", changes=True),
    Route(msg.AddJobs, C, "runs", changes=True),
    Route(msg.Submitted, M),
    Route(msg.Cancel, C, "runs", changes=True),
    Route(msg.Cancelled, M),
    Route(msg.GetRun, C, "runs"),
    Route(msg.RunStatus, M),
    Route(msg.GetDag, C, "runs"),
    Route(msg.Dag, M),
    Route(msg.GetGraph, C, "runs"),
    Route(msg.Graph, M),
    Route(msg.GetAttempts, C, "runs"),
    Route(msg.Attempts, M),
    Route(msg.ListRuns, C, "runs"),
    Route(msg.Runs, M),
    Route(msg.Why, C, "runs"),
    Route(msg.Reasons, M),
    Route(msg.ReadValues, C, "runs"),
    Route(msg.Values, M),
    Route(msg.Watch, C, "runs"),
    Route(msg.Unwatch, C, "streams"),
    Route(msg.Changes, M),
    Route(msg.ReadLogs, C, "logs"),
    Route(msg.LogChunk, M),
    Route(msg.Grow, C | W | J, "growth", changes=True),
    Route(msg.Grown, ANSWER),
    # failures and gates
    Route(msg.ListDead, C, "failures"),
    Route(msg.DeadJobs, M),
    Route(msg.RetryDead, C, "failures", changes=True),
    Route(msg.Retried, M),
    Route(msg.PurgeDead, C, "failures", changes=True),
    Route(msg.Purged, M),
    Route(msg.Decide, C, "failures", changes=True),
    Route(msg.Decided, M),
    Route(msg.ListGates, C, "failures"),
    Route(msg.Gates, M),
    # schedules, saved pipelines, services
    Route(msg.AddSchedule, C, "schedules", changes=True),
    Route(msg.Scheduled, M),
    Route(msg.ListSchedules, C, "schedules"),
    Route(msg.Schedules, M),
    Route(msg.PauseSchedule, C, "schedules", changes=True),
    Route(msg.RemoveSchedule, C, "schedules", changes=True),
    Route(msg.RunSchedule, C, "schedules", changes=True),
    Route(msg.SavePipeline, C, "growth", changes=True),
    Route(msg.Saved, M),
    Route(msg.RemovePipeline, C, "growth", changes=True),
    Route(msg.ListPipelines, C, "growth"),
    Route(msg.Pipelines, M),
    Route(msg.GetPipeline, C | W | J, "growth"),
    Route(msg.Pipeline, ANSWER),
    Route(msg.ListServices, C, "services"),
    Route(msg.Services, M),
    Route(msg.StopService, C, "services", changes=True),
    Route(msg.ServicesStopped, M),
    Route(msg.ReplaceService, C, "services", changes=True),
    Route(msg.ServiceReplaced, M),
    # the cluster
    Route(msg.ListWorkers, C, "cluster"),
    Route(msg.Workers, M),
    Route(msg.WatchCluster, C, "cluster"),
    Route(msg.ClusterChanges, M),
    Route(msg.TellWorker, C, "cluster", changes=True),
    Route(msg.Told, M),
    Route(msg.GetScale, C, "cluster"),
    Route(msg.Scale, M),
    Route(msg.GetDisk, C, "disk"),
    Route(msg.DiskUsage, M),
    Route(msg.MeasureDisk, M),
    Route(msg.DiskMeasured, W, "disk"),
    Route(msg.Stop, C, "cluster", changes=True),
    # secrets and the store
    Route(msg.SetSecret, C, "secrets", changes=True),
    Route(msg.SecretSet, M),
    Route(msg.ListSecrets, C, "secrets"),
    Route(msg.Secrets, M),
    Route(msg.RemoveSecret, C, "secrets", changes=True),
    Route(msg.SecretRemoved, M),
    Route(msg.StoreCommands, C, "lanes", changes=True),
    Route(msg.StoreReplies, M),
    Route(msg.CloseLane, C, "lanes"),
    Route(msg.StoreStream, M | W, "relay", changes=True, blob=True),
    # workers, attempts and their results
    Route(msg.Register, W, "workers"),
    Route(msg.Registered, M),
    Route(msg.Heartbeat, W, "workers"),
    Route(msg.Heard, M),
    Route(msg.Dispatch, M),
    Route(msg.GiveSecrets, M),
    Route(msg.Started, W, "workers"),
    Route(msg.Results, W, "workers"),
    Route(msg.Acked, M),
    Route(msg.StopAttempts, M),
    Route(msg.Recall, M),
    Route(msg.Awaiting, W, "workers"),
    Route(msg.Progress, W, "workers"),
    Route(msg.Statuses, W, "workers"),
    Route(msg.ServiceStates, W, "workers"),
    Route(msg.LogData, W, "workers", blob=True),
    Route(msg.LogResume, M),
    Route(msg.Draining, W, "workers"),
    Route(msg.Leaving, W, "workers"),
    Route(msg.Leave, M),
    # content
    Route(msg.Stage, C | W | J, "content"),
    Route(msg.Staged, ANSWER),
    Route(msg.Stored, ANSWER),
    Route(msg.Resolve, C, "content"),
    Route(msg.Resolved, M),
    Route(msg.NameContent, C, "content", changes=True),
    Route(msg.SendFile, C | W | J, "files", blob=True),
    Route(msg.SendFrom, M),
    Route(msg.FileHere, M),
    Route(msg.FilePiece, M | C | W, "files", blob=True),
    Route(msg.FileEnd, C | W, "files"),
    Route(msg.FileTaken, M | C | W, "files"),
    Route(msg.FetchFile, C | W, "files"),
    Route(msg.StopSending, M | C | W, "files"),
    Route(msg.ListLeftFiles, C, "left files"),
    Route(msg.LeftFiles, M),
    Route(msg.FetchLeftFile, C, "left files"),
    Route(msg.ListFolder, M),
    Route(msg.FolderListed, W, "left files"),
    Route(msg.SendLeftFile, M),
    Route(msg.Publish, C | W, "artifacts", changes=True),
    Route(msg.FindArtifact, C | W | J, "artifacts"),
    Route(msg.ListArtifacts, C, "artifacts"),
    Route(msg.Artifacts, ANSWER),
    Route(msg.RemoveArtifact, C, "artifacts", changes=True),
    # a job and its worker
    Route(msg.WhoAmI, J),
    Route(msg.Identity, A),
    Route(msg.Noted, A),
    Route(msg.ReportProgress, J),
    Route(msg.SetStatus, J),
    Route(msg.SetResult, J),
    Route(msg.ReadValue, W | J, "jobs"),
    Route(msg.ValueRead, ANSWER),
    Route(msg.PublishPath, J),
    Route(msg.FetchPath, J),
)
ROUTES: dict[type[msg.Message], Route] = {row.message: row for row in _ROWS}
_WITH_BLOB = frozenset(row.message for row in _ROWS if row.blob)
PARTY_OF = {"client": Party.CLIENT, "worker": Party.WORKER}
"""Senders by the role in a Hello."""


class Router:
    """Methods of a master's handlers, by sender and message."""

    def __init__(self, handlers: Mapping[str, object]) -> None:
        """Raises Bug if a handler or one of its methods is missing."""
        self._handlers: dict[str, dict[type[msg.Message], Any]] = {role: {} for role in PARTY_OF}
        for route in ROUTES.values():
            if not route.handler:
                continue
            handler = getattr(handlers.get(route.handler), route.method, None)
            if handler is None:
                raise Bug(f"the handler {route.handler!r} has no method {route.method} for {route.message.__name__}")
            for role, party in PARTY_OF.items():
                if party in route.senders:
                    self._handlers[role][route.message] = handler

    def take(self, role: str, peer: Any, message: msg.Message, blob: Any) -> None:
        """Call the handler of a message. Raises ProtocolError if the role may not send it.

        Errors of the handler propagate.
        """
        kind = type(message)
        handler = self._handlers[role].get(kind)
        if handler is None:
            raise ProtocolError(f"a {role} must not send a {kind.__name__} to the master")
        if kind in _WITH_BLOB:
            handler(peer, message, blob)
        else:
            handler(peer, message)
