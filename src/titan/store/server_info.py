"""What the store tells of itself, and its settings: INFO, COMMAND, CONFIG, TIME, and the commands that ask for durability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from titan.errors import CallerError
from titan.store.connection import VERSION
from titan.store.context import Context
from titan.store.parsing import integer
from titan.store.patterns import folded
from titan.store.replies import OK, SYNTAX, Error, Refusal, Reply, SetReply, Status, Verbatim, shown

if TYPE_CHECKING:
    from titan.store.table import Command


# -- INFO ---------------------------------------------------------------------------------------------------------------
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


# -- COMMAND ------------------------------------------------------------------------------------------------------------
_FLAG_NAMES = {
    "w": b"write",
    "r": b"readonly",
    "m": b"denyoom",
    "b": b"blocking",
    "p": b"pubsub",
    "a": b"admin",
    "f": b"fast",
    "n": b"no_auth",
}


def command(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) > 1:
        raise Refusal(unknown_subcommand(args))
    return [_facts(one) for one in _table().values()]


def command_count(ctx: Context, args: list[bytes]) -> Reply:
    return len(_table())


def command_info(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) == 2:
        return command(ctx, args[:1])
    found = (_named(name) for name in args[2:])
    return [None if one is None else _facts(one) for one in found]


def command_list(ctx: Context, args: list[bytes]) -> Reply:
    names = list(_table())
    if len(args) == 2:
        return list(names)
    if len(args) != 5 or args[2].upper() != b"FILTERBY":
        raise Refusal(SYNTAX)
    how, value = args[3].upper(), args[4]
    if how == b"PATTERN":
        matches = folded(value)
        return [name for name in names if matches(name)]
    if how in (b"MODULE", b"ACLCAT"):
        return []
    raise Refusal(SYNTAX)


def command_docs(ctx: Context, args: list[bytes]) -> Reply:
    table = _table()
    chosen = [table[name.lower()] for name in args[2:] if name.lower() in table] if len(args) > 2 else list(table.values())
    return {one.name: _docs(one) for one in chosen}


def command_getkeys(ctx: Context, args: list[bytes]) -> Reply:
    called = args[2:]
    found = _table().get(called[0].lower())
    if found is not None and found.sub and len(called) > 1:
        found = found.sub.get(called[1].lower())
    if found is None:
        raise Refusal(b"ERR Invalid command specified")
    if not found.takes(len(called)):
        raise Refusal(b"ERR Invalid number of arguments specified for command")
    if found.keys == "-":
        raise Refusal(b"ERR The command has no key arguments")
    keys = found.keys_of(called)
    if not keys:
        raise Refusal(b"ERR Invalid arguments specified for command")
    return list(keys)


def unknown_subcommand(args: list[bytes]) -> Error:
    return Error(b"ERR unknown subcommand '%b'. Try %b HELP." % (shown(args[1]), args[0].upper()))


def _table() -> dict[bytes, Command]:
    from titan.store.table import COMMANDS  # which names this module

    return COMMANDS


def _named(name: bytes) -> Command | None:
    parent, _, sub = name.lower().partition(b"|")
    found = _table().get(parent)
    return found.sub.get(sub) if found is not None and sub else found


def _facts(one: Command) -> list[Any]:
    flags = SetReply(Status(_FLAG_NAMES[letter]) for letter in one.flags if letter in _FLAG_NAMES)
    if one.keys == "streams" or "n" in one.keys or one.keys == "sort":
        flags.append(Status(b"movablekeys"))
    first, last, step = one.key_range
    sub = [_facts(child) for child in one.sub.values()]
    return [one.name, one.arity, flags, first, last, step, SetReply(), [], [], sub]


def _docs(one: Command) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {
        b"summary": one.summary.encode(),
        b"since": b"1.0.0",
        b"group": one.group.replace(" ", "-").encode(),
    }
    if one.sub:
        found[b"subcommands"] = {child.name: _docs(child) for child in one.sub.values()}
    return found


# -- CONFIG -------------------------------------------------------------------------------------------------------------
def config_get(ctx: Context, args: list[bytes]) -> Reply:
    matchers = [folded(pattern) for pattern in args[2:]]
    names = [name for name in ctx.settings.names() if any(matches(name.encode()) for matches in matchers)]
    return {name.encode(): ctx.settings[name].encode(errors="surrogateescape") for name in names}


def config_set(ctx: Context, args: list[bytes]) -> Reply:
    if len(args) % 2:
        raise Refusal(b"ERR wrong number of arguments for 'config|set' command")
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


# -- the rest -----------------------------------------------------------------------------------------------------------
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
