"""`Peer` on real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from titan.net.peer import Peer


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_an_end_that_stops_speaking_and_reading_is_closed(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The other end is like a proxy that shuts a connection down but keeps its socket. The kernel
    then accepts no more bytes, and reports no further event."""

    async def live() -> Exception | None:
        ours, theirs = socket.socketpair()
        closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        peer = Peer(lambda *_: None, lambda _, error: closed.set_result(error))
        await asyncio.get_running_loop().connect_accepted_socket(lambda: peer, ours)
        with theirs:
            peer.write(bytes(32 << 20))
            peer.flush()
            assert peer.congested
            theirs.shutdown(socket.SHUT_WR)
            return await asyncio.wait_for(closed, 10)

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(live()) is None
