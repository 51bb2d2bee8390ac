"""Differences from Redis 7.0: commands that differ, and commands that are not supported.

docs/store.md is generated from this module and from `table`.
"""

from __future__ import annotations

_PAGES = "COUNT is exact, also for small keys. Elements that exist when a scan begins are returned once; later ones are not"
_PICKS = "at most 1,000,000 elements if they may repeat (a negative count)"
_NOTHING = "nothing is recorded: always empty"
_ENDLESS = "a timeout beyond the year 292,277,026 is refused"
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
    "client|no-touch": "only stores the flag; Redis has this command from 7.2 on",
    "client|setinfo": "Redis has this command from 7.2 on, and its clients use it",
    "client|info": "fewer fields; without those of buffers",
    "client|list": "fewer fields; without those of buffers",
    "command": "only the commands of this page; no key specifications, no hints",
    "command|docs": "only summary and group",
    "command|info": "no key specifications, no hints",
    "config|get": "`requirepass` is stored as a hash and shown as `(hidden)`; `CONFIG GET *` lists all settings",
    "config|rewrite": "there is no file: a setting is lost at a restart",
    "config|set": "`proto-max-bulk-len` is at most 1 GiB; `CONFIG GET *` lists all settings",
    "config|resetstat": "resets only the counters of INFO",
    "flushall": "does not empty the spaces of runs; in a run's space it empties only that space; not for jobs",
    "flushdb": "a job may empty only the space of its run",
    "swapdb": "not for jobs",
    "hrandfield": _PICKS,
    "hscan": _PAGES,
    "info": "fewer fields, and further fields of the cluster",
    "lastsave": "the time of the last snapshot",
    "latency|history": _NOTHING,
    "latency|latest": _NOTHING,
    "lcs": "the product of both lengths is at most 64,000,000",
    "memory|usage": "an estimate of the memory in Python",
    "object|encoding": "depends on the present size only, also for a key that was larger before; `embstr` up to 44 bytes",
    "object|idletime": "always 0",
    "object|refcount": "1, or the number of Redis for shared integers",
    "randomkey": "the time is proportional to the number of keys: some 5 ms for a million",
    "save": _JOURNAL,
    "scan": _PAGES,
    "select": "cannot select the spaces of runs; not for jobs",
    "shutdown": "takes the options of Redis, but the journal decides what is durable",
    "slowlog|get": _NOTHING,
    "slowlog|len": _NOTHING,
    "sort": "elements of equal weight keep their order; with STORE, patterns must not match keys of the cluster",
    "sort_ro": "elements of equal weight keep their order",
    "srandmember": _PICKS,
    "sscan": _PAGES,
    "wait": "there are no replicas: always 0",
    "xadd": "trims exactly: `~` means `=` with its LIMIT",
    "xinfo|stream": "radix-tree-keys and radix-tree-nodes are estimates",
    "xtrim": "trims exactly: `~` means `=` with its LIMIT",
    "zadd": "a score of -0 becomes 0, which Redis does only in small sorted sets",
    "zrandmember": _PICKS,
    "zscan": _PAGES,
}
"""Differences by name in the table."""

NOT_SUPPORTED: dict[str, str] = {
    "scripts and functions": "EVAL EVALSHA EVAL_RO EVALSHA_RO SCRIPT FUNCTION FCALL FCALL_RO",
    "users": "ACL, and users other than `default`",
    "cluster and replicas": "CLUSTER ASKING READONLY READWRITE REPLICAOF SLAVEOF SYNC PSYNC FAILOVER MIGRATE",
    "channels of a cluster's shards": "SSUBSCRIBE SUNSUBSCRIBE SPUBLISH",
    "serialised values": "DUMP RESTORE",
    "geography": "GEOADD GEODIST GEOHASH GEOPOS GEOSEARCH GEOSEARCHSTORE GEORADIUS and related commands",
    "HyperLogLog": "PFADD PFCOUNT PFMERGE",
    "watching the server": "MONITOR DEBUG MODULE LOLWUT MEMORY DOCTOR STATS PURGE, LATENCY DOCTOR GRAPH HISTOGRAM",
    "the rest of CLIENT": "CLIENT TRACKING CACHING TRACKINGINFO GETREDIR PAUSE UNPAUSE",
    "help": "HELP of any command: see this page",
}
"""Unsupported commands by area. The reply is that of Redis for an unknown command."""
