"""Handlers for the cluster as a whole: workers, scaling, stop."""

from __future__ import annotations

from collections.abc import Callable

from titan.gateway.inbound import request_input
from titan.master import views
from titan.master.cluster_watch import ClusterWatch
from titan.master.core_loop import CoreLoop
from titan.master.scaling_view import scale_view
from titan.net.peer import Peer
from titan.protocol import messages as msg


class ClusterHandler:
    """Handlers for ping, workers, scaling and stop."""

    def __init__(self, core: CoreLoop, watch: ClusterWatch, stop: Callable[[], None]) -> None:
        self._core = core
        self._watch = watch
        self._stop = stop

    def on_ping(self, peer: Peer, message: msg.Ping) -> None:
        peer.send(msg.Pong(message.request))

    def on_list_workers(self, peer: Peer, message: msg.ListWorkers) -> None:
        self._core.turn()
        answer = views.workers(self._core.state, message)
        self._core.release(lambda: peer.send(answer))

    def on_watch_cluster(self, peer: Peer, message: msg.WatchCluster) -> None:
        self._core.turn()
        self._watch.watch(peer, message)

    def on_tell_worker(self, peer: Peer, message: msg.TellWorker) -> None:
        self._core.see(request_input(message, origin=peer.number, actor=peer.actor))

    def on_get_scale(self, peer: Peer, message: msg.GetScale) -> None:
        self._core.turn()
        answer = scale_view(self._core.state, message, self._core.clock.now())
        self._core.release(lambda: peer.send(answer))

    def on_stop(self, peer: Peer, message: msg.Stop) -> None:
        self._core.release(lambda: peer.send(msg.Pong(message.request)))
        self._core.release(self._stop)
