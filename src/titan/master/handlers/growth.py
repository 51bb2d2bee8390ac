"""Handlers for additions to runs, and for saved pipelines.

Clients send these requests. Jobs send them through their workers. A TitanError that a handler
raises is sent back as an error reply.
"""

from __future__ import annotations

from collections.abc import Callable

from titan.errors import CallerError, EnvironmentFault, NotFound
from titan.gateway.inbound import growth_input, request_input
from titan.master.core_loop import CoreLoop
from titan.model.dag import DagSpec
from titan.net.peer import Peer
from titan.protocol import messages as msg

MAX_KEY = 128
MAX_SAVED_JOBS = 20_000


class GrowthHandler:
    """Handlers for additions and saved pipelines.

    `check(dag)` raises NotFound for artifacts that are not on the master.
    """

    def __init__(self, core: CoreLoop, *, check: Callable[[DagSpec], None]) -> None:
        self._core = core
        self._check = check

    def on_grow(self, peer: Peer, message: msg.Grow) -> None:
        """Add jobs to a run."""
        self._check_room()
        if not 1 <= len(message.key) <= MAX_KEY:
            raise CallerError(f"the key of an addition is 1 to {MAX_KEY} characters")
        if peer.worker and not message.lease:
            raise CallerError("an addition through a worker must name the lease of the requesting job")
        self._check(message.dag)
        self._core.see(growth_input(message, origin=peer.number, actor=peer.actor, worker=peer.worker))

    def on_save_pipeline(self, peer: Peer, message: msg.SavePipeline) -> None:
        self._check_room()
        if len(message.dag.ids) > MAX_SAVED_JOBS:
            raise CallerError(f"the pipeline has {len(message.dag.ids):,} jobs; at most {MAX_SAVED_JOBS:,} can be saved")
        self._check(message.dag)
        self._core.see(request_input(message, origin=peer.number, actor=peer.actor))

    def on_remove_pipeline(self, peer: Peer, message: msg.RemovePipeline) -> None:
        self._core.see(request_input(message, origin=peer.number, actor=peer.actor))

    def on_list_pipelines(self, peer: Peer, message: msg.ListPipelines) -> None:
        self._core.turn()
        saved = self._core.state.saved
        names = sorted(name for name in saved if name > message.after)[: max(1, min(message.limit, 1000))]
        rows = [msg.PipelineRow(s.name, s.dag.name, s.dag.version, len(s.dag.ids), s.saved_at) for s in map(saved.get, names) if s]
        self._core.release(lambda: peer.send(msg.Pipelines(message.request, rows)))

    def on_get_pipeline(self, peer: Peer, message: msg.GetPipeline) -> None:
        self._core.turn()
        found = self._core.state.saved.get(message.name)
        if found is None:
            raise NotFound(f"there is no saved pipeline {message.name[:128]!r}: `titan save --list` lists them")
        self._core.release(lambda: peer.send(msg.Pipeline(message.request, found.name, found.dag, found.saved_at)))

    def _check_room(self) -> None:
        if self._core.low_space:
            raise EnvironmentFault("the disk under the master's journal is nearly full: free space there, then try again")
