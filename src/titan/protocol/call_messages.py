"""Messages from a worker that concern only calls of functions."""

from __future__ import annotations

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Lease


class Awaiting(Message, frozen=True):
    """All calls of the worker that wait for other calls and use no slot meanwhile.

    The worker sends the whole list whenever the list changes.
    """

    leases: Column[Lease]
