"""Scripts for three connections. Each has a name, followed by commands with the number of the
connection that sends them.

There are two more words: with `LATER`, the connection waits in vain until its timeout ends; with
`PASS`, this number of milliseconds passes. ``@2`` is the id of connection 2, as each side has it;
``''`` is empty.
"""

from __future__ import annotations

LATER = "LATER"
PASS = "PASS"
_TEXT = """
first come, first served
    2 BLPOP a b 0; 3 BRPOP a 0; 1 RPUSH a x y; 1 LRANGE a 0 -1
chain
    2 BLMOVE a b LEFT RIGHT 0; 3 BRPOPLPUSH b c 0; 1 RPUSH a x; 1 LRANGE c 0 -1
chain back to its source
    2 BLMOVE a b LEFT RIGHT 0; 3 BLMOVE b a LEFT RIGHT 0; 1 RPUSH a x; 1 LRANGE a 0 -1
wrong target
    1 SET b v; 2 BLMOVE a b LEFT RIGHT 0; 1 RPUSH a x; 1 LRANGE a 0 -1
other type
    2 BZPOPMIN a 0; 3 BLPOP a 0; 1 ZADD a 1 m 2 n; 1 DEL a; 1 RPUSH a x
no type for it
    2 BLPOP a 0; 1 SET a x; 1 SADD b m; 1 RENAME b a; 1 DEL a; 1 LPUSH a y
many
    2 BLMPOP 0 2 a b LEFT COUNT 2; 3 BZMPOP 0 1 z MAX COUNT 5; 1 RPUSH b 1 2 3; 1 ZADD z 1 a 2 b; 1 LRANGE b 0 -1
both ends
    2 BZPOPMIN z 0; 3 BZPOPMAX z 0; 1 ZADD z 1 a 2 b 3 c; 1 ZRANGE z 0 -1
two at one key, one of two keys
    2 BLPOP a 0; 3 BLPOP b a 0; 1 RPUSH a 1; 1 RPUSH b 2; 1 RPUSH a 3; 1 DBSIZE
the key named first, whichever came first
    2 BLPOP b a 0; 1 MULTI; 1 RPUSH a 1; 1 RPUSH b 2; 1 EXEC; 1 DBSIZE
time
    2 BLPOP a 0.01; 2 LATER; 2 BRPOP a 0.01; 2 LATER; 2 BLMOVE a b LEFT LEFT 0.01; 2 LATER; 2 BRPOPLPUSH a b 0.01; 2 LATER;
    2 BLMPOP 0.01 1 a LEFT; 2 LATER; 2 BZPOPMIN a 0.01; 2 LATER; 2 BZMPOP 0.01 1 a MAX; 2 LATER;
    2 XREAD BLOCK 1 STREAMS s $; 2 LATER; 1 XGROUP CREATE s g $ MKSTREAM; 2 XREADGROUP GROUP g a BLOCK 1 STREAMS s >;
    2 LATER; 1 RPUSH a x; 1 LLEN a
unblocked
    2 BLPOP a 0; 1 CLIENT UNBLOCK @2; 1 CLIENT UNBLOCK @2; 2 BLPOP a 0; 1 CLIENT UNBLOCK @2 ERROR; 1 RPUSH a x;
    2 BLMOVE c d LEFT LEFT 0; 1 CLIENT UNBLOCK @2 TIMEOUT; 2 XREAD BLOCK 0 STREAMS s $; 1 CLIENT UNBLOCK @2;
    2 BZMPOP 0 1 z MIN; 1 CLIENT UNBLOCK @2 error; 1 CLIENT UNBLOCK @1; 1 CLIENT UNBLOCK @1 x; 1 CLIENT UNBLOCK @1 ERROR x
unblocked in the queue
    2 BLPOP a 0; 3 BLPOP a 0; 1 CLIENT UNBLOCK @2; 1 RPUSH a x; 1 EXISTS a
waits no more
    2 BLPOP a 0; 1 RPUSH a x; 1 RPUSH a y; 2 LPOP a; 1 EXISTS a
transaction
    2 BLPOP a 0; 1 MULTI; 1 RPUSH a x; 1 LPOP a; 1 BLPOP a 0; 1 BLMOVE a b LEFT LEFT 0; 1 BZPOPMAX a 0; 1 BLMPOP 0 1 a LEFT;
    1 XREAD BLOCK 0 STREAMS a $; 1 RPUSH a y; 1 EXEC
pushed and deleted in a transaction
    2 BLPOP a 0; 1 MULTI; 1 RPUSH a x; 1 DEL a; 1 EXEC; 1 RPUSH a y
pushed, and another type in its place
    2 BLPOP a 0; 1 MULTI; 1 RPUSH a x; 1 SET a y; 1 EXEC; 1 DEL a; 1 RPUSH a z
what was popped is watched
    3 WATCH a; 2 BLPOP a 0; 1 RPUSH a x; 3 MULTI; 3 PING; 3 EXEC
stream
    2 XREAD BLOCK 0 STREAMS s $; 3 XREAD COUNT 1 BLOCK 0 STREAMS t s 0 0; 1 XADD s 1-1 f v
stream, later entries alone
    2 XREAD BLOCK 0 STREAMS s 5; 1 XADD s 4-1 f v; 1 XADD s 5-0 f v; 1 XADD s 5-1 f v; 1 XADD s 6-1 f v
stream, several entries
    2 XREAD BLOCK 0 COUNT 2 STREAMS s t $ $; 1 MULTI; 1 XADD t 1-1 f v; 1 XADD s 1-1 f v; 1 XADD s 1-2 f v;
    1 XADD s 1-3 f v; 1 EXEC
no stream
    2 XREAD BLOCK 0 STREAMS s $; 1 SET s x; 1 DEL s; 1 XADD s 1-1 f v
stream, entries that go at once
    2 XREAD BLOCK 0 STREAMS s $; 1 XADD s MAXLEN 0 1-1 f v; 1 XGROUP CREATE s g $; 3 XREADGROUP GROUP g a BLOCK 0 STREAMS s >;
    1 XADD s MAXLEN 0 1-2 f v; 1 XINFO GROUPS s; 1 XPENDING s g; 2 XREAD BLOCK 0 STREAMS s $; 1 XSETID s 9-9; 1 XADD s 10-1 f v
stream, added and deleted
    2 XREAD BLOCK 0 STREAMS s $; 1 MULTI; 1 XADD s 1-1 f v; 1 XDEL s 1-1; 1 EXEC; 1 XLEN s
group, what is claimed when nothing is pending
    1 XGROUP CREATE s g 0 MKSTREAM; 1 XADD s 1-1 f v; 1 XADD s 2-1 f v; 1 XADD s 3-1 f v; 2 XREADGROUP GROUP g a STREAMS s >;
    2 XACK s g 3-1 2-1 1-1; 2 XCLAIM s g b 0 2-1 FORCE; 2 XCLAIM s g b 0 1-1 FORCE JUSTID; 1 XPENDING s g; 1 XPENDING s g - + 9
group, its history behind the largest id
    1 XGROUP CREATE s g 0 MKSTREAM; 1 XADD s 1-1 f v; 2 XREADGROUP GROUP g a STREAMS s >;
    2 XREADGROUP GROUP g a STREAMS s 18446744073709551615-18446744073709551615; 1 XADD s 2-1 f v;
    2 XREADGROUP GROUP g a STREAMS s 18446744073709551615-18446744073709551615; 2 XREADGROUP GROUP g a STREAMS s 1-1
group
    1 XGROUP CREATE s g $ MKSTREAM; 2 XREADGROUP GROUP g a BLOCK 0 STREAMS s >; 3 XREADGROUP GROUP g b BLOCK 0 STREAMS s >;
    1 XADD s 1-1 f v; 1 XADD s 1-2 f v; 1 XINFO GROUPS s; 1 XPENDING s g
group without acknowledgement
    1 XGROUP CREATE s g $ MKSTREAM; 2 XREADGROUP GROUP g a BLOCK 0 NOACK STREAMS s >; 1 XADD s 1-1 f v; 1 XPENDING s g;
    1 XINFO CONSUMERS s g
group, its history
    1 XGROUP CREATE s g $ MKSTREAM; 1 XADD s 1-1 f v; 2 XREADGROUP GROUP g a BLOCK 0 STREAMS s 0;
    2 XREADGROUP GROUP g a BLOCK 0 STREAMS s >; 2 XREADGROUP GROUP g a BLOCK 0 STREAMS s 0; 1 XACK s g 1-1
group ends
    1 XGROUP CREATE s g $ MKSTREAM; 2 XREADGROUP GROUP g a BLOCK 0 STREAMS s >; 1 XGROUP DESTROY s g
group is set back
    1 XADD s 1-1 f v; 1 XGROUP CREATE s g $; 2 XREADGROUP GROUP g a BLOCK 0 STREAMS s >; 1 XGROUP SETID s g 0;
    1 XADD s 2-1 f v
stream ends
    1 XGROUP CREATE s g $ MKSTREAM; 2 XREADGROUP GROUP g a BLOCK 0 STREAMS s >; 1 DEL s
stream is flushed
    1 XGROUP CREATE s g $ MKSTREAM; 2 XREADGROUP GROUP g a BLOCK 0 STREAMS s >; 1 FLUSHALL
stream is overwritten
    1 XGROUP CREATE s g $ MKSTREAM; 2 XREADGROUP GROUP g a BLOCK 0 STREAMS s >; 1 SET s x
stream is renamed
    1 XGROUP CREATE s g $ MKSTREAM; 2 XREADGROUP GROUP g a BLOCK 0 STREAMS s >; 1 RENAME s t; 1 XADD t 1-1 f v
stream is replaced
    1 XGROUP CREATE s g $ MKSTREAM; 2 XREADGROUP GROUP g a BLOCK 0 STREAMS s >; 1 XADD t 1-1 f v; 1 RENAME t s
stream's database is exchanged
    1 XGROUP CREATE s g $ MKSTREAM; 2 XREADGROUP GROUP g a BLOCK 0 STREAMS s >; 1 SWAPDB 0 1
renamed
    2 BLPOP a 0; 1 RPUSH b x; 1 RENAME b a
stored
    2 BLPOP a 0; 3 BZPOPMAX z 0; 1 RPUSH b 2 1; 1 SORT b STORE a; 1 ZADD y 1 m; 1 ZUNIONSTORE z 1 y; 1 DBSIZE
stored ranges
    2 BZPOPMIN z 0; 1 ZADD y 1 m 2 n; 1 ZRANGESTORE z y 0 -1; 3 BZMPOP 0 1 w MAX; 1 SADD t a b; 1 ZINTERSTORE w 1 t
members that are skipped are not looked at
    1 ZADD z 0 1 0 c 1 a 1 aa 1 ab 1 b 1 d; 1 ZRANGE z - [a BYLEX LIMIT 2 1; 1 ZRANGE z - [a BYLEX LIMIT 2 9; 1 ZRANGE z - [a BYLEX;
    1 ZREVRANGEBYLEX z [b (a LIMIT 1 2; 1 ZREVRANGEBYLEX z + [a LIMIT 5 9; 1 ZREVRANGEBYLEX z + [a LIMIT 9 9;
    1 ZRANGEBYLEX z [a + LIMIT 7 1; 1 ZRANGESTORE y z - [aa BYLEX LIMIT 2 1; 1 ZRANGE y 0 -1; 1 ZLEXCOUNT z - [a;
    1 ZADD x 0 b 1 a 1 c; 1 ZREVRANGEBYLEX x [b (a LIMIT 1 1; 1 ZREVRANGEBYLEX x [b (a; 1 ZADD w 0 a 1 c 2 b;
    1 ZRANGE w [b (c BYLEX LIMIT 1 1
stored over what was there
    2 BZPOPMAX z 0; 1 SET z x; 1 ZADD y 1 m; 1 ZUNIONSTORE z 1 y; 1 ZADD z 2 n; 3 BZPOPMIN w 0; 1 SET w x; 1 ZRANGESTORE w y 0 -1;
    1 ZADD w 3 o; 1 DEL z; 1 ZADD z 3 p; 1 COPY y w REPLACE; 1 EXISTS w z
sorted over what was there
    2 BLPOP l 0; 1 SET l x; 1 RPUSH k 2 1; 1 SORT k STORE l; 1 LLEN l; 1 RPUSH l 3; 1 RENAME k l; 1 LRANGE l 0 -1
stored over what was there, and exchanged
    2 BZPOPMAX z 0; 1 SET z x; 1 ZADD y 1 m; 1 ZUNIONSTORE z 1 y; 1 SWAPDB 0 1; 1 SWAPDB 0 1; 1 EXISTS z
stored over what was there, in a transaction
    2 BZPOPMAX z 0; 1 SET z x; 1 ZADD y 1 m; 1 MULTI; 1 ZUNIONSTORE z 1 y; 1 EXEC; 1 ZADD z 2 n; 3 BZPOPMAX w 0; 1 MULTI;
    1 ZADD w 1 a; 1 ZUNIONSTORE w 1 y; 1 EXEC; 1 EXISTS w
copied over what was there
    2 BLPOP a 0; 1 SET a x; 1 RPUSH b y; 1 COPY b a REPLACE; 2 BLPOP a 0; 1 SET a x; 1 RENAME b a; 1 EXISTS a
copied
    2 BLPOP a 0; 1 RPUSH b x; 1 COPY b a
moved
    2 SELECT 1; 2 BLPOP a 0; 1 RPUSH a x; 1 MOVE a 1
exchanged
    2 BLPOP a 0; 1 SELECT 1; 1 RPUSH a x; 1 SWAPDB 0 1; 1 DBSIZE
in another database
    2 SELECT 1; 2 BLPOP a 0; 3 BLPOP a 0; 1 SELECT 1; 1 RPUSH a x; 1 SELECT 0; 1 RPUSH a y
watched
    1 WATCH a; 2 SET a 1; 1 MULTI; 1 GET a; 1 EXEC; 1 WATCH a; 2 GET a; 1 MULTI; 1 GET a; 1 EXEC
watched, not changed
    2 SADD a x; 1 WATCH a b; 2 SADD a x; 2 DEL b; 1 MULTI; 1 PING; 1 EXEC
watched, set to the same
    2 SET a x; 1 WATCH a; 2 SET a x; 1 MULTI; 1 PING; 1 EXEC
watched and deleted
    2 SET a x; 1 WATCH a; 2 DEL a; 1 MULTI; 1 PING; 1 EXEC; 1 WATCH a; 2 DEL a; 1 MULTI; 1 PING; 1 EXEC
watched and renamed
    2 SET a 1; 1 WATCH b; 2 RENAME a b; 1 MULTI; 1 PING; 1 EXEC; 1 WATCH b; 2 RENAME b c; 1 MULTI; 1 PING; 1 EXEC
watched flush
    2 SET a 1; 1 WATCH a; 2 FLUSHDB; 1 MULTI; 1 PING; 1 EXEC
watched, nothing flushed
    1 WATCH a; 2 FLUSHDB; 1 MULTI; 1 PING; 1 EXEC
watched in a database that is exchanged
    2 SET a 1; 1 WATCH a; 2 SWAPDB 0 1; 1 MULTI; 1 PING; 1 EXEC; 1 WATCH none; 2 SWAPDB 0 1; 1 MULTI; 1 PING; 1 EXEC
watched in one database, changed in another
    1 WATCH a; 2 SELECT 1; 2 SET a 1; 1 MULTI; 1 PING; 1 EXEC
watched, and its expiry is set
    2 SET a 1; 1 WATCH a; 2 EXPIRE a 100; 1 MULTI; 1 PING; 1 EXEC; 1 WATCH a; 2 PERSIST a; 1 MULTI; 1 PING; 1 EXEC;
    1 WATCH a; 2 PERSIST a; 1 MULTI; 1 PING; 1 EXEC
watched, changed by oneself
    1 WATCH a; 1 SET a 1; 1 MULTI; 1 PING; 1 EXEC
unwatched
    1 WATCH a; 2 SET a 1; 1 UNWATCH; 1 MULTI; 1 PING; 1 EXEC
unwatched in a transaction
    1 WATCH a; 1 MULTI; 1 UNWATCH; 2 SET a 1; 1 EXEC
discarded
    1 WATCH a; 2 SET a 1; 1 MULTI; 1 SET b 1; 1 DISCARD; 1 MULTI; 1 GET b; 1 EXEC
databases in a transaction
    1 MULTI; 1 SELECT 1; 1 SET a 1; 1 SELECT 0; 1 GET a; 1 MOVE b 1; 1 SELECT 99; 1 EXEC; 1 SELECT 1; 1 GET a
messages
    2 SUBSCRIBE a b; 3 PSUBSCRIBE a* x*; 1 PUBLISH a hi; 1 PUBLISH x ho; 2 UNSUBSCRIBE a b; 1 PUBLISH a hey;
    3 PUNSUBSCRIBE a* x*; 1 PUBLISH a gone
a message twice
    2 SUBSCRIBE a; 2 PSUBSCRIBE ?; 2 SUBSCRIBE a; 1 PUBLISH a hi; 2 UNSUBSCRIBE; 1 PUBLISH a ho
messages of a transaction
    2 SUBSCRIBE a; 1 MULTI; 1 PUBLISH a 1; 1 SET k v; 1 PUBLISH a 2; 1 EXEC
to oneself
    1 SUBSCRIBE a; 1 PING; 1 PING x; 1 UNSUBSCRIBE a; 1 GET a; 1 UNSUBSCRIBE x; 1 PUNSUBSCRIBE
channels
    2 SUBSCRIBE a b; 3 SUBSCRIBE a; 1 PUBSUB NUMSUB a b c; 1 PUBSUB CHANNELS a; 1 PUBSUB NUMPAT; 1 PUBSUB NUMSUB
queued wrongly
    1 MULTI; 1 NONSENSE; 1 GET; 1 EXEC; 1 MULTI; 1 MULTI; 1 WATCH a; 1 SET a b c; 1 EXEC; 1 DISCARD; 1 EXEC x; 1 EXEC
not in a transaction
    1 MULTI; 1 SAVE; 1 EXEC; 1 MULTI; 1 SHUTDOWN NOSAVE; 1 SET a b; 1 EXEC; 1 GET a; 1 MULTI; 1 EXEC x; 1 EXEC
errors in a transaction
    1 MULTI; 1 SET a x; 1 INCR a; 1 LPUSH a y; 1 SET b 1; 1 INCR b; 1 EXEC
reset
    1 MULTI; 1 GET a; 1 RESET; 1 EXEC; 1 SELECT 3; 1 CLIENT SETNAME me; 1 WATCH a; 1 RESET; 1 CLIENT GETNAME; 1 SET a 1;
    1 DBSIZE
reset of a listener
    2 SUBSCRIBE a; 2 PSUBSCRIBE b*; 2 RESET; 1 PUBLISH a x; 2 GET a
silence
    1 CLIENT REPLY OFF; 1 SET a 1; 1 GET a; 1 CLIENT REPLY SKIP; 1 NONSENSE; 1 CLIENT REPLY ON; 1 GET a;
    1 CLIENT REPLY SKIP; 1 SET a 2; 1 GET a; 1 CLIENT REPLY SKIP; 1 MULTI; 1 SET a 3; 1 EXEC; 1 CLIENT REPLY SKIP;
    1 CLIENT REPLY SKIP; 1 PING; 1 ECHO x
silence of one who waits
    2 CLIENT REPLY SKIP; 1 RPUSH a x; 2 BLPOP a 0; 2 PING; 1 LLEN a
a password
    1 CONFIG SET requirepass secret; 2 GET a; 2 RESET; 2 GET a; 2 PING; 2 NONSENSE; 2 GET; 2 MULTI; 2 AUTH wrong;
    2 AUTH nobody secret; 2 AUTH; 2 AUTH a b c; 2 HELLO; 2 HELLO 3 AUTH default wrong; 2 HELLO 9; 2 AUTH secret; 2 GET a;
    3 RESET; 3 SUBSCRIBE a; 3 CLIENT ID; 3 HELLO 2 AUTH default secret SETNAME me; 3 CLIENT GETNAME;
    1 CONFIG SET requirepass ''; 3 RESET; 3 GET a; 3 AUTH x; 3 AUTH default x
no memory
    1 SET a x; 1 MULTI; 1 SET b y; 1 GET a; 2 CONFIG SET maxmemory 1; 1 EXEC; 1 PING; 1 GET a; 1 APPEND a x; 1 LPUSH l x;
    1 ZADD z 1 m; 1 XADD s * f v; 1 SORT a STORE b; 1 GETDEL none; 1 LPOP l; 1 SETEX a 1 x; 1 COPY a b; 1 RENAME a c;
    1 HINCRBY h f 1; 1 GETSET a x; 1 GETEX c EX 100; 1 BITFIELD c GET u8 0; 1 XGROUP CREATE s g $ MKSTREAM; 1 LSET l 0 x;
    1 SMOVE a b m; 1 DEL c; 1 CONFIG SET maxmemory 0; 1 SET a y
no memory in a transaction
    1 SET a x; 2 CONFIG SET maxmemory 1; 1 MULTI; 1 UNWATCH; 1 EXEC; 1 MULTI; 1 GET a; 1 DISCARD; 1 WATCH a; 1 MULTI;
    1 PING; 1 WATCH a; 1 MULTI; 1 EXEC; 1 MULTI; 1 RESET; 3 MULTI; 3 DEL a; 3 EXEC; 1 DEL a; 1 CONFIG SET maxmemory 0;
    1 SET a y
expired
    1 SET a x PX 1; 1 SADD s m; 1 PEXPIRE s 1; 1 SET b x; 1 PASS 3; 1 GET a; 1 SCARD s; 1 SADD s n; 1 SMEMBERS s; 1 TTL s;
    1 DBSIZE; 1 KEYS *
expired, and not looked up
    1 SET a x PX 1; 1 HSET h f v; 1 PEXPIRE h 1; 1 SET b y; 1 PASS 3; 1 DBSIZE; 1 RANDOMKEY; 1 KEYS *; 1 SCAN 0 COUNT 1000;
    1 EXISTS a h b; 1 DBSIZE
expired before it is written
    1 SET a 5 PX 1; 1 RPUSH l x; 1 PEXPIRE l 1; 1 ZADD z 1 m; 1 PEXPIRE z 1; 1 SET n 1 PX 1; 1 SET k v PX 1; 1 PASS 3; 1 INCR a;
    1 RPUSHX l y; 1 ZADD z XX 2 m; 1 SETNX n 2; 1 TTL n; 1 SET k w KEEPTTL; 1 TTL k; 1 PERSIST l; 1 EXPIRE z 100
expired names
    1 SET a x PX 1; 1 SET b y; 1 SET c z PX 1; 1 SET d v PX 1; 1 PASS 3; 1 RENAME a e; 1 RENAMENX b c; 1 COPY c d; 1 MOVE d 1;
    1 COPY a b; 1 DEL a; 1 UNLINK a; 1 TOUCH a b c d; 1 OBJECT ENCODING a; 1 TYPE a; 1 GETDEL a; 1 GETEX a PERSIST
expired sources
    1 SADD a m n; 1 SADD b n o; 1 PEXPIRE a 1; 1 SET s abc PX 1; 1 PASS 3; 1 SUNIONSTORE c a b; 1 SDIFFSTORE b b a; 1 SINTER a b;
    1 BITOP OR d s t; 1 ZUNIONSTORE z 2 a b; 1 SORT a; 1 LCS s s; 1 SMOVE a b m
expired while watched
    1 SET a x PX 50; 1 WATCH a; 1 PASS 60; 1 MULTI; 1 PING; 1 EXEC; 1 WATCH a; 1 MULTI; 1 PING; 1 EXEC
expired before it was watched
    1 SET a x PX 1; 1 PASS 3; 1 WATCH a; 1 MULTI; 1 GET a; 1 EXEC
expired before it was watched, and deleted then
    1 SET a x PX 1; 1 PASS 3; 1 WATCH a; 2 GET a; 1 MULTI; 1 PING; 1 EXEC
expired before it was watched, and made anew
    1 SET a x PX 1; 1 PASS 3; 1 WATCH a; 2 SET a y; 1 MULTI; 1 PING; 1 EXEC
expired for one who waits
    1 RPUSH a x; 1 PEXPIRE a 1; 1 PASS 3; 2 BLPOP a 0; 1 RPUSH a y; 1 EXISTS a
expired target
    1 SET b x PX 1; 2 BLMOVE a b LEFT LEFT 0; 1 PASS 3; 1 RPUSH a x; 1 LRANGE b 0 -1
expired stream
    1 XADD s 1-1 f v; 1 XGROUP CREATE s g $; 1 PEXPIRE s 300; 2 XREAD BLOCK 0 STREAMS s $; 1 PASS 320; 1 XLEN s; 1 XADD s 1-1 f w
killed
    1 CLIENT KILL ID 99999; 1 CLIENT KILL TYPE pubsub; 1 CLIENT KILL ID 0; 1 CLIENT KILL TYPE x; 1 CLIENT KILL USER nobody;
    1 CLIENT KILL SKIPME maybe; 1 CLIENT KILL 1.2.3.4:5; 1 CLIENT KILL ID; 1 CLIENT KILL ID x
"""


def _read(text: str) -> dict[str, list[tuple[int, list[str]]]]:
    found: dict[str, list[tuple[int, list[str]]]] = {}
    for line in text.strip().splitlines():
        if not line.startswith(" "):
            steps = found[line] = []
            continue
        for command in line.strip().rstrip(";").split("; "):
            number, *words = command.split()
            steps.append((int(number), words))
    return found


SCRIPTS = _read(_TEXT)
