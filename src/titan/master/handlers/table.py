"""The handlers of a master, under the names that the routing table uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from titan.content.blobs import BlobStore
from titan.core.events import events as ev
from titan.gateway.routes import Router
from titan.master.cluster_watch import ClusterWatch
from titan.master.content_names import Registry
from titan.master.core_loop import CoreLoop
from titan.master.handlers.artifacts import ArtifactHandler
from titan.master.handlers.cluster import ClusterHandler
from titan.master.handlers.content import ContentHandler
from titan.master.handlers.dag_checks import DagChecks
from titan.master.handlers.disk import DiskHandler
from titan.master.handlers.failures import FailureHandler
from titan.master.handlers.files import FileHandler
from titan.master.handlers.growth import GrowthHandler
from titan.master.handlers.history import HistoryHandler
from titan.master.handlers.job_requests import JobRequestHandler
from titan.master.handlers.left_files import LeftFileHandler
from titan.master.handlers.logs import LogHandler
from titan.master.handlers.runs import RunHandler
from titan.master.handlers.schedules import ScheduleHandler
from titan.master.handlers.secrets import SecretHandler
from titan.master.handlers.services import ServiceHandler
from titan.master.handlers.workers import WorkerHandler
from titan.master.log_store import LogStore
from titan.master.store.client_sessions import ClientSessions
from titan.master.store.job_connections import StoreRelay
from titan.master.store.sessions import StoreSessions
from titan.master.watch import WatchHub
from titan.master.webhooks.targets import Targets
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob


class Handlers:
    """All handlers of a master.

    Handlers that other modules call directly are public attributes. The router calls the others.
    """

    def __init__(
        self,
        core: CoreLoop,
        home: Path,
        *,
        logs: LogStore,
        content: BlobStore,
        registry: Registry,
        past: HistoryHandler,
        store: StoreSessions,
        secrets: SecretHandler,
        files: FileHandler,
        webhooks: Targets,
        stop: Callable[[], None],
    ) -> None:
        self.secrets, self.files = secrets, files
        self._past = past
        self._hub = WatchHub(core.state, core.release)
        self._cluster_watch = ClusterWatch(core.state, core.release, core.clock.now)
        self._content = ContentHandler(content, registry)
        self._lanes, self._relay = ClientSessions(store), StoreRelay(core.state, store)
        checks = DagChecks(content, secrets, webhooks)
        self.runs = RunHandler(core, past, self._hub, checks)
        self._log_handler = LogHandler(core.state, logs, past)
        self.workers = WorkerHandler(core, logs, secrets, content, self._log_handler.on_output)
        self._disk = DiskHandler(core, home, self.workers, past)
        self._left_files = LeftFileHandler(core, self.workers, past, files.relays)
        self._router = Router(
            {
                "runs": self.runs,
                "streams": self,
                "errors": self,
                "left files": self._left_files,
                "logs": self._log_handler,
                "growth": GrowthHandler(core, check=checks.whole),
                "failures": FailureHandler(core, past),
                "schedules": ScheduleHandler(core, check=checks.whole, new_run=self.runs.new_run),
                "services": ServiceHandler(core, past, content),
                "cluster": ClusterHandler(core, self._cluster_watch, stop),
                "disk": self._disk,
                "secrets": secrets,
                "lanes": self._lanes,
                "relay": self._relay,
                "workers": self.workers,
                "jobs": JobRequestHandler(core),
                "content": self._content,
                "files": files,
                "artifacts": ArtifactHandler(core, content, past),
            }
        )

    def take(self, peer: Peer, message: msg.Message, blob: Blob) -> None:
        """Pass a message that arrived after the handshake to its handler.

        Raises TitanError if the handler rejects the message. The caller sends it as an error reply.
        """
        if peer.role == "worker":
            self.workers.check(peer, message)
        self._router.take(peer.role, peer, message, blob)

    def on_unwatch(self, peer: Peer, message: msg.Unwatch) -> None:
        """End the watch, result stream or log stream that an earlier request started."""
        for handler in (self._hub, self._cluster_watch, self.runs, self._log_handler):
            handler.unwatch(peer, message.watch)

    def on_error(self, peer: Peer, message: msg.Error) -> None:
        """Pass the error of a worker to the handler whose request the worker refuses."""
        for handler in (self._disk, self._left_files, self.files.relays):
            handler.on_error(peer, message)

    def note(self, events: list[ev.Event]) -> None:
        """Pass events to the handlers of result streams, watches and followed logs."""
        self.runs.note(events)
        for event in events:
            if type(event) is ev.RunRestored:  # the history must not keep a row of a live run
                self._past.restored(event.run)
        self._hub.note(events)
        self._cluster_watch.note(events)
        self._log_handler.note(events)

    def forget(self, peer: Peer) -> None:
        """Clean up after a closed connection."""
        self.files.forget(peer)
        self._disk.forget(peer)
        self._left_files.forget(peer)
        if peer.role == "worker":
            self._relay.forget(peer)
            self.workers.forget(peer)
        elif peer.role == "client":
            self._hub.forget(peer)
            self._cluster_watch.forget(peer)
            self._lanes.forget(peer)
            self._log_handler.forget(peer)
            self.runs.forget(peer)

    async def close(self) -> None:
        self._cluster_watch.close()
        await self._disk.close()
        await self._left_files.close()
        await self._log_handler.close()
        await self.secrets.close()
        await self._content.close()
        await self.files.close()
