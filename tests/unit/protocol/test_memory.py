"""The memory of a decoder depends on the bytes that have arrived, not on announced sizes or on the
announced size of a compressed payload."""

from __future__ import annotations

import asyncio
import struct

import pytest
import zstandard

from titan.errors import ProtocolError
from titan.net.memory_budget import Inflow
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import MessageDecoder, Received, encode
from titan.protocol.frames import COMPRESSED, FREE_BYTES, GROWTH, MAX_FRAME, RATIO, VERSION, FrameDecoder, encode_frame

HEADER = struct.Struct(">BBBBI")


@pytest.mark.parametrize("step", [1000, 128 * 1024])
def test_a_large_frame_uses_memory_only_for_the_bytes_received(step: int) -> None:
    decoder, size = FrameDecoder(), 20 << 20
    data = HEADER.pack(VERSION, 4, 0, 0, size) + bytes(size)
    frames, came = decoder.receive_data(data[:9]), 9
    assert frames == []
    assert decoder.memory <= 64 * 1024
    while not frames:
        space = decoder.space()
        count = min(len(space), step, len(data) - came)
        space[:count] = data[came : came + count]
        del space
        frames = decoder.received(count)
        came += count
        assert decoder.memory <= GROWTH * came + 64 * 1024
    assert (came, len(frames[0].payload), decoder.memory) == (len(data), size, 0)


def test_a_buffer_grows_although_a_view_of_it_exists() -> None:
    decoder = FrameDecoder()
    data = HEADER.pack(VERSION, 4, 0, 0, 1 << 20) + bytes(range(256)) * 4096
    decoder.receive_data(data[:9])
    views: list[memoryview] = []
    at, frames = 9, decoder.receive_data(b"")
    while not frames:
        views.append(space := decoder.space())
        count = min(len(space), len(data) - at)
        space[:count] = data[at : at + count]
        frames = decoder.received(count)
        at += count
    assert frames[0].payload == data[8:]


def test_a_payload_above_the_compression_ratio_can_still_be_read() -> None:
    """Readers of older versions can read it too: they ignore the bytes after the compressed
    frame."""
    message = msg.Values(1, [0], [6], [bytes(4 << 20)], [""])
    data = encode(message, compress=True)
    assert len(data) < (4 << 20) // RATIO * 1.1
    assert MessageDecoder().receive_data(data) == [Received(message, b"")]
    assert zstandard.ZstdDecompressor().decompress(data[8:]) == encode(message)[8:]


@pytest.mark.parametrize("size", [FREE_BYTES + 1, 60 << 20])
def test_a_payload_that_decompresses_above_the_limit_is_a_fault(size: int) -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(size))
    with pytest.raises(ProtocolError, match="over 100 times as many"):
        FrameDecoder().receive_data(encode_frame(4, bomb, COMPRESSED))


def test_a_payload_with_a_wrong_announced_size_is_a_fault() -> None:
    good = bytearray(zstandard.ZstdCompressor().compress(bytes(1000)))
    at = good.index((1000 - 256).to_bytes(2, "little"))
    good[at : at + 2] = (900 - 256).to_bytes(2, "little")
    with pytest.raises(ProtocolError):
        FrameDecoder().receive_data(encode_frame(4, bytes(good), COMPRESSED))


def test_only_small_frames_are_accepted_before_the_handshake() -> None:
    decoder = MessageDecoder.before_handshake()
    with pytest.raises(ProtocolError, match="the limit is 4,096"):
        decoder.receive_data(HEADER.pack(VERSION, 1, 0, 0, 4097))
    decoder = MessageDecoder.before_handshake()
    assert decoder.receive_data(encode(msg.Hello(1, "client", 1, "test")))
    decoder.allow()
    assert decoder.receive_data(HEADER.pack(VERSION, 1, 0, 0, MAX_FRAME)) == []


class _Recorded(Peer):
    """Peer without a socket, which records the orders of the budget."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None, lambda *_: None)
        self.reads = True

    def pause_reading(self, why: str) -> None:
        self.reads = False

    def resume_reading(self, why: str) -> None:
        self.reads = True


def test_above_the_budget_the_oldest_peer_is_read_and_the_others_wait_for_room() -> None:
    asyncio.run(_beyond_the_budget())


async def _beyond_the_budget() -> None:
    flow, (a, b, c) = Inflow(100), (_Recorded(), _Recorded(), _Recorded())
    for peer, size in ((a, 40), (b, 40), (c, 40)):
        flow.note(peer, size)
    assert (a.reads, b.reads, c.reads) == (True, True, False)
    flow.note(b, 50)
    assert (a.reads, b.reads, c.reads) == (True, False, False)
    flow.note(a, 90)
    assert a.reads, "it may always go on"
    flow.note(a, 0)
    assert (b.reads, c.reads) == (True, False), "the next oldest"
    flow.note(b, 20)
    assert c.reads
    flow.forget(b)
    flow.forget(c)
    assert flow.total == 0


def test_above_the_budget_only_the_oldest_and_small_peers_are_read() -> None:
    asyncio.run(_all_are_held_at_once())


async def _all_are_held_at_once() -> None:
    mib = 1 << 20
    flow, (first, much, little, last) = Inflow(100 * mib), (_Recorded(), _Recorded(), _Recorded(), _Recorded())
    for peer, size in ((first, 40 * mib), (much, 40 * mib), (little, 100), (last, 19 * mib)):
        flow.note(peer, size)
    assert all(peer.reads for peer in (first, much, little, last))
    flow.note(last, 30 * mib)
    assert (first.reads, much.reads, little.reads, last.reads) == (True, False, True, False)
    for peer in (first, much, little, last):
        flow.forget(peer)
