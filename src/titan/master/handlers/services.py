"""Handlers that list, stop and replace services."""

from __future__ import annotations

from titan.content.blobs import BlobStore
from titan.errors import NotFound
from titan.gateway.inbound import request_input
from titan.master import views
from titan.master.core_loop import CoreLoop
from titan.master.handlers.history import HistoryHandler
from titan.net.peer import Peer
from titan.protocol import messages as msg


class ServiceHandler:
    """Handlers for services. A TitanError is sent to the client as an error reply."""

    def __init__(self, core: CoreLoop, past: HistoryHandler, content: BlobStore) -> None:
        self._core = core
        self._past = past
        self._content = content

    def on_list_services(self, peer: Peer, message: msg.ListServices) -> None:
        self._core.turn()
        answer = views.services(self._core.state, message)
        self._core.release(lambda: peer.send(answer))

    def on_stop_service(self, peer: Peer, message: msg.StopService) -> None:
        if self._past.is_live(message.run):
            self._core.see(request_input(message, origin=peer.number, actor=peer.actor))
        else:  # the run is over, so there is nothing to stop
            self._past.answer(peer, message.request, message.run, lambda _: [msg.ServicesStopped(message.request, 0)])

    def on_replace_service(self, peer: Peer, message: msg.ReplaceService) -> None:
        if message.file_hash and not self._content.touch(message.file_hash):
            raise NotFound(f"{message.file} ({message.file_hash[:12]}) is not on the master: stage it first")
        self._core.see(request_input(message, origin=peer.number, actor=peer.actor))
