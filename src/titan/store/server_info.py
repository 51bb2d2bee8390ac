"""Commands about the server: INFO, CONFIG, TIME, SAVE, SHUTDOWN and similar commands."""

from __future__ import annotations

from typing import Any

from titan.errors import CallerError
from titan.store.connection import VERSION
from titan.store.context import Context
from titan.store.parsing import INT_MAX, bounded, integer
from titan.store.patterns import folded
from titan.store.replies import OK, SYNTAX, Error, Refusal, Reply, Verbatim, misused, shown


# -- INFO ------------------------------------------------------------------------------------------
def info(ctx: Context, args: list[bytes]) -> Reply:
    sections = {title: _SECTIONS[title](ctx) for title in _SECTIONS}
    for title, more in ctx.hooks.facts().items():
        sections.setdefault(title, {}).update(more)
    wanted = [arg.lower() for arg in args[1:]]
    if wanted and not any(word in (b"all", b"default", b"everything") for word in wanted):
        sections = {title: facts for title, facts in sections.items() if title.lower().encode() in wanted}
    parts = [
        "# " + title + "\r\n" + "".join(f"{name}:{value}\r\n" for name, value in facts.items()) for title, facts in sections.items()
    ]
    return Verbatim("\r\n".join(parts).encode())


def _server(ctx: Context) -> dict[str, object]:
    return {"redis_version": VERSION.decode(), "redis_mode": "standalone", "server_name": "titan", "arch_bits": 64}


def _clients(ctx: Context) -> dict[str, object]:
    sessions = list(ctx.sessions.values())
    return {
        "connected_clients": len(sessions),
        "maxclients": ctx.settings["maxclients"],
        "blocked_clients": sum(session.blocked is not None for session in sessions),
        "pubsub_clients": sum(bool(session.channels or session.patterns) for session in sessions),
    }


def _memory(ctx: Context) -> dict[str, object]:
    used = ctx.meter.total if ctx.meter is not None else 0
    return {"used_memory": used, "maxmemory": ctx.settings["maxmemory"], "maxmemory_policy": ctx.settings["maxmemory-policy"]}


def _persistence(ctx: Context) -> dict[str, object]:
    return {"loading": 0, "aof_enabled": 1, "rdb_last_save_time": ctx.hooks.last_save_s()}


def _stats(ctx: Context) -> dict[str, object]:
    counters = ctx.counters
    return {
        "total_connections_received": counters.sessions,
        "total_commands_processed": counters.commands,
        "expired_keys": counters.expired,
        "evicted_keys": counters.evicted,
        "keyspace_hits": counters.hits,
        "keyspace_misses": counters.misses,
        "pubsub_channels": len(ctx.channels),
        "pubsub_patterns": len(ctx.patterns),
    }


def _replication(ctx: Context) -> dict[str, object]:
    return {"role": "master", "connected_slaves": 0}


def _keyspace(ctx: Context) -> dict[str, object]:
    return {
        f"db{db.index}": f"keys={len(db.data)},expires={len(db.expires)},avg_ttl=0"
        for db in list(ctx.databases.values())
        if db.data and db.index < ctx.settings.number("databases")
    }


_SECTIONS: dict[str, Any] = {
    "Server": _server,
    "Clients": _clients,
    "Memory": _memory,
    "Persistence": _persistence,
    "Stats": _stats,
    "Replication": _replication,
    "Keyspace": _keyspace,
}


# -- CONFIG ----------------------------------------------------------------------------------------
def config_get(ctx: Context, args: list[bytes]) -> Reply:
    matchers = [folded(pattern) for pattern in args[2:]]
    names = [name for name in ctx.settings.names() if any(matches(name.encode()) for matches in matchers)]
    return {name.encode(): ctx.settings.shown(name).encode() for name in names}


def config_set(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) % 2:
        raise Refusal(SYNTAX)
    changes: dict[str, str] = {}
    for name_bytes, value in zip(args[2::2], args[3::2], strict=True):
        name = name_bytes.lower().decode("latin-1")
        try:
            checked = ctx.settings.checked(name, value.decode(errors="surrogateescape"))
        except KeyError:
            text = shown(name_bytes)
            raise Refusal(b"ERR Unknown option or number of arguments for CONFIG SET - '%b'" % text) from None
        except CallerError as error:
            raise Refusal(
                f"ERR CONFIG SET failed (possibly related to argument '{name}') - {error}".encode("latin-1", "replace")
            ) from None
        if name in changes:
            raise Refusal(f"ERR CONFIG SET failed (possibly related to argument '{name}') - duplicate parameter".encode())
        changes[name] = checked
    for name, value_text in changes.items():
        ctx.settings.change(name, value_text)
        ctx.hooks.configured(name, value_text)
    ctx.review()
    return OK


def config_resetstat(ctx: Context, args: list[bytes]) -> Reply:
    ctx.counters.__init__()  # type: ignore[misc]
    return OK


def config_rewrite(ctx: Context, args: list[bytes]) -> Reply:
    raise Refusal(b"ERR The server is running without a config file")


def unknown_subcommand(args: list[bytes]) -> Error:
    return Error(b"ERR unknown subcommand '%b'. Try %b HELP." % (shown(args[1]), args[0].upper()))


# -- the rest --------------------------------------------------------------------------------------
def time(ctx: Context, args: list[bytes]) -> Reply:
    return [b"%d" % (ctx.now // 1000), b"%d" % (ctx.now % 1000 * 1000)]


def lastsave(ctx: Context, args: list[bytes]) -> Reply:
    return ctx.hooks.last_save_s()


def save(ctx: Context, args: list[bytes]) -> Reply:
    return ctx.hooks.save(background=False)


def bgsave(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) > 2 or (len(args) == 2 and args[1].upper() != b"SCHEDULE"):
        raise Refusal(SYNTAX)
    return ctx.hooks.save(background=True)


def bgrewriteaof(ctx: Context, args: list[bytes]) -> Reply:
    return ctx.hooks.rewrite()


def shutdown(ctx: Context, args: list[bytes]) -> Reply:
    options = [arg.upper() for arg in args[1:]]
    if any(option not in (b"NOSAVE", b"SAVE", b"NOW", b"FORCE", b"ABORT") for option in options):
        raise Refusal(SYNTAX)
    return ctx.hooks.shutdown(options)


def role(ctx: Context, args: list[bytes]) -> Reply:
    return [b"master", 0, []]


def wait(ctx: Context, args: list[bytes]) -> Reply:
    integer(args[1])
    if integer(args[2], Error(b"ERR timeout is not an integer or out of range")) < 0:
        raise Refusal(b"ERR timeout is negative")
    return 0


def slowlog_get(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) > 3:
        raise Refusal(misused(args))
    if len(args) == 3:
        bounded(args[2], -1, INT_MAX, Error(b"ERR count should be greater than or equal to -1"))
    return []


def slowlog_len(ctx: Context, args: list[bytes]) -> Reply:
    return 0


def slowlog_reset(ctx: Context, args: list[bytes]) -> Reply:
    return OK


def latency_latest(ctx: Context, args: list[bytes]) -> Reply:
    return []


def latency_history(ctx: Context, args: list[bytes]) -> Reply:
    return []


def latency_reset(ctx: Context, args: list[bytes]) -> Reply:
    return 0
