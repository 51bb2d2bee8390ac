"""Every command: how many arguments it takes, which of them are keys, what it may do, and the
function that does it.

Arity checks, transactions, COMMAND and docs/store.md are all made from this one table. A line of it
is

    name  arity  flags  keys  summary

Arity counts the name; -n is at least n. Flags: w writes, r reads, m may take more memory, b may
wait, p channels, a for operators, j for operators though Redis does not say so (neither is for the
session of a job), e empties a database (in the session of a job only the space of its run), f
quick, n without AUTH, x not in a transaction's queue but at once, o not in a transaction. Keys: `-`
none, `1`, `1:-1`, `1:-1:2` first to last argument and step, `n1` a number of keys at argument 1 and
the keys behind it, `1+n2` the key 1 and a number at 2, `streams` after STREAMS, `sort` the first
and what follows STORE.
"""

from __future__ import annotations

from types import ModuleType

from titan.store import (
    bitmaps,
    connection,
    described,
    expiry,
    hashes,
    keys,
    lists,
    pubsub,
    scanning,
    server_info,
    sets,
    sorted_set_algebra,
    sorted_set_ranges,
    sorted_sets,
    sorting,
    stream_groups,
    stream_info,
    stream_reading,
    streams,
    strings,
    transactions,
)
from titan.store.command import Command, Run
from titan.store.context import Context
from titan.store.guarding import check_job
from titan.store.replies import Reply

COMMANDS: dict[bytes, Command] = {}
"""By name in lower case."""
_GROUPS: tuple[tuple[str, tuple[ModuleType | described.Catalogue, ...], str], ...] = (
    (
        "string",
        (strings,),
        """
append        3 wmf 1      Adds to the end of a string; makes it if it is not there
cas          -4 wmf 1      Titan's own: sets a string to a new value if it has the old one (CAS key old new [PX ms]); 1 or 0
decr          2 wmf 1      Takes 1 from an integer
decrby        3 wmf 1      Takes a number from an integer
get           2 rf  1      The value of a key
getdel        2 wf  1      The value of a key, which goes
getex        -2 wf  1      The value of a key; sets or removes its expiry
getrange      4 r   1      A part of a string
getset        3 wmf 1      Sets a string; the value it had
incr          2 wmf 1      Adds 1 to an integer
incrby        3 wmf 1      Adds a number to an integer
incrbyfloat   3 wmf 1      Adds a floating-point number to one
lcs          -3 r   1:2    The longest subsequence that two strings have in common
mget         -2 rf  1:-1   The values of several keys
mset         -3 wm  1:-1:2 Sets several keys
msetnx       -3 wm  1:-1:2 Sets several keys if none of them is there
psetex        4 wm  1      Sets a string that expires in milliseconds
set          -3 wm  1      Sets a string, with conditions and expiry
setex         4 wm  1      Sets a string that expires in seconds
setnx         3 wmf 1      Sets a string if the key is not there
setrange      4 wm  1      Overwrites a part of a string
strlen        2 rf  1      The length of a string
substr        4 r   1      GETRANGE by its old name
""",
    ),
    (
        "bitmap",
        (bitmaps,),
        """
bitcount     -2 r   1      Bits that are set
bitfield     -2 wm  1      Reads and writes integers of any width
bitfield_ro  -2 rf  1      Reads integers of any width
bitop        -4 wm  2:-1   AND, OR, XOR or NOT of strings
bitpos       -3 r   1      The first bit that is 0 or 1
getbit        3 rf  1      One bit
setbit        4 wm  1      Sets one bit; the one it was
""",
    ),
    (
        "generic",
        (keys, expiry, scanning, sorting),
        """
copy         -3 wm  1:2    Copies a key
del          -2 w   1:-1   Deletes keys
exists       -2 rf  1:-1   How many of the keys are there
expire       -3 wf  1      Lets a key expire in seconds
expireat     -3 wf  1      Lets a key expire at a time in seconds
expiretime    2 rf  1      When a key expires, in seconds
keys          2 r   -      All keys that match a pattern
move          3 wf  1      Moves a key to another database
persist       2 wf  1      Takes the expiry from a key
pexpire      -3 wf  1      Lets a key expire in milliseconds
pexpireat    -3 wf  1      Lets a key expire at a time in milliseconds
pexpiretime   2 rf  1      When a key expires, in milliseconds
pttl          2 rf  1      How long a key stays, in milliseconds
randomkey     1 r   -      Some key
rename        3 w   1:2    Renames a key
renamenx      3 wf  1:2    Renames a key if the new name is free
scan         -2 r   -      Goes through the keys, a page at a time
sort         -2 wm  sort   The elements of a list, set or sorted set, sorted
sort_ro      -2 r   1      SORT without STORE
touch        -2 rf  1:-1   Marks keys as used
ttl           2 rf  1      How long a key stays, in seconds
type          2 rf  1      What a key holds
unlink       -2 wf  1:-1   Deletes keys
""",
    ),
    (
        "hash",
        (hashes, scanning),
        """
hdel         -3 wf  1      Deletes fields
hexists       3 rf  1      Whether a field is there
hget          3 rf  1      The value of a field
hgetall       2 r   1      All fields with their values
hincrby       4 wmf 1      Adds a number to an integer in a field
hincrbyfloat  4 wmf 1      Adds a floating-point number to one in a field
hkeys         2 r   1      All fields
hlen          2 rf  1      How many fields there are
hmget        -3 rf  1      The values of several fields
hmset        -4 wmf 1      HSET by its old name
hrandfield   -2 r   1      Some fields by chance
hscan        -3 r   1      Goes through the fields, a page at a time
hset         -4 wmf 1      Sets fields
hsetnx        4 wmf 1      Sets a field if it is not there
hstrlen       3 rf  1      The length of the value of a field
hvals         2 r   1      All values
""",
    ),
    (
        "list",
        (lists,),
        """
blmove        6 wmb 1:2    LMOVE that waits
blmpop       -5 wb  n2     LMPOP that waits
blpop        -3 wb  1:-2   LPOP from the first of several lists that has something; waits
brpop        -3 wb  1:-2   RPOP from the first of several lists that has something; waits
brpoplpush    4 wmb 1:2    RPOPLPUSH that waits
lindex        3 r   1      One element
linsert       5 wm  1      Puts an element before or behind another
llen          2 rf  1      How long a list is
lmove         5 wm  1:2    Moves an element from an end of one list to an end of another
lmpop        -4 w   n1     Takes elements from the first of several lists that has some
lpop         -2 wf  1      Takes elements from the left
lpos         -3 r   1      Where an element stands
lpush        -3 wmf 1      Puts elements to the left
lpushx       -3 wmf 1      LPUSH to a list that is there
lrange        4 r   1      A part of a list
lrem          4 w   1      Removes elements that are equal to one
lset          4 wm  1      Replaces an element
ltrim         4 w   1      Keeps a part of a list alone
rpop         -2 wf  1      Takes elements from the right
rpoplpush     3 wm  1:2    Moves an element from the right of one list to the left of another
rpush        -3 wmf 1      Puts elements to the right
rpushx       -3 wmf 1      RPUSH to a list that is there
""",
    ),
    (
        "set",
        (sets, scanning),
        """
sadd         -3 wmf 1      Adds members
scard         2 rf  1      How many members there are
sdiff        -2 r   1:-1   What is in the first set and in none of the others
sdiffstore   -3 wm  1:-1   Stores what SDIFF gives
sinter       -2 r   1:-1   What is in all sets
sintercard   -3 r   n1     How many members all sets have in common
sinterstore  -3 wm  1:-1   Stores what SINTER gives
sismember     3 rf  1      Whether something is a member
smembers      2 r   1      All members
smismember   -3 rf  1      Which of several are members
smove         4 wf  1:2    Moves a member to another set
spop         -2 wf  1      Takes members by chance
srandmember  -2 r   1      Some members by chance
srem         -3 wf  1      Removes members
sscan        -3 r   1      Goes through the members, a page at a time
sunion       -2 r   1:-1   What is in any of the sets
sunionstore  -3 wm  1:-1   Stores what SUNION gives
""",
    ),
    (
        "sorted set",
        (sorted_sets, sorted_set_ranges, sorted_set_algebra, scanning),
        """
bzmpop           -5 wb  n2     ZMPOP that waits
bzpopmax         -3 wbf 1:-2   ZPOPMAX from the first of several that has something; waits
bzpopmin         -3 wbf 1:-2   ZPOPMIN from the first of several that has something; waits
zadd             -4 wmf 1      Adds members with their scores, or changes scores
zcard             2 rf  1      How many members there are
zcount            4 rf  1      How many have scores in a range
zdiff            -3 r   n1     What is in the first sorted set and in none of the others
zdiffstore       -4 wm  1+n2   Stores what ZDIFF gives
zincrby           4 wmf 1      Adds to a score
zinter           -3 r   n1     What is in all, with scores put together
zintercard       -3 r   n1     How many members all have in common
zinterstore      -4 wm  1+n2   Stores what ZINTER gives
zlexcount         4 rf  1      How many members lie in a range, where scores are equal
zmpop            -4 w   n1     Takes members from the first of several that has some
zmscore          -3 rf  1      The scores of several members
zpopmax          -2 wf  1      Takes the members with the highest scores
zpopmin          -2 wf  1      Takes the members with the lowest scores
zrandmember      -2 r   1      Some members by chance
zrange           -4 r   1      Members by rank, score or name
zrangebylex      -4 r   1      Members by name, where scores are equal
zrangebyscore    -4 r   1      Members by score
zrangestore      -5 wm  1:2    Stores what ZRANGE gives
zrank             3 rf  1      How many members come before one
zrem             -3 wf  1      Removes members
zremrangebylex    4 w   1      Removes members by name
zremrangebyrank   4 w   1      Removes members by rank
zremrangebyscore  4 w   1      Removes members by score
zrevrange        -4 r   1      ZRANGE from the highest score
zrevrangebylex   -4 r   1      ZRANGEBYLEX from the end
zrevrangebyscore -4 r   1      ZRANGEBYSCORE from the highest
zrevrank          3 rf  1      How many members come behind one
zscan            -3 r   1      Goes through members and scores, a page at a time
zscore            3 rf  1      The score of a member
zunion           -3 r   n1     What is in any, with scores put together
zunionstore      -4 wm  1+n2   Stores what ZUNION gives
""",
    ),
    (
        "stream",
        (streams, stream_reading, stream_groups, stream_info),
        """
xack                  -4 wf  1       Entries are dealt with
xadd                  -5 wmf 1       Adds an entry
xautoclaim            -6 wf  1       Takes over entries that were pending for long
xclaim                -6 wf  1       Takes over pending entries
xdel                  -3 wf  1       Deletes entries
xgroup                -2 -   -       Consumer groups
xgroup|create         -5 wm  2       Makes a group
xgroup|createconsumer  5 wm  2       Makes a consumer
xgroup|delconsumer     5 w   2       Deletes a consumer
xgroup|destroy         4 w   2       Deletes a group
xgroup|setid          -5 w   2       Sets what a group delivered last
xinfo                 -2 -   -       Facts about streams
xinfo|consumers        4 r   2       The consumers of a group
xinfo|groups           3 r   2       The groups of a stream
xinfo|stream          -3 r   2       A stream
xlen                   2 rf  1       How many entries there are
xpending              -3 r   1       Entries that were delivered and not dealt with
xrange                -4 r   1       Entries by id
xread                 -4 rb  streams Entries after an id, of several streams; may wait
xreadgroup            -7 wb  streams Entries for a consumer of a group; may wait
xrevrange             -4 r   1       Entries by id, from the end
xsetid                -3 wmf 1       Sets the last id
xtrim                 -4 w   1       Deletes the oldest entries
""",
    ),
    (
        "pubsub",
        (pubsub,),
        """
psubscribe      -2 p  - Listens to channels that match patterns
publish          3 pf - Says something on a channel
pubsub          -2 -  - What is listened to
pubsub|channels -2 p  - Channels that somebody listens to
pubsub|numpat    2 p  - How many patterns are listened to
pubsub|numsub   -2 p  - How many listen to channels
punsubscribe    -1 p  - Listens no more to patterns
subscribe       -2 p  - Listens to channels
unsubscribe     -1 p  - Listens no more to channels
""",
    ),
    (
        "transactions",
        (transactions,),
        """
discard  1 xf - Forgets a transaction
exec     1 x  - Executes a transaction
multi    1 xf - Begins a transaction: what follows is queued
unwatch  1 f  - Forgets what is watched
watch   -2 xf 1:-1 The next transaction is executed only if these keys do not change
""",
    ),
    (
        "connection",
        (connection,),
        """
auth              -2 nf - Says a password
client            -2 -  - The connection
client|getname     2 -  - Its name
client|id          2 -  - Its number
client|info        2 -  - What CLIENT LIST says of it
client|kill       -3 a  - Closes connections
client|list       -2 a  - All connections
client|no-evict    3 a  - For the sake of clients that say it
client|no-touch    3 -  - Reading marks no key as used
client|reply       3 -  - Whether commands are answered
client|setinfo     4 -  - Which library is used
client|setname     3 -  - Names the connection
client|unblock    -3 a  - Ends the waiting of another connection
echo               2 f  - What was said
hello             -1 nf - Chooses the version of the protocol
ping              -1 f  - PONG
quit              -1 nxf - Closes the connection
reset              1 nxf - The connection is as it was at first
select             2 fj - Chooses a database
""",
    ),
    (
        "server",
        (server_info, described.Catalogue(COMMANDS), keys),
        """
bgrewriteaof       1 a  - Makes a snapshot
bgsave            -1 a  - Makes everything durable
command           -1 -  - All commands
command|count      2 -  - How many there are
command|docs      -2 -  - What they are for
command|getkeys   -4 -  - Which arguments of a command are keys
command|info      -2 -  - Facts about commands
command|list      -2 -  - Their names
config            -2 -  - Settings
config|get        -3 a  - Settings that match patterns
config|resetstat   2 a  - Sets counters to 0
config|rewrite     2 a  - There is no file to rewrite
config|set        -4 a  - Changes settings
dbsize             1 rf - How many keys there are
flushall          -1 wj - Deletes everything
flushdb           -1 we - Deletes a database
info              -1 -  - Facts about the store
lastsave           1 f  - When the last snapshot was made
latency           -2 -  - For the sake of clients that ask
latency|history    3 a  - Nothing is recorded
latency|latest     2 a  - Nothing is recorded
latency|reset     -2 a  - Nothing is recorded
memory            -2 -  - Memory
memory|usage      -3 r  2 An estimate of what a key takes
object            -2 -  - How keys are kept
object|encoding    3 r  2 What Redis would call it
object|freq        3 r  2 How often it is used
object|idletime    3 r  2 How long it was not used
object|refcount    3 r  2 1
role               1 f  - master
save               1 ao - Makes everything durable
shutdown          -1 ao - Ends the store
slowlog           -2 -  - For the sake of clients that ask
slowlog|get       -2 a  - Nothing is recorded
slowlog|len        2 a  - Nothing is recorded
slowlog|reset      2 a  - Nothing is recorded
swapdb             3 wfj - Exchanges two databases
time               1 f  - The time
wait               3 -  - How many replicas have it: 0
""",
    ),
)


def _function(modules: tuple[ModuleType | described.Catalogue, ...], name: str) -> Run | None:
    plain = name.replace("|", "_").replace("-", "_")
    for module in modules:
        for spelled in (plain, f"{plain}_"):
            found = getattr(module, spelled, None)
            if callable(found):
                return found  # type: ignore[no-any-return]
    return None


def _not_for_jobs(command: Command, run: Run) -> Run:
    """Looks at the session as late as that, so that all other commands cost nothing more."""

    def checked(ctx: Context, args: list[bytes]) -> Reply:
        check_job(ctx, command)
        return run(ctx, args)

    return checked


def _fill(found: dict[bytes, Command]) -> None:
    for group, modules, lines in _GROUPS:
        for line in lines.strip().splitlines():
            name, arity, flags, places, summary = line.split(None, 4)
            command = Command(name, int(arity), flags.replace("-", ""), places, summary, group, _function(modules, name))
            if command.run is not None and (command.administers or command.empties):
                command.run = _not_for_jobs(command, command.run)
            parent, _, sub = name.partition("|")
            if sub:
                found[parent.encode()].sub[sub.encode()] = command
            else:
                found[name.encode()] = command


_fill(COMMANDS)
SPELLED: dict[bytes, Command] = {spelled: command for name, command in COMMANDS.items() for spelled in (name, name.upper())}
"""And in capitals."""


def missing() -> list[str]:
    """Commands of the table that nothing carries out; there should be none."""
    every = [c for command in COMMANDS.values() for c in (command, *command.sub.values())]
    return [command.name.decode() for command in every if command.run is None and not command.sub]
