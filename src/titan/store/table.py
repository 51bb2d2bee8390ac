"""Table of all commands: their arity, keys, flags and functions.

Arity checks, transactions, COMMAND and docs/store.md all use this table. Each line has the form

    name  arity  flags  keys  summary

Arity includes the name; -n means at least n.

| flag | the command |
| --- | --- |
| w | writes |
| r | reads |
| m | may need more memory |
| b | may wait |
| p | is about channels |
| a | is for operators, and refused in the session of a job |
| j | like a, but it is no admin command in Redis |
| e | empties a database; a job may run it only in the database of its run |
| f | is fast |
| n | is allowed before AUTH |
| x | is executed immediately in a transaction instead of queued |
| o | is not allowed in a transaction |

| keys | positions of the keys |
| --- | --- |
| `-` | none |
| `1`, `1:-1`, `1:-1:2` | first key, last key (negative: from the end), step |
| `n1` | after argument 1, which is the number of keys |
| `1+n2` | argument 1, and after argument 2, which is the number of keys |
| `streams` | after STREAMS |
| `sort` | argument 1, and the argument after STORE |
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
"""Commands by name in lower case."""
_GROUPS: tuple[tuple[str, tuple[ModuleType | described.Catalogue, ...], str], ...] = (
    (
        "string",
        (strings,),
        """
append        3 wmf 1      Appends to a string; creates it if it does not exist
cas          -4 wmf 1      Titan's own: replaces a string if it has the old value (CAS key old new [PX ms]); returns 1 or 0
decr          2 wmf 1      Subtracts 1 from an integer
decrby        3 wmf 1      Subtracts a number from an integer
get           2 rf  1      Returns the value of a key
getdel        2 wf  1      Returns the value of a key and deletes the key
getex        -2 wf  1      Returns the value of a key; sets or removes its expiry
getrange      4 r   1      Returns a part of a string
getset        3 wmf 1      Sets a string and returns its old value
incr          2 wmf 1      Adds 1 to an integer
incrby        3 wmf 1      Adds a number to an integer
incrbyfloat   3 wmf 1      Adds a floating-point number to a number
lcs          -3 r   1:2    Returns the longest common subsequence of two strings
mget         -2 rf  1:-1   Returns the values of several keys
mset         -3 wm  1:-1:2 Sets several keys
msetnx       -3 wm  1:-1:2 Sets several keys if none of them exists
psetex        4 wm  1      Sets a string that expires in milliseconds
set          -3 wm  1      Sets a string, with conditions and expiry
setex         4 wm  1      Sets a string that expires in seconds
setnx         3 wmf 1      Sets a string if the key does not exist
setrange      4 wm  1      Overwrites a part of a string
strlen        2 rf  1      Returns the length of a string
substr        4 r   1      The old name of GETRANGE
""",
    ),
    (
        "bitmap",
        (bitmaps,),
        """
bitcount     -2 r   1      Counts the bits that are 1
bitfield     -2 wm  1      Reads and writes integers of any width
bitfield_ro  -2 rf  1      Reads integers of any width
bitop        -4 wm  2:-1   Combines strings with AND, OR, XOR or NOT
bitpos       -3 r   1      Returns the position of the first bit that is 0 or 1
getbit        3 rf  1      Returns one bit
setbit        4 wm  1      Sets one bit and returns its old value
""",
    ),
    (
        "generic",
        (keys, expiry, scanning, sorting),
        """
copy         -3 wm  1:2    Copies a key
del          -2 w   1:-1   Deletes keys
exists       -2 rf  1:-1   Counts the keys that exist
expire       -3 wf  1      Sets the expiry of a key, in seconds
expireat     -3 wf  1      Sets the expiry of a key, as a Unix time in seconds
expiretime    2 rf  1      Returns the Unix time at which a key expires, in seconds
keys          2 r   -      Returns all keys that match a pattern
move          3 wf  1      Moves a key to another database
persist       2 wf  1      Removes the expiry of a key
pexpire      -3 wf  1      Sets the expiry of a key, in milliseconds
pexpireat    -3 wf  1      Sets the expiry of a key, as a Unix time in milliseconds
pexpiretime   2 rf  1      Returns the Unix time at which a key expires, in milliseconds
pttl          2 rf  1      Returns the time until a key expires, in milliseconds
randomkey     1 r   -      Returns a random key
rename        3 w   1:2    Renames a key
renamenx      3 wf  1:2    Renames a key if the new name does not exist
scan         -2 r   -      Iterates over the keys, page by page
sort         -2 wm  sort   Sorts the elements of a list, set or sorted set
sort_ro      -2 r   1      SORT without STORE
touch        -2 rf  1:-1   Marks keys as used
ttl           2 rf  1      Returns the time until a key expires, in seconds
type          2 rf  1      Returns the type of a key
unlink       -2 wf  1:-1   Deletes keys
""",
    ),
    (
        "hash",
        (hashes, scanning),
        """
hdel         -3 wf  1      Deletes fields
hexists       3 rf  1      Tests whether a field exists
hget          3 rf  1      Returns the value of a field
hgetall       2 r   1      Returns all fields and values
hincrby       4 wmf 1      Adds a number to an integer in a field
hincrbyfloat  4 wmf 1      Adds a floating-point number to a number in a field
hkeys         2 r   1      Returns all fields
hlen          2 rf  1      Returns the number of fields
hmget        -3 rf  1      Returns the values of several fields
hmset        -4 wmf 1      The old name of HSET
hrandfield   -2 r   1      Returns random fields
hscan        -3 r   1      Iterates over the fields, page by page
hset         -4 wmf 1      Sets fields
hsetnx        4 wmf 1      Sets a field if it does not exist
hstrlen       3 rf  1      Returns the length of a field's value
hvals         2 r   1      Returns all values
""",
    ),
    (
        "list",
        (lists,),
        """
blmove        6 wmb 1:2    LMOVE that waits for an element
blmpop       -5 wb  n2     LMPOP that waits for an element
blpop        -3 wb  1:-2   LPOP from the first list that exists; waits for one
brpop        -3 wb  1:-2   RPOP from the first list that exists; waits for one
brpoplpush    4 wmb 1:2    RPOPLPUSH that waits for an element
lindex        3 r   1      Returns one element
linsert       5 wm  1      Inserts an element before or after another
llen          2 rf  1      Returns the length of a list
lmove         5 wm  1:2    Moves an element from an end of one list to an end of another
lmpop        -4 w   n1     Removes and returns elements of the first list that exists
lpop         -2 wf  1      Removes and returns elements from the left
lpos         -3 r   1      Returns the position of an element
lpush        -3 wmf 1      Inserts elements at the left
lpushx       -3 wmf 1      LPUSH if the list exists
lrange        4 r   1      Returns a part of a list
lrem          4 w   1      Removes elements that are equal to a value
lset          4 wm  1      Replaces an element
ltrim         4 w   1      Removes all elements outside of a range
rpop         -2 wf  1      Removes and returns elements from the right
rpoplpush     3 wm  1:2    Moves an element from the right of one list to the left of another
rpush        -3 wmf 1      Inserts elements at the right
rpushx       -3 wmf 1      RPUSH if the list exists
""",
    ),
    (
        "set",
        (sets, scanning),
        """
sadd         -3 wmf 1      Adds members
scard         2 rf  1      Returns the number of members
sdiff        -2 r   1:-1   Returns the members of the first set that are in none of the others
sdiffstore   -3 wm  1:-1   Stores the result of SDIFF
sinter       -2 r   1:-1   Returns the members that are in all sets
sintercard   -3 r   n1     Returns the number of members that are in all sets
sinterstore  -3 wm  1:-1   Stores the result of SINTER
sismember     3 rf  1      Tests whether an element is a member
smembers      2 r   1      Returns all members
smismember   -3 rf  1      Tests for several elements whether each is a member
smove         4 wf  1:2    Moves a member to another set
spop         -2 wf  1      Removes and returns random members
srandmember  -2 r   1      Returns random members
srem         -3 wf  1      Removes members
sscan        -3 r   1      Iterates over the members, page by page
sunion       -2 r   1:-1   Returns the members that are in any of the sets
sunionstore  -3 wm  1:-1   Stores the result of SUNION
""",
    ),
    (
        "sorted set",
        (sorted_sets, sorted_set_ranges, sorted_set_algebra, scanning),
        """
bzmpop           -5 wb  n2     ZMPOP that waits for a member
bzpopmax         -3 wbf 1:-2   ZPOPMAX from the first sorted set that exists; waits for one
bzpopmin         -3 wbf 1:-2   ZPOPMIN from the first sorted set that exists; waits for one
zadd             -4 wmf 1      Adds members with scores, or changes scores
zcard             2 rf  1      Returns the number of members
zcount            4 rf  1      Returns the number of members with scores in a range
zdiff            -3 r   n1     Returns the members of the first sorted set that are in none of the others
zdiffstore       -4 wm  1+n2   Stores the result of ZDIFF
zincrby           4 wmf 1      Adds a number to the score of a member
zinter           -3 r   n1     Returns the members that are in all sorted sets, with combined scores
zintercard       -3 r   n1     Returns the number of members that are in all sorted sets
zinterstore      -4 wm  1+n2   Stores the result of ZINTER
zlexcount         4 rf  1      Returns the number of members in a lexical range; scores must be equal
zmpop            -4 w   n1     Removes and returns members of the first sorted set that exists
zmscore          -3 rf  1      Returns the scores of several members
zpopmax          -2 wf  1      Removes and returns the members with the highest scores
zpopmin          -2 wf  1      Removes and returns the members with the lowest scores
zrandmember      -2 r   1      Returns random members
zrange           -4 r   1      Returns members by rank, by score or in lexical order
zrangebylex      -4 r   1      Returns members in lexical order; scores must be equal
zrangebyscore    -4 r   1      Returns members by score
zrangestore      -5 wm  1:2    Stores the result of ZRANGE
zrank             3 rf  1      Returns the rank of a member, from the lowest score
zrem             -3 wf  1      Removes members
zremrangebylex    4 w   1      Removes members in a lexical range; scores must be equal
zremrangebyrank   4 w   1      Removes members by rank
zremrangebyscore  4 w   1      Removes members by score
zrevrange        -4 r   1      ZRANGE from the highest score
zrevrangebylex   -4 r   1      ZRANGEBYLEX in reverse order
zrevrangebyscore -4 r   1      ZRANGEBYSCORE from the highest score
zrevrank          3 rf  1      Returns the rank of a member, from the highest score
zscan            -3 r   1      Iterates over members and scores, page by page
zscore            3 rf  1      Returns the score of a member
zunion           -3 r   n1     Returns the members that are in any sorted set, with combined scores
zunionstore      -4 wm  1+n2   Stores the result of ZUNION
""",
    ),
    (
        "stream",
        (streams, stream_reading, stream_groups, stream_info),
        """
xack                  -4 wf  1       Acknowledges entries
xadd                  -5 wmf 1       Adds an entry
xautoclaim            -6 wf  1       Claims entries that have been pending for a given time
xclaim                -6 wf  1       Claims pending entries
xdel                  -3 wf  1       Deletes entries
xgroup                -2 -   -       Commands of consumer groups
xgroup|create         -5 wm  2       Creates a group
xgroup|createconsumer  5 wm  2       Creates a consumer
xgroup|delconsumer     5 w   2       Deletes a consumer
xgroup|destroy         4 w   2       Deletes a group
xgroup|setid          -5 w   2       Sets the id of the entry that a group received last
xinfo                 -2 -   -       Commands that describe streams
xinfo|consumers        4 r   2       Returns facts about the consumers of a group
xinfo|groups           3 r   2       Returns facts about the groups of a stream
xinfo|stream          -3 r   2       Returns facts about a stream
xlen                   2 rf  1       Returns the number of entries
xpending              -3 r   1       Returns entries that were delivered but not acknowledged
xrange                -4 r   1       Returns entries by id
xread                 -4 rb  streams Returns entries after an id, from several streams; may wait
xreadgroup            -7 wb  streams Returns entries for a consumer of a group; may wait
xrevrange             -4 r   1       Returns entries by id, in reverse order
xsetid                -3 wmf 1       Sets the last id of a stream
xtrim                 -4 w   1       Deletes the oldest entries
""",
    ),
    (
        "pubsub",
        (pubsub,),
        """
psubscribe      -2 p  - Subscribes to channels that match patterns
publish          3 pf - Sends a message to a channel
pubsub          -2 -  - Commands that describe subscriptions
pubsub|channels -2 p  - Returns the channels that have subscribers
pubsub|numpat    2 p  - Returns the number of subscribed patterns
pubsub|numsub   -2 p  - Returns the number of subscribers of channels
punsubscribe    -1 p  - Unsubscribes from patterns
subscribe       -2 p  - Subscribes to channels
unsubscribe     -1 p  - Unsubscribes from channels
""",
    ),
    (
        "transactions",
        (transactions,),
        """
discard  1 xf - Discards a transaction
exec     1 x  - Executes a transaction
multi    1 xf - Begins a transaction, which queues the next commands
unwatch  1 f  - Forgets all watched keys
watch   -2 xf 1:-1 Watches keys: the next EXEC fails if one of them changes
""",
    ),
    (
        "connection",
        (connection,),
        """
auth              -2 nf - Authenticates with a password
client            -2 -  - Commands about connections
client|getname     2 -  - Returns the name of the connection
client|id          2 -  - Returns the number of the connection
client|info        2 -  - Returns the line of CLIENT LIST for this connection
client|kill       -3 a  - Closes connections
client|list       -2 a  - Returns all connections
client|no-evict    3 a  - Sets a flag that has no effect
client|no-touch    3 -  - Sets a flag that has no effect
client|reply       3 -  - Sets whether commands get replies
client|setinfo     4 -  - Sets the name and version of the client library
client|setname     3 -  - Sets the name of the connection
client|unblock    -3 a  - Ends the wait of another connection
echo               2 f  - Returns its argument
hello             -1 nf - Sets the version of the protocol
ping              -1 f  - Returns PONG
quit              -1 nxf - Closes the connection
reset              1 nxf - Resets the connection to its initial state
select             2 fj - Selects a database
""",
    ),
    (
        "server",
        (server_info, described.Catalogue(COMMANDS), keys),
        """
bgrewriteaof       1 a  - Requests a snapshot
bgsave            -1 a  - Requests a snapshot
command           -1 -  - Returns facts about all commands
command|count      2 -  - Returns the number of commands
command|docs      -2 -  - Returns summaries of commands
command|getkeys   -4 -  - Returns the arguments of a command that are keys
command|info      -2 -  - Returns facts about commands
command|list      -2 -  - Returns the names of commands
config            -2 -  - Commands of settings
config|get        -3 a  - Returns settings that match patterns
config|resetstat   2 a  - Sets the counters to 0
config|rewrite     2 a  - Returns an error, because there is no configuration file
config|set        -4 a  - Changes settings
dbsize             1 rf - Returns the number of keys
flushall          -1 wj - Deletes all keys
flushdb           -1 we - Deletes all keys of a database
info              -1 -  - Returns facts about the store
lastsave           1 f  - Returns the time of the last snapshot
latency           -2 -  - Commands about latency, which is not recorded
latency|history    3 a  - Returns an empty list
latency|latest     2 a  - Returns an empty list
latency|reset     -2 a  - Has no effect
memory            -2 -  - Commands about memory
memory|usage      -3 r  2 Returns an estimate of the memory of a key
object            -2 -  - Commands about the storage of keys
object|encoding    3 r  2 Returns the encoding that Redis would use for a value
object|freq        3 r  2 Returns an error, because the store does not count uses of keys
object|idletime    3 r  2 Returns the idle time of a key, which is 0
object|refcount    3 r  2 Returns the reference count of a value
role               1 f  - Returns the role, which is master
save               1 ao - Requests a snapshot
shutdown          -1 ao - Stops the store
slowlog           -2 -  - Commands about slow commands, which are not recorded
slowlog|get       -2 a  - Returns an empty list
slowlog|len        2 a  - Returns 0
slowlog|reset      2 a  - Has no effect
swapdb             3 wfj - Exchanges two databases
time               1 f  - Returns the time
wait               3 -  - Returns the number of replicas, which is 0
""",
    ),
)


def _function(modules: tuple[ModuleType | described.Catalogue, ...], name: str) -> Run | None:
    plain = name.replace("|", "_").replace("-", "_")
    for module in modules:
        for spelled in (plain, f"{plain}_"):
            function = getattr(module, spelled, None)
            if callable(function):
                return function  # type: ignore[no-any-return]
    return None


def _not_for_jobs(command: Command, run: Run) -> Run:
    """Wrap the function of a command that some or all jobs may not run. Only such commands have the
    overhead of the check."""

    def checked(ctx: Context, args: list[bytes]) -> Reply:
        check_job(ctx, command)
        return run(ctx, args)

    return checked


def _fill(commands: dict[bytes, Command]) -> None:
    for group, modules, lines in _GROUPS:
        for line in lines.strip().splitlines():
            name, arity, flags, places, summary = line.split(None, 4)
            command = Command(name, int(arity), flags.replace("-", ""), places, summary, group, _function(modules, name))
            if command.run is not None and (command.administers or command.empties):
                command.run = _not_for_jobs(command, command.run)
            parent, _, sub = name.partition("|")
            if sub:
                commands[parent.encode()].sub[sub.encode()] = command
            else:
                commands[name.encode()] = command


_fill(COMMANDS)
SPELLED: dict[bytes, Command] = {spelled: command for name, command in COMMANDS.items() for spelled in (name, name.upper())}
"""Commands by name in lower case and in upper case, as most clients write it."""


def missing() -> list[str]:
    """Return the commands of the table without a function; there should be none."""
    every = [c for command in COMMANDS.values() for c in (command, *command.sub.values())]
    return [command.name.decode() for command in every if command.run is None and not command.sub]
