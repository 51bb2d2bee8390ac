"""Encoding and decoding of messages.

A payload is the MessagePack array of one message. With the BLOB flag a payload has three parts:
length of the array (4 bytes, big-endian), the array, and the raw blob.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, NamedTuple

import msgspec

from titan.errors import ProtocolError, TitanError
from titan.protocol.frames import (
    BLOB,
    ERROR,
    FIRST_FRAME,
    INBOX,
    LARGE,
    MAX_FRAME,
    MAX_MESSAGE,
    Frame,
    FrameDecoder,
    encode_frame,
    frame_header,
)
from titan.protocol.messages import Error, Message
from titan.protocol.opcodes import OPCODE_OF, OPCODES
from titan.protocol.ranges import MAX_INT

_length = Struct(">I")
_encode = msgspec.msgpack.Encoder().encode
_decoders: dict[int, msgspec.msgpack.Decoder[Any]] = {}
"""Decoders by opcode. A decoder is created when the first message of its kind arrives, because
creating all of them takes 6 ms."""
_ERROR_OPCODE = OPCODE_OF[Error]


Blob = bytes | memoryview
"""Raw bytes that follow a message. A large blob is a view of memory that nothing else uses."""


class Received(NamedTuple):
    """Message and the bytes that came with it."""

    message: Message
    blob: Blob


class Misfit(NamedTuple):
    """Complete frame without a valid message. Answer it with `error`; the connection stays open."""

    error: Error


def encode(message: Message, blob: Blob | None = None, *, compress: bool = False) -> bytes:
    """Return a message as frames. Raises LimitExceeded for a message over MAX_MESSAGE."""
    opcode = OPCODE_OF[type(message)]
    payload = _encode(message)
    if blob is None:
        return encode_frame(opcode, payload, ERROR if opcode == _ERROR_OPCODE else 0, compress=compress)
    return encode_frame(opcode, b"".join((_length.pack(len(payload)), payload, blob)), BLOB, compress=compress)


def encode_prefix(message: Message, blob: Blob) -> bytes:
    """Return the part of a frame before its blob. The caller can then write the blob uncopied.

    The whole frame must not be larger than MAX_FRAME.
    """
    payload = _encode(message)
    header = frame_header(OPCODE_OF[type(message)], 4 + len(payload) + len(blob), BLOB)
    return b"".join((header, _length.pack(len(payload)), payload))


class MessageDecoder:
    """Decoder of a stream of messages. Raises PeerError when the rest of the stream is
    unreadable."""

    def __init__(
        self, max_frame: int = MAX_FRAME, max_message: int = MAX_MESSAGE, inbox: int = INBOX, *, compressed: bool = True
    ) -> None:
        self._frames = FrameDecoder(max_frame, max_message, inbox, compressed=compressed)

    @classmethod
    def before_handshake(cls) -> MessageDecoder:
        """Return a decoder for a peer that has not sent its Hello yet.

        Until `allow`, frames must be small and not compressed.
        """
        return cls(FIRST_FRAME, FIRST_FRAME, FIRST_FRAME, compressed=False)

    def allow(self, max_frame: int = MAX_FRAME, max_message: int = MAX_MESSAGE) -> None:
        self._frames.allow(max_frame, max_message)

    @property
    def pending(self) -> int:
        return self._frames.pending

    @property
    def memory(self) -> int:
        return self._frames.memory

    def drop(self) -> None:
        """Drop incomplete data. Call this when no more data will arrive."""
        self._frames.drop()

    def space(self) -> memoryview:
        """Return the memory into which bytes may be received. Then call `received`."""
        return self._frames.space()

    def received(self, count: int) -> list[Received | Misfit]:
        return [_read(frame) for frame in self._frames.received(count)]

    def receive_data(self, data: bytes | bytearray | memoryview) -> list[Received | Misfit]:
        return [_read(frame) for frame in self._frames.receive_data(data)]


def error_of(request: int, fault: TitanError, job: str = "") -> Error:
    return Error(request, fault.code, str(fault), job or getattr(fault, "job", ""), fault.retryable)


def _read(frame: Frame) -> Received | Misfit:
    payload: bytes | memoryview = frame.payload
    blob: Blob = b""
    if frame.flags & BLOB:
        if len(payload) < 4 or (end := 4 + _length.unpack_from(payload)[0]) > len(payload):
            return _misfit(b"", f"opcode {frame.opcode}: a blob frame whose message is longer than the frame")
        whole = memoryview(payload)
        blob = whole[end:] if len(whole) >= LARGE else bytes(whole[end:])
        payload = whole[4:end]
    decoder = _decoders.get(frame.opcode) or _make_decoder(frame.opcode)
    if decoder is None:
        return _misfit(payload, f"opcode {frame.opcode} is unknown here; the peer may be newer")
    try:
        return Received(decoder.decode(payload), blob)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        name = OPCODES[frame.opcode].__name__
        return _misfit(payload, f"opcode {frame.opcode} ({name}) has an invalid payload: {e}")


def _make_decoder(opcode: int) -> msgspec.msgpack.Decoder[Any] | None:
    kind = OPCODES.get(opcode)
    if kind is None:
        return None
    return _decoders.setdefault(opcode, msgspec.msgpack.Decoder(kind))


def _misfit(payload: bytes | memoryview, message: str) -> Misfit:
    return Misfit(error_of(_request_of(payload), ProtocolError(message)))


def _request_of(payload: bytes | memoryview) -> int:
    """Return the request id in a payload of unknown shape; 0 if there is no valid one."""
    try:
        fields = msgspec.msgpack.decode(payload)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return 0
    first = fields[0] if isinstance(fields, list) and fields else 0
    return first if isinstance(first, int) and not isinstance(first, bool) and 0 <= first <= MAX_INT else 0
