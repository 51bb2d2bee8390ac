"""Messages that manage secrets, and the message that sends values to a worker. No message sends a
value to a client."""

from __future__ import annotations

from typing import Any

import msgspec

from titan.protocol.base import Message
from titan.protocol.ranges import Bytes, Column, Count, Lease, Measured, Name, Row


class _Hidden(Message, frozen=True):
    """Message whose fields are hidden in its repr."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.request}, ...)"

    def __rich_repr__(self) -> Any:
        yield self.request


class SetSecret(_Hidden, frozen=True):
    """Set or replace the value of a secret: 4 bytes to 64 KiB, without NUL.

    Answered by SecretSet.
    """

    name: Name
    value: Bytes


class SecretRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Secret without its value. `version`: number of times that the secret was set. `set_at`: the
    last of these times, in seconds since the epoch."""

    name: Name
    version: Count
    set_at: Measured


class SecretSet(Message, frozen=True):
    """The secret is on the master's disk."""

    secret: SecretRow


class ListSecrets(Message, frozen=True):
    pass


class Secrets(Message, frozen=True):
    """All secrets, sorted by name."""

    secrets: Column[SecretRow]


class RemoveSecret(Message, frozen=True):
    """Remove a secret. Running attempts keep its value. Answered by SecretRemoved."""

    name: Name


class SecretRemoved(Message, frozen=True):
    name: Name


class GiveSecrets(_Hidden, frozen=True):
    """Secrets of attempts. The master sends them to a worker before the Dispatch of these leases.

    `given` lists the secrets of each lease as positions in `names` and `values`. An empty value
    means that the secret was removed: the worker reports the attempt as REFUSED.
    """

    names: Column[Name]
    values: Column[Bytes]
    leases: Column[Lease]
    given: Column[Row[Count]]
