"""Base class of messages. A feature's messages may have their own module; `messages` exports all
messages."""

from __future__ import annotations

import msgspec

from titan.protocol.ranges import RequestId


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    request: RequestId
