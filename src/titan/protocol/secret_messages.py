"""Secrets: what clients say of them, and how their values get to a worker. No message takes a value
to a client."""

from __future__ import annotations

from typing import Any

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Bytes, Column, Count, Lease, Measured, Name, Row


class _Hidden(Message, frozen=True):
    """Its fields are shown nowhere, whoever prints it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.request}, ...)"

    def __rich_repr__(self) -> Any:
        yield self.request


class SetSecret(_Hidden, frozen=True):
    """Keep this value, 4 bytes to 64 KiB without a NUL, under this name, instead of the one that it
    has if it has one. Answered by SecretSet."""

    name: Name
    value: Bytes


class SecretRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A secret: how often it was set, and when last (seconds since the epoch)."""

    name: Name
    version: Count
    set_at: Measured


class SecretSet(Message, frozen=True):
    """It is on the disk."""

    secret: SecretRow


class ListSecrets(Message, frozen=True):
    pass


class Secrets(Message, frozen=True):
    """By name."""

    secrets: Column[SecretRow]


class RemoveSecret(Message, frozen=True):
    """Attempts that run keep it. Answered by SecretRemoved."""

    name: Name


class SecretRemoved(Message, frozen=True):
    name: Name


class GiveSecrets(_Hidden, frozen=True):
    """To a worker, before the Dispatch of these leases: the secrets that each has, as positions in
    `names` and `values`. An empty value means that there is none of that name any more: the attempt
    is to be REFUSED."""

    names: Column[Name]
    values: Column[Bytes]
    leases: Column[Lease]
    given: Column[Row[Count]]
