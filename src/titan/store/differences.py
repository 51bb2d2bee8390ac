"""Where commands differ from those of Redis 7.0, and which are not there. docs/store.md is made
from this and from `table`."""

from __future__ import annotations

_PAGES = "COUNT is exact, also for small keys. What is there when a scan begins is returned once; what comes later is not"
_PICKS = "at most 1,000,000 elements if they may repeat (a negative count)"
_NOTHING = "nothing is recorded: always empty"
_ENDLESS = "a timeout beyond the year 292,277,026 is refused"
_JOURNAL = "the journal is what makes changes durable; this asks for a snapshot of it"

DIFFERS: dict[str, str] = {
    "auth": "the one user is `default`, with the setting `requirepass`",
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
    "cas": "is Titan's own, for changes that several nodes agree on without a transaction",
    "client|no-touch": "remembers the flag and does nothing else; Redis has it from 7.2 on",
    "client|setinfo": "Redis has it from 7.2 on, and its clients ask for it",
    "client|info": "fewer fields; without those of buffers",
    "client|list": "fewer fields; without those of buffers",
    "command": "the commands of this page; no key specifications, no hints",
    "command|docs": "summary and group alone",
    "command|info": "no key specifications, no hints",
    "config|get": "`requirepass` is kept hashed and shown as `(hidden)`; the settings that there are: `CONFIG GET *` lists them",
    "config|rewrite": "there is no file: a setting lasts until the restart",
    "config|set": "`proto-max-bulk-len` is at most 1 GiB; the settings that there are: `CONFIG GET *` lists them",
    "config|resetstat": "the counters of INFO",
    "flushall": "the spaces of runs stay; in a run's space it empties that space alone; not for jobs",
    "flushdb": "a job may empty the space of its run alone",
    "swapdb": "not for jobs",
    "hrandfield": _PICKS,
    "hscan": _PAGES,
    "info": "fewer fields, and those of the cluster",
    "lastsave": "the last snapshot",
    "latency|history": _NOTHING,
    "latency|latest": _NOTHING,
    "lcs": "the product of both lengths is at most 64,000,000",
    "memory|usage": "an estimate of what Python takes",
    "object|encoding": "by what is there now: a key that was large once is told by its present size; `embstr` up to 44 bytes",
    "object|idletime": "always 0",
    "object|refcount": "1, or the number for integers that Redis shares",
    "randomkey": "takes time in proportion to the keys: some 5 ms for a million",
    "save": _JOURNAL,
    "scan": _PAGES,
    "select": "the spaces of runs are out of its reach; not for jobs",
    "shutdown": "the options are those of Redis; the journal decides what is durable",
    "slowlog|get": _NOTHING,
    "slowlog|len": _NOTHING,
    "sort": "elements of equal weight keep their order; with STORE no pattern may reach a key of the cluster",
    "sort_ro": "elements of equal weight keep their order",
    "srandmember": _PICKS,
    "sscan": _PAGES,
    "wait": "there are no replicas: always 0",
    "xadd": "trims exactly: `~` is taken as `=` with its LIMIT",
    "xinfo|stream": "the numbers of radix-tree-keys and -nodes are made up",
    "xtrim": "trims exactly: `~` is taken as `=` with its LIMIT",
    "zadd": "a score of -0 is 0, as Redis has it in small sorted sets alone",
    "zrandmember": _PICKS,
    "zscan": _PAGES,
}
"""By the table's names."""

NOT_SUPPORTED: dict[str, str] = {
    "scripts and functions": "EVAL EVALSHA EVAL_RO EVALSHA_RO SCRIPT FUNCTION FCALL FCALL_RO",
    "users": "ACL, and any user but `default`",
    "cluster and replicas": "CLUSTER ASKING READONLY READWRITE REPLICAOF SLAVEOF SYNC PSYNC FAILOVER MIGRATE",
    "channels of a cluster's shards": "SSUBSCRIBE SUNSUBSCRIBE SPUBLISH",
    "serialised values": "DUMP RESTORE",
    "geography": "GEOADD GEODIST GEOHASH GEOPOS GEOSEARCH GEOSEARCHSTORE GEORADIUS and its relatives",
    "HyperLogLog": "PFADD PFCOUNT PFMERGE",
    "watching the server": "MONITOR DEBUG MODULE LOLWUT MEMORY DOCTOR STATS PURGE, LATENCY DOCTOR GRAPH HISTOGRAM",
    "the rest of CLIENT": "CLIENT TRACKING CACHING TRACKINGINFO GETREDIR PAUSE UNPAUSE",
    "help": "HELP of any command: this page is it",
}
"""Each is answered as Redis answers a command that it does not know."""
