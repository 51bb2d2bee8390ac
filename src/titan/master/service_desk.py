"""Services: what runs of them, their stop, and another in place of one."""

from __future__ import annotations

from titan.content.blobs import BlobStore
from titan.errors import NotFound
from titan.gateway.inbound import asked
from titan.master import views
from titan.master.core_loop import CoreLoop
from titan.master.history_desk import HistoryDesk
from titan.peer import Peer
from titan.protocol import messages as msg


class ServiceDesk:
    """Each of its methods raises TitanError, which becomes the answer."""

    def __init__(self, core: CoreLoop, past: HistoryDesk, content: BlobStore) -> None:
        self._core = core
        self._past = past
        self._content = content

    def on_list_services(self, peer: Peer, it: msg.ListServices) -> None:
        self._core.turn()
        answer = views.services(self._core.state, it)
        self._core.release(lambda: peer.send(answer))

    def on_stop_service(self, peer: Peer, it: msg.StopService) -> None:
        if self._past.is_live(it.run):
            self._core.see(asked(it, origin=peer.number, actor=peer.actor))
        else:  # stopping what is over stops nothing
            self._past.answer(peer, it.request, it.run, lambda _: [msg.ServicesStopped(it.request, 0)])

    def on_replace_service(self, peer: Peer, it: msg.ReplaceService) -> None:
        if it.file_hash and not self._content.touch(it.file_hash):
            raise NotFound(f"{it.file} ({it.file_hash[:12]}) is not on the master: stage it before you ask")
        self._core.see(asked(it, origin=peer.number, actor=peer.actor))
