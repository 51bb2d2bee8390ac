"""What every message is. The messages of one feature may stand in a file of their own, which
`messages` gathers."""

from __future__ import annotations

import msgspec

from titan.protocol.ranges import RequestId


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    request: RequestId
