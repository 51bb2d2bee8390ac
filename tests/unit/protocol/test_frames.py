"""Frames: the header, its limits, joining and compression."""

from __future__ import annotations

import struct

import pytest
import zstandard

from titan.errors import LimitExceeded, ProtocolError, VersionMismatch
from titan.protocol import frames
from titan.protocol.frames import BLOB, COMPRESS_FROM, COMPRESSED, MAX_FRAME, MORE, Frame, FrameDecoder, encode_frame


def raw(payload: bytes, *, opcode: int = 4, flags: int = 0, version: int = 1, length: int | None = None) -> bytes:
    return struct.pack(">BBBBI", version, opcode, flags, 0, len(payload) if length is None else length) + payload


def test_a_frame_has_this_header() -> None:
    assert encode_frame(0x42, b"abc", BLOB).hex() == "0142080000000003616263"


def test_frames_come_out_as_they_went_in_however_they_are_cut() -> None:
    data = encode_frame(4, b"") + encode_frame(5, b"x" * 300) + encode_frame(6, b"y", BLOB)
    wanted = [Frame(4, 0, b""), Frame(5, 0, b"x" * 300), Frame(6, BLOB, b"y")]
    for cut in range(len(data) + 1):
        decoder = FrameDecoder()
        assert decoder.receive_data(data[:cut]) + decoder.receive_data(memoryview(data)[cut:]) == wanted
        assert decoder.pending == 0


def test_large_frames_come_out_too_whether_bytes_are_given_or_put_in_place() -> None:
    large = bytes(range(256)) * 1024
    data = encode_frame(4, b"a") + encode_frame(5, large, BLOB) + encode_frame(6, large[1:]) + encode_frame(7, b"b" * 300)
    wanted = [Frame(4, 0, b"a"), Frame(5, BLOB, large), Frame(6, 0, large[1:]), Frame(7, 0, b"b" * 300)]
    for step in (1000, 4093, frames.LARGE, len(large), len(data)):
        given, placed = FrameDecoder(), FrameDecoder()
        got = [frame for at in range(0, len(data), step) for frame in given.receive_data(data[at : at + step])]
        assert got == wanted and given.pending == 0
        got, at = [], 0
        while at < len(data):
            space = placed.space()
            count = min(step, len(space), len(data) - at)
            space[:count] = data[at : at + count]
            got += placed.received(count)
            at += count
        assert got == wanted and placed.pending == 0
    for head in range(1, 12):
        decoder = FrameDecoder()
        assert decoder.receive_data(data[:9]) + decoder.receive_data(data[9 : 9 + head]) == wanted[:1]
        assert decoder.pending == head
        assert decoder.receive_data(data[9 + head :]) == wanted[1:]


def test_pending_counts_the_bytes_of_incomplete_frames() -> None:
    decoder = FrameDecoder()
    decoder.receive_data(raw(b"abc", flags=MORE) + raw(b"defg")[:10])
    assert decoder.pending == 3 + 10


def test_a_frame_over_the_limit_is_refused_when_its_size_is_announced() -> None:
    decoder = FrameDecoder()
    with pytest.raises(ProtocolError, match=r"a frame of 67,108,865 bytes was announced; the limit is 67,108,864"):
        decoder.receive_data(raw(b"", length=MAX_FRAME + 1))
    assert FrameDecoder().receive_data(raw(b"", length=MAX_FRAME)) == []


def test_the_limit_holds_when_the_header_comes_in_pieces() -> None:
    decoder = FrameDecoder()
    header = raw(b"", length=MAX_FRAME + 1)
    assert decoder.receive_data(header[:7]) == []
    with pytest.raises(ProtocolError, match="was announced"):
        decoder.receive_data(header[7:])


@pytest.mark.parametrize("version", [0, 2, ord("G"), 0x16])
def test_another_version_or_another_protocol_is_refused(version: int) -> None:
    with pytest.raises(
        VersionMismatch, match=f"the peer speaks TITAN_PROTO {version}, or another protocol; this side speaks version 1"
    ):
        FrameDecoder().receive_data(raw(b"", version=version))


def test_the_flag_more_joins_frames_of_one_message() -> None:
    data = raw(b"ab", flags=MORE) + raw(b"", flags=MORE) + raw(b"cd") + raw(b"e")
    assert FrameDecoder().receive_data(data) == [Frame(4, 0, b"abcd"), Frame(4, 0, b"e")]


@pytest.mark.parametrize("other", [raw(b"x", opcode=5), raw(b"x", flags=BLOB), raw(b"x", flags=COMPRESSED | MORE)])
def test_another_message_between_the_frames_of_a_message_is_refused(other: bytes) -> None:
    with pytest.raises(ProtocolError, match="arrived within a message of opcode 4"):
        FrameDecoder().receive_data(raw(b"ab", flags=MORE) + other)


def test_a_joined_message_has_a_limit_too() -> None:
    decoder = FrameDecoder(max_frame=10, max_message=25)
    assert decoder.receive_data(raw(b"x" * 10, flags=MORE) * 2 + raw(b"y" * 5)) == [Frame(4, 0, b"x" * 20 + b"y" * 5)]
    with pytest.raises(ProtocolError, match="a message of more than 25 bytes"):
        decoder.receive_data(raw(b"x" * 10, flags=MORE) * 3)


def test_a_message_larger_than_a_frame_is_sent_in_several_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME", 100)
    monkeypatch.setattr(frames, "MAX_MESSAGE", 300)
    monkeypatch.setattr(frames, "_PART", 40)
    payload = bytes(range(130))
    data = encode_frame(4, payload, BLOB)
    assert [data[at + 2] for at in (0, 48, 96, 144)] == [BLOB | MORE, BLOB | MORE, BLOB | MORE, BLOB]
    assert FrameDecoder(max_frame=100).receive_data(data) == [Frame(4, BLOB, payload)]
    with pytest.raises(LimitExceeded, match="the message has 301 bytes; the limit is 300: send it in pieces"):
        encode_frame(4, bytes(301))


def test_a_compressible_payload_is_compressed_if_the_peer_can_read_it() -> None:
    payload = b"abcd" * COMPRESS_FROM
    packed = encode_frame(4, payload, BLOB, compress=True)
    assert packed[2] == BLOB | COMPRESSED and len(packed) < 1000
    assert FrameDecoder().receive_data(packed) == [Frame(4, BLOB, payload)]
    assert encode_frame(4, payload, BLOB)[2] == BLOB


def test_a_small_or_incompressible_payload_is_not_compressed() -> None:
    noise = b"".join(struct.pack(">Q", n * 0x9E3779B97F4A7C15 & (1 << 64) - 1) for n in range(COMPRESS_FROM // 8))
    assert encode_frame(4, b"a" * (COMPRESS_FROM - 1), compress=True)[2] == 0
    assert encode_frame(4, noise, compress=True)[2] == 0


@pytest.mark.parametrize(
    "payload",
    [
        zstandard.ZstdCompressor().compress(bytes(2000)),
        zstandard.ZstdCompressor(write_content_size=False).compress(b"abc"),
        zstandard.ZstdCompressor().compress(b"abc" * 50)[:-3],
        b"no zstd",
        b"",
    ],
    ids=["a bomb", "no size", "torn", "noise", "nothing"],
)
def test_an_invalid_compressed_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="a compressed payload"):
        FrameDecoder(max_message=1000).receive_data(raw(payload, flags=COMPRESSED))


def test_a_compression_bomb_with_a_false_size_is_refused() -> None:
    honest = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    size_at = honest.index(struct.pack("<I", 1 << 20))
    liar = honest[:size_at] + struct.pack("<I", 512) + honest[size_at + 4 :]
    with pytest.raises(ProtocolError, match="a compressed payload cannot be decompressed"):
        FrameDecoder(max_message=1000).receive_data(raw(liar, flags=COMPRESSED))
