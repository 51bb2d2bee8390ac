"""Differences from Redis 7.0: commands that differ, and commands that are not supported.

docs/store.md is generated from this module and from `table`.
"""

from __future__ import annotations

_PAGES = (
    "COUNT is exact, even for small values. "
    "A scan returns the elements that exist when it begins, each once, and none that are added later"
)
_PICKS = "a negative count, with which elements may repeat, is at least -1,000,000"
_NOTHING = "always empty, because nothing is recorded"
_ENDLESS = "a timeout beyond the year 292,277,026 is refused"
_TRIMS = "trims exactly: `~` works like `=`, but deletes at most LIMIT entries (10,000 by default)"
_JOURNAL = "the journal makes changes durable; this command requests a snapshot"

DIFFERS: dict[str, str] = {
    "auth": "the only user is `default`; its password is the setting `requirepass`",
    "bgrewriteaof": _JOURNAL,
    "bgsave": _JOURNAL,
    "blmove": _ENDLESS,
    "blmpop": _ENDLESS,
    "blpop": _ENDLESS,
    "brpop": _ENDLESS,
    "brpoplpush": _ENDLESS,
    "bzmpop": _ENDLESS,
    "bzpopmax": _ENDLESS,
    "bzpopmin": _ENDLESS,
    "cas": "Titan's own command, for atomic changes by several nodes without a transaction",
    "client|no-touch": "the flag has no effect; Redis has this command from 7.2 on",
    "client|setinfo": "Redis has this command from 7.2 on, and its clients use it",
    "client|info": "fewer fields, and none about buffers",
    "client|list": "fewer fields, and none about buffers",
    "command": "only the commands of this page; no key specifications, no hints",
    "command|docs": "only summary and group",
    "command|info": "no key specifications, no hints",
    "config|get": "`requirepass` is stored as a hash and shown as `(hidden)`; `CONFIG GET *` lists all settings",
    "config|rewrite": "there is no configuration file, so changed settings are lost at a restart",
    "config|set": "`proto-max-bulk-len` is at most 1 GiB; `CONFIG GET *` lists all settings",
    "config|resetstat": "resets only the counters of INFO",
    "flushall": "does not empty the databases of runs; refused for jobs",
    "flushdb": "a job may empty only the database of its run",
    "swapdb": "refused for jobs",
    "hrandfield": _PICKS,
    "hscan": _PAGES,
    "info": "fewer fields, and additional fields about the cluster",
    "lastsave": "a snapshot counts as a save",
    "latency|history": _NOTHING,
    "latency|latest": _NOTHING,
    "lcs": "the product of both lengths is at most 64,000,000",
    "memory|usage": "estimates the memory of the Python objects",
    "object|encoding": "depends only on the present size, even if the key was larger before; `embstr` up to 44 bytes",
    "object|idletime": "always 0",
    "object|refcount": "1; for integers below 10,000 the constant by which Redis marks shared integers",
    "randomkey": "takes time in proportion to the number of keys: about 5 ms for a million",
    "save": _JOURNAL,
    "scan": _PAGES,
    "select": "cannot select the database of a run; refused for jobs",
    "shutdown": "takes the options of Redis, but they do not affect durability; a master refuses it",
    "slowlog|get": _NOTHING,
    "slowlog|len": "always 0, because nothing is recorded",
    "sort": "elements of equal weight keep their order; with STORE, patterns must not match keys of the cluster",
    "sort_ro": "elements of equal weight keep their order",
    "srandmember": _PICKS,
    "sscan": _PAGES,
    "wait": "always 0, because there are no replicas",
    "xadd": _TRIMS,
    "xinfo|stream": "radix-tree-keys and radix-tree-nodes are estimates",
    "xtrim": _TRIMS,
    "zadd": "a score of -0 becomes 0, which Redis does only in small sorted sets",
    "zrandmember": _PICKS,
    "zscan": _PAGES,
}
"""Differences, by the name of the command in `table`."""

NOT_SUPPORTED: dict[str, str] = {
    "scripts and functions": "EVAL EVALSHA EVAL_RO EVALSHA_RO SCRIPT FUNCTION FCALL FCALL_RO",
    "users": "ACL, and users other than `default`",
    "cluster and replicas": "CLUSTER ASKING READONLY READWRITE REPLICAOF SLAVEOF SYNC PSYNC FAILOVER MIGRATE",
    "sharded channels": "SSUBSCRIBE SUNSUBSCRIBE SPUBLISH",
    "serialised values": "DUMP RESTORE",
    "geography": "GEOADD GEODIST GEOHASH GEOPOS GEOSEARCH GEOSEARCHSTORE GEORADIUS and related commands",
    "HyperLogLog": "PFADD PFCOUNT PFMERGE",
    "watching the server": "MONITOR DEBUG MODULE LOLWUT MEMORY DOCTOR STATS PURGE, LATENCY DOCTOR GRAPH HISTOGRAM",
    "the rest of CLIENT": "CLIENT TRACKING CACHING TRACKINGINFO GETREDIR PAUSE UNPAUSE",
    "help": "the subcommand HELP of any command; this page replaces it",
}
"""Unsupported commands by area. The reply is that of Redis for an unknown command."""
