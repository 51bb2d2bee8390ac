"""Checks before a command runs, for derived keys, the memory limit and the sessions of jobs. See
`Context.guarded`."""

from __future__ import annotations

from titan.store.command import Command
from titan.store.context import SPACES, Context
from titan.store.replies import OUT_OF_MEMORY, Refusal, shown

_NOT_FOR_JOBS = b"NOPERM a job may not run %b: it administers the store. Use `titan store` or a connection to the store's port"
_NOT_QUEUED = (b"exec", b"discard", b"reset", b"quit")


def check(ctx: Context, command: Command, args: list[bytes]) -> None:
    """Check a command, and evict keys if necessary. Raises Refusal for a write to a derived key,
    and for a write that exceeds the memory limit."""
    check_names(ctx, command, args)
    if ctx.meter is not None and not make_room(ctx) and (command.grows or _is_queued(ctx, command)):
        raise Refusal(OUT_OF_MEMORY)


def check_job(ctx: Context, command: Command) -> None:
    """Raise Refusal for a command that the session of a job may not run."""
    if ctx.session.job and (command.administers or (command.empties and ctx.db.index < SPACES)):
        raise Refusal(_NOT_FOR_JOBS % command.name.replace(b"|", b" ").upper())


def check_job_stays(ctx: Context) -> None:
    """Raise Refusal in the session of a job, for a command that uses another database."""
    if ctx.session.job:
        raise Refusal(
            b"NOPERM a job cannot use another database: context.store has the keys of its run, context.shared_store the shared keys"
        )


def _is_queued(ctx: Context, command: Command) -> bool:
    """Return whether a transaction will queue the command, because every queued command takes
    memory."""
    return ctx.session.queue is not None and command.name not in _NOT_QUEUED


def check_names(ctx: Context, command: Command, args: list[bytes]) -> None:
    """Raise Refusal for a write to a derived key.

    The names of derived keys are reserved in every database that SELECT can choose. Otherwise
    SWAPDB could bring a stored key to a database where it hides a derived key.
    """
    if command.writes and ctx.prefixes and ctx.db.index < SPACES:
        for key in args[1:2] if command.keys == "1" else command.keys_of(args):
            if key.startswith(ctx.prefixes) and ctx.is_derived(key):
                raise Refusal(b"ERR '%b' belongs to the cluster and can only be read" % shown(key))


def make_room(ctx: Context) -> bool:
    """Evict keys while they exceed `maxmemory`, if the policy allows eviction. Return whether the
    keys fit."""
    meter, limit = ctx.meter, ctx.settings.max_memory
    if meter is None:
        return True
    while meter.total > limit:
        idlest = meter.idlest() if ctx.settings.evicts else None
        if idlest is None:
            return False
        db, key = ctx.databases[idlest[0]], idlest[1]
        db.remove(key)
        ctx.counters.evicted += 1
        ctx.changes.append((db.index, [b"DEL", key]))
        ctx.touch(key, db)
    return True
