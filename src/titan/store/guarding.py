"""What is looked at before a command runs, if there are derived keys or a limit on memory: see
`Context.guarded`."""

from __future__ import annotations

from titan.store.command import Command
from titan.store.context import SPACES, Context
from titan.store.replies import OUT_OF_MEMORY, Refusal, shown

_NOT_A_JOBS = b"NOPERM a job may not run %b: it administers the store. Use `titan store` or a connection to the store's port"
_NOT_QUEUED = (b"exec", b"discard", b"reset", b"quit")


def check(ctx: Context, command: Command, args: list[bytes]) -> None:
    """Makes room first. Raises Refusal for a write to keys that are derived, and for one that
    memory is not there for."""
    check_names(ctx, command, args)
    if ctx.meter is not None and not make_room(ctx) and (command.grows or _is_queued(ctx, command)):
        raise Refusal(OUT_OF_MEMORY)


def check_job(ctx: Context, command: Command) -> None:
    """Raises Refusal for a command that the session of a job may not run."""
    if ctx.session.job and (command.administers or (command.empties and ctx.db.index < SPACES)):
        raise Refusal(_NOT_A_JOBS % command.name.replace(b"|", b" ").upper())


def check_job_stays(ctx: Context) -> None:
    """Raises Refusal for a command that leads a job to another database."""
    if ctx.session.job:
        raise Refusal(b"NOPERM a job reaches one database: its run's with context.store, everybody's with context.shared_store")


def _is_queued(ctx: Context, command: Command) -> bool:
    """A transaction's queue takes memory, whatever is in it."""
    return ctx.session.queue is not None and command.name not in _NOT_QUEUED


def check_names(ctx: Context, command: Command, args: list[bytes]) -> None:
    """Raises Refusal for a write to keys that are derived. Their names are taken in each database
    that SELECT can choose: SWAPDB would bring such a key to where it hides a derived one."""
    if command.writes and ctx.prefixes and ctx.db.index < SPACES:
        for key in args[1:2] if command.keys == "1" else command.keys_of(args):
            if key.startswith(ctx.prefixes):
                raise Refusal(b"ERR '%b' belongs to the cluster and can only be read" % shown(key))


def make_room(ctx: Context) -> bool:
    """Whether the keys take no more than `maxmemory`, of which the policy may have made some go."""
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
