"""Messages from a worker that concern only calls of functions."""

from __future__ import annotations

from titan.protocol.base import Message
from titan.protocol.ranges import Column, Lease


class Awaiting(Message, frozen=True):
    """List of all calls of the worker that now wait for other calls, and so use no slot.

    The worker sends the whole list whenever the list changes.
    """

    leases: Column[Lease]
