"""A command that breaks off where it should not: memory is short, or it has a bug.

It is answered with an error, and nobody else notices. What it did until then stays. The journal is
told how the keys that it names are now, so that a restart finds the same.
"""

from __future__ import annotations

from titan.store.command import Command
from titan.store.context import Context
from titan.store.replies import Error
from titan.store.rewriting import changes_of_key

_NO_MEMORY = Error(b"OOM the machine has not the memory for this command")


def reply_to(ctx: Context, command: Command, args: list[bytes], error: Exception) -> Error:
    """The reply to a command that raised `error`."""
    if command.writes:
        for key in dict.fromkeys(command.keys_of(args)):
            ctx.log([b"DEL", key])
            ctx.changes.extend(changes_of_key(ctx.db, key))
            ctx.touch(key)
    if isinstance(error, MemoryError):
        return _NO_MEMORY
    ctx.hooks.broke(command.name.decode(), error)
    return Error(b"ERR internal error: %b broke off; the log of the store says where" % command.name.upper())
