"""Frames: an 8-byte header and a payload. Received bytes may be split anywhere.

    version 1B | opcode 1B | flags 1B | spare 1B (0) | payload length 4B, big-endian

This module owns the header, its limits and the joining of the frames of one message. It must not
know the meaning of a payload.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

import zstandard

from titan.errors import LimitExceeded, ProtocolError, VersionMismatch

VERSION = 1
MAX_FRAME = 64 * 1024 * 1024
"""Maximum payload bytes of one frame."""
MAX_MESSAGE = 512 * 1024 * 1024
"""Maximum payload bytes of one message, whose frames are joined by the flag MORE, and maximum bytes
of a decompressed payload."""
MAX_PARTS = 65_536
"""Maximum number of frames that are joined by MORE."""
COMPRESS_FROM = 32 * 1024
LARGE = 64 * 1024
"""A frame with at least this many payload bytes that arrives in parts is assembled in place."""
INBOX = 128 * 1024
FIRST_FRAME = 4 * 1024
"""Maximum payload bytes of a peer's first frame, its Hello."""
GROWTH = 8
"""Maximum ratio of a large frame's memory to its received bytes. A header that only announces a
large frame thus takes little memory."""
RATIO = 100
"""Maximum ratio of decompressed to compressed bytes, for sizes above FREE_BYTES."""
FREE_BYTES = 1024 * 1024
MAX_WINDOW = 8 * 1024 * 1024
"""Maximum zstd window of a sender. The receiver needs this much memory to decompress."""
_STEP = 1024 * 1024
_LEAST = 4 * 1024
_OFTEN = 2 * 1024 * 1024
"""Size up to which the memory of a large frame grows by the factor GROWTH; above this size it
doubles. Pieces of files and values are about this large and are thus assembled in few steps."""
_SKIPPED = Struct("<II")
_SKIPPED_MAGIC = 0x184D2A50
"""Magic number of a zstd frame that readers skip."""
_PART = 16 * 1024 * 1024

COMPRESSED, ERROR, MORE, BLOB = 0x01, 0x02, 0x04, 0x08

_header = Struct(">BBBBI")
HEADER_BYTES = _header.size


class Frame(NamedTuple):
    opcode: int
    flags: int
    payload: bytes | memoryview
    """The payload. For a large frame it is a view of memory that nothing else uses."""


def frame_header(opcode: int, size: int, flags: int = 0) -> bytes:
    """Return the header of a payload of `size` bytes, at most MAX_FRAME."""
    return _header.pack(VERSION, opcode, flags, 0, size)


def encode_frame(opcode: int, payload: bytes, flags: int = 0, *, compress: bool = False) -> bytes:
    """Return a message as one frame, or as several joined by MORE if it is over MAX_FRAME."""
    if compress and len(payload) >= COMPRESS_FROM:
        packed = zstandard.ZstdCompressor(level=1).compress(payload)
        least = len(payload) // RATIO + 1
        # Pad a payload that the receiver would reject as a decompression bomb.
        if len(packed) < least and len(payload) > FREE_BYTES:
            packed += _SKIPPED.pack(_SKIPPED_MAGIC, least - len(packed)) + bytes(least - len(packed))
        if len(packed) < len(payload) * 0.9:
            payload, flags = packed, flags | COMPRESSED
    size = len(payload)
    if size <= MAX_FRAME:
        return _header.pack(VERSION, opcode, flags, 0, size) + payload
    if size > MAX_MESSAGE:
        raise LimitExceeded(f"the message has {size:,} bytes; the limit is {MAX_MESSAGE:,}: send it in pieces")
    parts = []
    for at in range(0, size, _PART):
        piece = payload[at : at + _PART]
        more = MORE if at + _PART < size else 0
        parts.append(_header.pack(VERSION, opcode, flags | more, 0, len(piece)) + piece)
    return b"".join(parts)


class FrameDecoder:
    """Incremental decoder: takes received bytes and returns complete frames.

    A decoder must not be used after an error, since the next frame boundary in the stream is
    unknown.
    """

    def __init__(
        self, max_frame: int = MAX_FRAME, max_message: int = MAX_MESSAGE, inbox: int = INBOX, *, compressed: bool = True
    ) -> None:
        """`compressed`: accept compressed payloads."""
        self._buffer = bytearray()
        self._inbox = bytearray(inbox)
        self._large: bytearray | None = None
        """Memory for a large frame of `_size` bytes, of which the first `_filled` have arrived."""
        self._filled = self._size = 0
        self._compressed = compressed
        self._max_frame = max_frame
        self._max_message = max_message
        self._parts: list[bytes | memoryview] = []
        self._parts_bytes = 0
        self._joining: tuple[int, int] | None = None

    @property
    def pending(self) -> int:
        """Bytes of an incomplete message."""
        return len(self._buffer) + self._filled + self._parts_bytes

    @property
    def memory(self) -> int:
        """Bytes of memory that the incomplete message takes, including room for its next bytes."""
        return len(self._buffer) + (len(self._large) if self._large is not None else 0) + self._parts_bytes

    def allow(self, max_frame: int, max_message: int, inbox: int = INBOX) -> None:
        """Accept frames of these sizes, and compressed frames. Do not call this from `received`."""
        self._max_frame, self._max_message, self._compressed = max_frame, max_message, True
        if len(self._inbox) != inbox:
            self._inbox = bytearray(inbox)

    def drop(self) -> None:
        """Drop incomplete data. Call this when no more data will arrive."""
        self._large, self._filled = None, 0
        self._buffer.clear()
        self._parts, self._parts_bytes = [], 0

    def space(self) -> memoryview:
        """Return the memory into which bytes may be received without a copy.

        Then call `received` with their number.
        """
        if self._large is None:
            return memoryview(self._inbox)
        return memoryview(self._room(self._filled + 1))[self._filled :]

    def received(self, count: int) -> list[Frame]:
        """Decode `count` bytes that were put into `space`. Raises the errors of `receive_data`."""
        if self._large is None:
            return self.receive_data(memoryview(self._inbox)[:count])
        frames: list[Frame] = []
        self._filled += count
        if self._filled == self._size:
            self._end(self._large, frames)
        return frames

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Decode `data`, and return the frames that are complete now.

        Raises VersionMismatch, or ProtocolError for a frame over the limit or out of order.
        """
        frames: list[Frame] = []
        if self._large is not None:
            data = self._fill(data, frames)
            if not data:
                return frames
        buffer = self._buffer
        if buffer:
            buffer += data
            wanted = self._wanted() if len(buffer) >= HEADER_BYTES else HEADER_BYTES
            if len(buffer) < wanted:
                if wanted >= HEADER_BYTES + LARGE:
                    self._begin(wanted, bytes(buffer), frames)
                    buffer.clear()
                return frames
            view = memoryview(bytes(buffer))
        else:
            view = memoryview(data)
        at, size = 0, len(view)
        while size - at >= HEADER_BYTES:
            version, opcode, flags, _, length = _header.unpack_from(view, at)
            self._check(version, length)
            end = at + HEADER_BYTES + length
            if end > size:
                if length >= LARGE:
                    self._begin(end - at, view[at:], frames)
                    at = size
                break
            self._take(Frame(opcode, flags, bytes(view[at + HEADER_BYTES : end])), frames)
            at = end
        rest = bytes(view[at:])
        buffer[:] = rest
        return frames

    def _begin(self, size: int, data: bytes | memoryview, frames: list[Frame]) -> None:
        self._large, self._filled, self._size = bytearray(min(size, GROWTH * max(len(data), _LEAST))), 0, size
        self._fill(data, frames)

    def _room(self, needed: int) -> bytearray:
        """Return the memory of the large frame, with room for `needed` bytes."""
        large = self._large
        assert large is not None
        if needed > len(large):
            times = GROWTH if len(large) < _OFTEN else 2
            more = min(self._size, max(needed, times * len(large))) - len(large)
            try:
                large += bytes(more)
            except BufferError:  # a view of the memory exists, so it cannot be resized in place
                large = self._large = bytearray().join((large, bytes(more)))
        return large

    def _fill(self, data: bytes | bytearray | memoryview, frames: list[Frame]) -> memoryview:
        """Copy the bytes that belong to the large frame into it; return the rest."""
        view = memoryview(data)
        count = min(len(view), self._size - self._filled)
        large = self._room(self._filled + count)
        large[self._filled : self._filled + count] = view[:count]
        self._filled += count
        if self._filled == self._size:
            self._end(large, frames)
        return view[count:]

    def _end(self, large: bytearray, frames: list[Frame]) -> None:
        _, opcode, flags, _, _ = _header.unpack_from(large, 0)
        self._large, self._filled = None, 0
        self._take(Frame(opcode, flags, memoryview(large)[HEADER_BYTES:]), frames)

    def _wanted(self) -> int:
        """Return the size of the first frame in the buffer, which holds at least a header."""
        version, _, _, _, length = _header.unpack_from(self._buffer, 0)
        self._check(version, length)
        return HEADER_BYTES + int(length)

    def _check(self, version: int, length: int) -> None:
        if version != VERSION:
            raise VersionMismatch(f"the peer speaks TITAN_PROTO {version}, or another protocol; this side speaks version {VERSION}")
        if length > self._max_frame:
            raise ProtocolError(f"a frame of {length:,} bytes was announced; the limit is {self._max_frame:,}")

    def _take(self, frame: Frame, out: list[Frame]) -> None:
        kind = (frame.opcode, frame.flags & ~MORE)
        if self._joining is not None and self._joining != kind:
            raise ProtocolError(f"a frame of opcode {frame.opcode} arrived within a message of opcode {self._joining[0]}")
        if frame.flags & MORE or self._joining is not None:
            self._parts.append(frame.payload)
            self._parts_bytes += len(frame.payload)
            if self._parts_bytes > self._max_message or len(self._parts) > MAX_PARTS:
                raise ProtocolError(f"a message of more than {self._max_message:,} bytes or {MAX_PARTS:,} frames")
            self._joining = kind if frame.flags & MORE else None
            if self._joining is not None:
                return
            frame = Frame(frame.opcode, frame.flags, b"".join(self._parts))
            self._parts, self._parts_bytes = [], 0
        if frame.flags & COMPRESSED and not self._compressed:
            raise ProtocolError("a compressed frame before a Hello")
        if frame.flags & COMPRESSED:
            frame = Frame(frame.opcode, frame.flags & ~COMPRESSED, self._expand(frame.payload))
        out.append(frame)

    def _expand(self, payload: bytes | memoryview) -> bytes:
        try:
            announced = zstandard.frame_content_size(payload)
            if announced < 0 or announced > self._max_message:
                raise ProtocolError("a compressed payload announces no size, or a size over the limit")
            if announced > max(FREE_BYTES, RATIO * len(payload)):
                raise ProtocolError(f"a payload of {len(payload):,} bytes would become {announced:,}, over {RATIO} times as many")
            return _inflate(payload, announced)
        except zstandard.ZstdError as e:
            raise ProtocolError(f"a compressed payload cannot be decompressed: {e}") from e


def _inflate(payload: bytes | memoryview, size: int) -> bytes:
    """Decompress exactly `size` bytes in steps, so that an announced size alone takes no memory."""
    parts, left = [], size
    with zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(payload) as stream:
        while left and (part := stream.read(min(left, _STEP))):
            parts.append(part)
            left -= len(part)
    if left:
        raise ProtocolError(f"a compressed payload announces {size:,} bytes and has {size - left:,}")
    return parts[0] if len(parts) == 1 else b"".join(parts)
