"""Frames of random bytes. Each input gives messages, a misfit, or an error of the peer. The result
is the same for any split of the bytes, and the memory is bounded."""

from __future__ import annotations

import itertools
import random
import struct
import sys

import zstandard

from fuzz.harness import Fuzzer, damaged, main
from titan.errors import PeerError
from titan.protocol import messages as msg
from titan.protocol.codec import MessageDecoder, Misfit, Received, encode
from titan.protocol.frames import BLOB, COMPRESSED, ERROR, GROWTH, MORE, VERSION, encode_frame
from titan.protocol.handshake import hello
from titan.protocol.opcodes import OPCODES

HEADER = struct.Struct(">BBBBI")
SLACK = 1 << 20


def _good(rng: random.Random) -> bytes:
    match rng.randrange(7):
        case 0:
            return encode(hello(rng.choice(("client", "worker")), "fuzz"))
        case 1:
            return encode(msg.Ping(rng.randrange(1 << 63)))
        case 2:
            size = rng.choice((0, 1, 100, 70_000, 300_000))
            return encode(msg.FilePiece(1, 0, size), rng.randbytes(16) * (size // 16))
        case 3:
            many = rng.randrange(2000)
            return encode(msg.Heartbeat(0, list(range(many)), [0.0] * many), compress=rng.random() < 0.5)
        case 4:
            return HEADER.pack(
                VERSION, rng.randrange(256), rng.randrange(16), 0, rng.choice((0, 9, 1 << 16, 60 << 20, 1 << 26, 1 << 31))
            )
        case 5:
            body = zstandard.ZstdCompressor().compress(bytes(rng.choice((10, 1 << 20, 30 << 20))))
            return encode_frame(rng.choice(list(OPCODES)), body, COMPRESSED)
        case _:
            flags = rng.choice((0, BLOB, ERROR, MORE, MORE | BLOB, COMPRESSED))
            return encode_frame(rng.choice(list(OPCODES)), rng.randbytes(rng.randrange(300)), flags)


def make(rng: random.Random) -> tuple[bytes, list[int]]:
    """Return bytes, and the positions at which they are split."""
    data = b"".join(_good(rng) for _ in range(rng.randrange(1, 6)))
    if rng.random() < 0.7:
        data = damaged(rng, data)
    return data, sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(6)))


def _read(decoder: MessageDecoder, pieces: list[bytes], *, placed: bool) -> tuple[list[Received | Misfit], str]:
    """Return the messages, and the error that ended them."""
    got: list[Received | Misfit] = []
    came = 0
    try:
        for piece in pieces:
            came += len(piece)
            if not placed:
                got += decoder.receive_data(piece)
            at = 0
            while placed and at < len(piece):
                space = decoder.space()
                count = min(len(space), len(piece) - at)
                space[:count] = piece[at : at + count]
                del space
                got += decoder.received(count)
                at += count
            assert decoder.memory <= GROWTH * came + SLACK, f"{decoder.memory:,} bytes are in memory after {came:,} bytes arrived"
    except PeerError as e:
        return got, str(e)
    return got, ""


def run(case: tuple[bytes, list[int]]) -> None:
    data, cuts = case
    edges = [0, *cuts, len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    whole = _read(MessageDecoder(), [data], placed=False)
    assert _read(MessageDecoder(), pieces, placed=True) == whole or whole[1]
    assert _read(MessageDecoder(), pieces, placed=False)[1] == whole[1]
    _read(MessageDecoder.before_handshake(), pieces, placed=True)
    if whole[1] or any(isinstance(item, Misfit) for item in whole[0]):
        raise PeerError(whole[1])


FUZZER = Fuzzer("frames", make, run, (PeerError,), memory_mib=768)

if __name__ == "__main__":
    sys.exit(main(FUZZER))
