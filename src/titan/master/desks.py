"""The desks of a master: who takes what is said to it, as the table of routes names them."""

from __future__ import annotations

from collections.abc import Callable

from titan.content.blobs import BlobStore
from titan.core import events as ev
from titan.gateway.routes import Router
from titan.master.artifact_desk import ArtifactDesk
from titan.master.cluster_desk import ClusterDesk
from titan.master.content_desk import ContentDesk
from titan.master.core_loop import CoreLoop
from titan.master.dag_checks import DagChecks
from titan.master.failure_desk import FailureDesk
from titan.master.file_desk import FileDesk
from titan.master.growth_desk import GrowthDesk
from titan.master.history_desk import HistoryDesk
from titan.master.job_desk import JobDesk
from titan.master.log_desk import LogDesk
from titan.master.log_store import LogStore
from titan.master.registry import Registry
from titan.master.run_desk import RunDesk
from titan.master.schedule_desk import ScheduleDesk
from titan.master.secret_desk import SecretDesk
from titan.master.service_desk import ServiceDesk
from titan.master.store_desk import StoreDesk
from titan.master.store_lanes import StoreLanes
from titan.master.store_relay import StoreRelay
from titan.master.watch import WatchHub
from titan.master.webhook_targets import Targets
from titan.master.worker_desk import WorkerDesk
from titan.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob


class Desks:
    """Those that others speak to directly have a name here; the rest are reached by their messages alone."""

    def __init__(
        self,
        core: CoreLoop,
        *,
        logs: LogStore,
        content: BlobStore,
        registry: Registry,
        past: HistoryDesk,
        store: StoreDesk,
        secrets: SecretDesk,
        files: FileDesk,
        webhooks: Targets,
        stop: Callable[[], None],
    ) -> None:
        self.secrets, self.files = secrets, files
        self._past = past
        self._hub = WatchHub(core.state, core.release)
        self._content = ContentDesk(content, registry)
        self._lanes, self._relay = StoreLanes(store), StoreRelay(core.state, store)
        checks = DagChecks(content, secrets, webhooks)
        self.runs = RunDesk(core, past, self._hub, checks)
        self._log_desk = LogDesk(core.state, logs, past)
        self.workers = WorkerDesk(core, logs, secrets, content, self._log_desk.on_output)
        self._router = Router(
            {
                "runs": self.runs,
                "streams": self,
                "logs": self._log_desk,
                "growth": GrowthDesk(core, check=checks.whole),
                "failures": FailureDesk(core, past),
                "schedules": ScheduleDesk(core, check=checks.whole, new_run=self.runs.new_run),
                "services": ServiceDesk(core, past, content),
                "cluster": ClusterDesk(core, stop),
                "secrets": secrets,
                "lanes": self._lanes,
                "relay": self._relay,
                "workers": self.workers,
                "jobs": JobDesk(core),
                "content": self._content,
                "files": files,
                "artifacts": ArtifactDesk(core, content, past),
            }
        )

    def take(self, peer: Peer, message: msg.Message, blob: Blob) -> None:
        """Gives a message to its desk; its peer has said Hello. Raises TitanError, which becomes the answer."""
        if peer.role == "worker":
            self.workers.check(peer, message)
        self._router.take(peer.role, peer, message, blob)

    def on_unwatch(self, peer: Peer, it: msg.Unwatch) -> None:
        """Ends whatever of these goes on under that request."""
        for desk in (self._hub, self.runs, self._log_desk):
            desk.unwatch(peer, it.watch)

    def note(self, events: list[ev.Event]) -> None:
        """Takes notice of what was decided: tells of it who collects, watches or follows."""
        self.runs.note(events)
        for event in events:
            if type(event) is ev.RunRestored:  # what is live again is no longer the history's
                self._past.restored(event.run)
        self._hub.note(events)
        self._log_desk.note(events)

    def forget(self, peer: Peer) -> None:
        """The connection is closed."""
        self.files.forget(peer)
        if peer.role == "worker":
            self._relay.forget(peer)
            self.workers.forget(peer)
        elif peer.role == "client":
            self._hub.forget(peer)
            self._lanes.forget(peer)
            self._log_desk.forget(peer)
            self.runs.forget(peer)

    async def close(self) -> None:
        await self._log_desk.close()
        await self.secrets.close()
        await self._content.close()
        await self.files.close()
