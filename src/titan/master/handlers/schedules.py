"""Handlers for schedules.

Changes become inputs of the core. Queries are answered from the state. A TitanError that a handler
raises is sent to the client as an error reply.
"""

from __future__ import annotations

from collections.abc import Callable

from titan.errors import CallerError, EnvironmentFault, NotFound
from titan.gateway.inbound import request_input
from titan.gateway.schedule_rows import schedule_row
from titan.master.core_loop import CoreLoop
from titan.model.dag import DagSpec
from titan.net.peer import Peer
from titan.protocol import messages as msg

MAX_PAGE = 10_000


class ScheduleHandler:
    """Handlers for schedules.

    `check(dag)` raises NotFound if an artifact of the DAG is not on the master. `new_run()` returns
    a new run id.
    """

    def __init__(self, core: CoreLoop, *, check: Callable[[DagSpec], None], new_run: Callable[[], str]) -> None:
        self._core = core
        self._check = check
        self._new_run = new_run

    def on_add_schedule(self, peer: Peer, message: msg.AddSchedule) -> None:
        self._check_room(message.key)
        self._check(message.dag)
        self._core.see(request_input(message, origin=peer.number, actor=peer.actor))

    def on_pause_schedule(self, peer: Peer, message: msg.PauseSchedule | msg.RemoveSchedule) -> None:
        self._core.see(request_input(message, origin=peer.number, actor=peer.actor))

    on_remove_schedule = on_pause_schedule

    def on_run_schedule(self, peer: Peer, message: msg.RunSchedule) -> None:
        self._check_room(message.key)
        self._core.see(request_input(message, origin=peer.number, actor=peer.actor, run=self._new_run()))

    def on_list_schedules(self, peer: Peer, message: msg.ListSchedules) -> None:
        self._core.turn()
        answer = self._list(message)
        self._core.release(lambda: peer.send(answer))

    def _list(self, ask: msg.ListSchedules) -> msg.Schedules:
        known = self._core.state.schedules
        if ask.name:
            if ask.name not in known:
                raise NotFound(f"there is no schedule {ask.name[:128]!r}: `titan schedule list` lists them")
            return msg.Schedules(ask.request, [schedule_row(known[ask.name])])
        names = sorted(name for name in known if name > ask.after)
        page = names[: max(1, min(ask.limit, MAX_PAGE))]
        return msg.Schedules(ask.request, [schedule_row(known[name]) for name in page], len(page) < len(names))

    def _check_room(self, key: str) -> None:
        if self._core.low_space:
            raise EnvironmentFault("the disk under the master's journal is nearly full: free space there, then try again")
        if len(key) > 128:
            raise CallerError("the key of a request is at most 128 characters")
