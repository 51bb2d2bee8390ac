"""Runs that grow, and pipelines that are kept by name: what clients, and jobs through their workers, ask of them."""

from __future__ import annotations

from collections.abc import Callable

from titan.errors import CallerError, EnvironmentFault, NotFound
from titan.gateway.inbound import asked, growth_input
from titan.master.core_loop import CoreLoop
from titan.model.dag import DagSpec
from titan.peer import Peer
from titan.protocol import messages as msg

Asked = msg.Grow | msg.SavePipeline | msg.RemovePipeline | msg.ListPipelines | msg.GetPipeline
MAX_KEY = 128
MAX_SAVED_JOBS = 20_000


class GrowthDesk:
    """`check(dag)` raises NotFound for artifacts that are not on the master."""

    def __init__(self, core: CoreLoop, *, check: Callable[[DagSpec], None]) -> None:
        self._core = core
        self._check = check

    def on_message(self, peer: Peer, message: Asked, worker: int = 0) -> None:
        """`worker`: whose connection it is, 0 for a client's. Raises TitanError, which becomes the answer."""
        origin, request, state = peer.number, message.request, self._core.state
        match message:
            case msg.Grow() as it:
                self._check_room()
                if not 1 <= len(it.key) <= MAX_KEY:
                    raise CallerError(f"the key of an addition is 1 to {MAX_KEY} characters")
                if worker and not it.lease:
                    raise CallerError("an addition that comes through a worker names the lease of the job that asks")
                self._check(it.dag)
                self._core.see(growth_input(it, origin=origin, worker=worker))
            case msg.SavePipeline() as it:
                self._check_room()
                if len(it.dag.ids) > MAX_SAVED_JOBS:
                    raise CallerError(f"{len(it.dag.ids):,} jobs; a pipeline of at most {MAX_SAVED_JOBS:,} can be saved")
                self._check(it.dag)
                self._core.see(asked(it, origin=origin))
            case msg.RemovePipeline():
                self._core.see(asked(message, origin=origin))
            case msg.ListPipelines():
                self._core.turn()
                names = sorted(name for name in state.saved if name > message.after)[: max(1, min(message.limit, 1000))]
                saved = [state.saved[name] for name in names]
                rows = [msg.PipelineRow(s.name, s.dag.name, s.dag.version, len(s.dag.ids), s.saved_at) for s in saved]
                self._core.release(lambda: peer.send(msg.Pipelines(request, rows)))
            case msg.GetPipeline():
                self._core.turn()
                found = state.saved.get(message.name)
                if found is None:
                    raise NotFound(f"there is no saved pipeline {message.name[:128]!r}: `titan save --list` lists them")
                self._core.release(lambda: peer.send(msg.Pipeline(request, found.name, found.dag, found.saved_at)))

    def _check_room(self) -> None:
        if self._core.low_space:
            raise EnvironmentFault("the disk under the master's journal is nearly full: free space there, then try again")
