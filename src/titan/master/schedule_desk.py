"""What clients ask about schedules: requests become inputs, questions are answered from the state."""

from __future__ import annotations

from collections.abc import Callable

from titan.errors import CallerError, EnvironmentFault, NotFound
from titan.gateway.inbound import asked
from titan.gateway.schedule_rows import schedule_row
from titan.master.core_loop import CoreLoop
from titan.model.dag import DagSpec
from titan.peer import Peer
from titan.protocol import messages as msg

MAX_PAGE = 10_000

Asked = msg.AddSchedule | msg.ListSchedules | msg.PauseSchedule | msg.RemoveSchedule | msg.RunSchedule


class ScheduleDesk:
    """`check(dag)` raises NotFound for artifacts that are not on the master; `new_run` draws the id of a run."""

    def __init__(self, core: CoreLoop, *, check: Callable[[DagSpec], None], new_run: Callable[[], str]) -> None:
        self._core = core
        self._check = check
        self._new_run = new_run

    def on_message(self, peer: Peer, message: Asked) -> None:
        """Raises TitanError, which becomes the answer."""
        match message:
            case msg.AddSchedule() as it:
                self._check_room(it.key)
                self._check(it.dag)
                self._core.see(asked(it, origin=peer.number))
            case msg.PauseSchedule() | msg.RemoveSchedule():
                self._core.see(asked(message, origin=peer.number))
            case msg.RunSchedule():
                self._check_room(message.key)
                self._core.see(asked(message, origin=peer.number, run=self._new_run()))
            case msg.ListSchedules():
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
            raise EnvironmentFault("the disk under the master's journal is nearly full: free space there, then ask again")
        if len(key) > 128:
            raise CallerError("the key of a request is at most 128 characters")
