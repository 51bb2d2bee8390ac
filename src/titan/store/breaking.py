"""Handling of commands that fail unexpectedly, for lack of memory or because of a bug.

The client gets an error, and other clients are not affected. Changes that the command made before
it failed are kept. The journal gets the current values of the command's keys, so that a restart
restores the same state.
"""

from __future__ import annotations

from titan.store.command import Command
from titan.store.context import Context
from titan.store.replies import Error
from titan.store.rewriting import changes_of_key

_NO_MEMORY = Error(b"OOM the machine does not have enough memory for this command")


def reply_to(ctx: Context, command: Command, args: list[bytes], error: Exception) -> Error:
    """Return the reply to a command that raised `error`, and record the values of its keys."""
    if command.writes:
        for key in dict.fromkeys(command.keys_of(args)):
            ctx.log([b"DEL", key])
            ctx.changes.extend(changes_of_key(ctx.db, key))
            ctx.touch(key)
    if isinstance(error, MemoryError):
        return _NO_MEMORY
    ctx.hooks.broke(command.name.decode(), error)
    return Error(b"ERR internal error: %b failed; the log of the store has the details" % command.name.upper())
