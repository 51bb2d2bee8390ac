"""What a worker says of calls of functions beside what it says of all attempts."""

from __future__ import annotations

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Lease


class Awaiting(Message, frozen=True):
    """Those of the worker's calls that wait for other calls and use no slot meanwhile: all, each
    time one more or less does."""

    leases: Column[Lease]
