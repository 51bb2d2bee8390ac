"""Artifacts by their content: which are here, pieces that come and go, names in the registry."""

from __future__ import annotations

from titan.master.intake import Intake
from titan.master.outlet import Outlet
from titan.master.registry import Registry
from titan.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import Blob


class ContentDesk:
    """Each of its methods raises TitanError, which becomes the answer."""

    def __init__(self, registry: Registry, intake: Intake, outlet: Outlet) -> None:
        self._registry = registry
        self._intake = intake
        self._outlet = outlet

    def on_stage(self, peer: Peer, it: msg.Stage) -> None:
        peer.send(msg.Staged(it.request, self._registry.lacks(it.hashes)))

    def on_put(self, peer: Peer, it: msg.Put, blob: Blob) -> None:
        self._intake.put(peer, it, blob)

    def on_fetch(self, peer: Peer, it: msg.Fetch) -> None:
        self._outlet.send(peer, it)

    def on_resolve(self, peer: Peer, it: msg.Resolve) -> None:
        peer.send(msg.Resolved(it.request, *self._registry.resolve(it.name)))
