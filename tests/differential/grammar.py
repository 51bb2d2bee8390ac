"""Commands by templates, one a line.

    CAPITALS   the word itself, in any case     [ ... ]   optional
    name       a value of a kind, see KINDS     a|b       one of these words, names or groups
    x+         up to three of them              ( ... )   a group

A key that is named after a type mostly has this type, and sometimes another.
"""

from __future__ import annotations

from hypothesis import strategies as st

Words = st.SearchStrategy[list[bytes]]


def _of(text: str) -> list[bytes]:
    return [word.encode() for word in text.split()]


def _rarely(usual: list[bytes], rare: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.sampled_from(usual * max(1, 6 * len(rare) // len(usual)) + rare)


ALL_KEYS = _of("s1 s2 h1 h2 l1 l2 t1 t2 z1 z2 x1 none")
NO_NUMBERS = [b"", b"abc", b"1.5", b" 1", b"+1", b"01", b"9223372036854775808", b"-9223372036854775809", b"1x", b"-0", b"1\0"]
EXTREMES = [b"9223372036854775807", b"-9223372036854775808", b"-1", b"0"]
NO_FLOATS = [b"", b"abc", b"nan", b"1,5", b"1.5x", b" 2", b"1e400", b"--1", b"0x", b"1e-400", b"-nan", b"2 "]
MEMBERS = [*_of("a b c d aa ab 1 2 3 10 -5 foo"), b"", b"x y", b"\x00\xff"]
VALUES = [
    *_of("a b 0 1 10 -7 3.0 3.25 1e3 hello 0x1A foobar ohmytext mynewtext inf"),
    b"",
    b"\x00\xff\x80",
    b"two words",
    b"L" * 70,
]
TIMES_S = _of("4102444800 4102444801 5000000000")
TIMES_MS = _of("4102444800000 4102444800500 5000000000123")
KINDS: dict[str, st.SearchStrategy[bytes]] = {
    "k": st.sampled_from(ALL_KEYS),
    "ks": _rarely(_of("s1 s2"), [b"h1", b"none", b"l1"]),
    "kh": _rarely(_of("h1 h2"), [b"s1", b"none", b"t1"]),
    "kl": _rarely(_of("l1 l2"), [b"s1", b"none", b"z1"]),
    "kt": _rarely(_of("t1 t2"), [b"s1", b"none", b"z1"]),
    "kz": _rarely(_of("z1 z2"), [b"s1", b"none", b"t1"]),
    "kx": _rarely(_of("x1 x2"), [b"s1", b"none", b"l1"]),
    "v": st.sampled_from(VALUES),
    "m": st.sampled_from(MEMBERS),
    "int": _rarely(_of("0 1 2 3 -1 -2 5 10 100"), NO_NUMBERS + EXTREMES),
    "pos": _rarely(_of("1 2 3 10"), NO_NUMBERS + EXTREMES),
    "n": _rarely(_of("1 2"), [b"0", b"3", b"-1", b"x"]),
    "float": _rarely(
        _of("1 2.5 -0.5 0.1 1e2 3.0e3 0x10 -1.25 0.2 100000000000000000000 1.7976931348623157e308"), NO_FLOATS + _of("inf -inf")
    ),
    "score": _rarely(_of("0 1 2 3 1.5 -1 -0 0.1 1e20 100 +inf -inf 0.30000000000000004 1e-7 123456789012345678"), NO_FLOATS),
    "bound": _rarely(_of("-inf +inf 0 1 2 3 (1 (2 (-inf 1.5 (+inf inf"), [b"abc", b"(", b"", b"nan", b"[1", b"((1"]),
    "lex": _rarely(_of("- + [a (a [b (b [aa [c [d ( ["), [b"a", b"", b"x"]),
    "lexm": st.sampled_from(_of("[m050 (m050 [m055 (m150 [m150 - + [m (n")),
    "scorem": st.sampled_from(_of("(10 10 (12 50 -inf +inf (60")),
    "rank": _rarely(_of("0 1 2 -1 -2 -100 100"), NO_NUMBERS),
    "id": _rarely(
        _of("1-1 1-2 2-1 2 3-0 5-5 7 0 0-0 9-9"),
        [*_of("0-1 - + $ > abc 1-x 1-1-1 * 18446744073709551615-18446744073709551615"), b""],
    ),
    "newid": _rarely(
        _of("1-1 1-2 2-1 3-0 5-5 7 8-* 9-9 12 20-*"), _of("0-0 abc 1-x 18446744073709551615-18446744073709551615 0 0-* - +")
    ),
    "end": _rarely(
        _of("- + 1 2 5-5 (1-1 (5-5 0 7"), [*_of("abc (- (+ ((1 $ (18446744073709551615-18446744073709551615"), b"", b"("]
    ),
    "g": _rarely(_of("g1 g2"), [b"g3"]),
    "c": _rarely(_of("c1 c2"), [b""]),
    "pat": st.sampled_from([*_of("* ? a* *a [ab]* h?llo foo w_* *_* [^a]* \\a s1 [a-c] [z-a]b [ [^] **a* *1* l*"), b""]),
    "by": st.sampled_from(_of("w_* *_w h* nosort h1->* h*->a w_*->a #")),
    "sec": _rarely(_of("100 1000 5000"), [*NO_NUMBERS, *EXTREMES, b"-5"]),
    "ms": _rarely(_of("100000 1000500 5000001"), [*NO_NUMBERS, *EXTREMES, b"-5"]),
    "ats": _rarely(TIMES_S, [*NO_NUMBERS, *EXTREMES, b"1"]),
    "atms": _rarely(TIMES_MS, [*NO_NUMBERS, *EXTREMES, b"1"]),
    "wait": _rarely(_of("0 1000 0 2000.5"), [b"-1", b"abc", b"", b"inf", b"nan", b"1e20", b"-0"]),
    "waitms": _rarely(_of("0 100000"), [b"-1", b"abc", b"1.5"]),
    # a timeout of a few ms could pass on one side and not on the other
    "idle": _rarely(_of("0 100000 -1"), NO_NUMBERS + EXTREMES),
    "db": _rarely(_of("0 1 2"), [b"15", b"16", b"-1", b"x", b"99999999999"]),
    "bit": _rarely(_of("0 1"), [b"2", b"-1", b"x"]),
    "off": _rarely(_of("0 1 5 7 8 15 100"), [b"-1", b"x", b"4294967296000", b"", b"#1"]),
    "boff": _rarely(_of("0 1 5 7 8 #0 #1 #2 60"), [b"-1", b"x", b"#", b"#-1", b"4294967296000"]),
    "btype": _rarely(_of("u8 i8 u1 i1 u4 i5 i16 u16 i64 u63 u32"), [b"u64", b"i65", b"x8", b"u0", b"8", b"", b"i"]),
    "ch": st.sampled_from(_of("news sport new x")),
    "cur": _rarely([b"0"], [b"abc", b"", b" 0", b"18446744073709551616", b"1x"]),
    "big": st.just(b"1000"),
    "word": st.sampled_from([*_of("a NX XX COUNT LIMIT STORE WITHSCORES 1 -1 GET * get"), b"", b"\r\n"]),
    "type": st.sampled_from(_of("string list set zset hash stream none STRING foo")),
    "empty": st.just(b""),
    "lexname": st.sampled_from(_of("a aa ab b bb c d dd m z")),
}

MANY: dict[str, Words] = {
    "scores200": st.sampled_from(
        [[w for i in range(200) for w in (b"%d" % (i * scale % 61), b"m%03d" % i)] for scale in (0, 1, 7)]
    ),
    "equal200": st.just([w for i in range(200) for w in (b"5", b"m%03d" % i)]),
    "members200": st.sampled_from([[b"m%03d" % i for i in range(start, start + 200)] for start in (0, 100)]),
    "integers": st.sampled_from([[b"%d" % (i * 7 % 1000) for i in range(start, start + 600)] for start in (0, 300)]),
    "fields200": st.just([w for i in range(200) for w in (b"m%03d" % i, b"L" * (i % 70))]),
}
"""Number of elements above which Redis stores a value in another form, and TitanStore uses no
shortcuts for small values."""

TEMPLATES: dict[str, str] = {
    "large": """
        ZADD kz scores200
        ZADD z1 scores200
        ZADD z9 equal200
        ZADD z9 equal200
        ZREM z9 m050 m051 m149
        SADD kt members200
        SADD kt integers
        RPUSH kl members200
        HSET kh fields200
        ZADD kz (score m)+
        ZRANGE kz bound bound BYSCORE [REV] [LIMIT int int] [WITHSCORES]
        ZRANGE z9 lexm lexm BYLEX [REV] [LIMIT int int]
        ZRANGE kz rank rank [REV] WITHSCORES
        ZRANGEBYLEX z9 lexm lexm
        ZRANGEBYLEX z9 lexm lexm LIMIT int int
        ZREVRANGEBYLEX z9 lexm - LIMIT 3 5
        ZLEXCOUNT z9 lexm lexm
        ZCOUNT kz scorem scorem
        ZREMRANGEBYLEX z9 lexm lexm
        ZREMRANGEBYSCORE kz scorem scorem
        ZREMRANGEBYRANK kz 50 60
        ZRANK kz m077
        ZREVRANK kz m077
        ZREM kz m+
        ZINCRBY kz float m
        ZINCRBY kz -20 m077
        ZPOPMIN kz 3
        ZPOPMAX kz 3
        ZUNIONSTORE kz 2 kz kz|kt [WEIGHTS 2 -1] [AGGREGATE SUM|MIN|MAX]
        ZINTER 2 kz kz|kt WITHSCORES
        ZDIFF 2 kz kz|kt
        ZSCAN kz 0 COUNT big [MATCH pat]
        SINTER kt kt
        SUNIONSTORE kt kt kt
        SDIFFSTORE kt kt kt
        SREM kt members200
        SPOP kt 50
        SRANDMEMBER kt -5
        SSCAN kt 0 COUNT big
        LPOS kl m077 [COUNT 0] [RANK -1]
        LRANGE kl int int
        LINDEX kl 150
        LSET kl 150 m
        LINSERT kl BEFORE m150 m
        LREM kl -1 m150
        LTRIM kl 20 -20
        LMOVE kl kl LEFT RIGHT
        SORT kl|kt|kz ALPHA LIMIT 5 10
        SORT kt|kz ALPHA DESC STORE kl
        HGETALL kh
        HDEL kh m000 m077
        HRANDFIELD kh 5
        HSCAN kh 0 COUNT big
        COPY kz kz REPLACE
        RENAME kt kt
    """,
    "strings": """
        SET ks v [NX|XX] [GET] [(EX sec)|(PX ms)|(EXAT ats)|(PXAT atms)|KEEPTTL]
        SET ks v
        SET ks v word+
        GET ks
        GET k
        SETNX ks v
        SETEX ks sec v
        PSETEX ks ms v
        GETSET ks v
        GETDEL ks
        GETEX ks [(EX sec)|(PX ms)|(EXAT ats)|(PXAT atms)|PERSIST]
        MGET k+
        MSET (ks v)+
        MSETNX (ks v)+
        APPEND ks v
        STRLEN ks
        SETRANGE ks int v
        GETRANGE ks int int
        SUBSTR ks int int
        INCR ks
        DECR ks
        INCRBY ks int
        DECRBY ks int
        INCRBYFLOAT ks float
        LCS ks ks [LEN] [IDX] [MINMATCHLEN int] [WITHMATCHLEN]
    """,
    "bitmaps": """
        SETBIT ks off bit
        GETBIT ks off
        BITCOUNT ks [int int [BYTE|BIT]]
        BITPOS ks bit [int [int [BYTE|BIT]]]
        BITOP AND|OR|XOR|NOT|FOO ks ks+
        BITFIELD ks ((GET btype boff)|(SET btype boff int)|(INCRBY btype boff int)|(OVERFLOW WRAP|SAT|FAIL|FOO))+
        BITFIELD ks ((INCRBY btype boff int)|(OVERFLOW SAT|FAIL))+
        BITFIELD_RO ks ((GET btype boff)|(SET btype boff int))+
        SET ks v
        GET ks
        STRLEN ks
        SETRANGE ks int v
        APPEND ks v
    """,
    "keys": """
        DEL k+
        UNLINK k+
        EXISTS k+
        TYPE k
        TOUCH k+
        RENAME k k
        RENAMENX k k
        COPY k k [DB db] [REPLACE]
        MOVE k db
        KEYS pat
        DBSIZE
        RANDOMKEY
        FLUSHDB [ASYNC|SYNC|FOO]
        FLUSHALL [ASYNC|SYNC|FOO]
        SWAPDB db db
        SELECT db
        EXPIRE k sec [NX|XX|GT|LT|FOO] [GT|XX]
        PEXPIRE k ms [NX|XX|GT|LT]
        EXPIREAT k ats [NX|XX|GT|LT]
        PEXPIREAT k atms [NX|XX|GT|LT]
        TTL k
        PTTL k
        EXPIRETIME k
        PEXPIRETIME k
        PERSIST k
        OBJECT REFCOUNT none
        OBJECT FREQ k
        OBJECT ENCODING none
        SCAN cur COUNT big [MATCH pat] [TYPE type]
        SCAN cur [COUNT int] [word]
        SET ks v [(EX sec)]
        RPUSH kl m+
        SADD kt m+
        HSET kh (m v)+
        ZADD kz (score m)+
        XADD kx newid m v
        XGROUP CREATE kx g id
        MSET w_a 3 w_b 1 w_c 2 w_1 9 w_2 8 w_3 7
        HSET h1 a v b v c v 1 4
    """,
    "sorting": """
        SORT kl|kt|kz [ASC|DESC] [ALPHA]
        SORT kl|kt|kz [LIMIT int int] [DESC] [ALPHA] [GET by] [GET #]
        SORT kl|kt|kz BY by [ASC|DESC] [GET by]
        SORT kl|kt|kz BY by [DESC] STORE k
        SORT kl|kt|kz ALPHA STORE k
        SORT kl|kt|kz word+
        SORT_RO kl|kt|kz [LIMIT int int] [ALPHA] [STORE k]
        RPUSH kl m+
        RPUSH l1 score+
        SADD kt m+
        SADD t1 1 2 3
        ZADD kz (score m)+
        MSET w_a 3 w_b 1 w_c 2 w_1 9 w_2 8 w_3 7
        MSET 1_w b 2_w c 3_w a
        HSET h1 a v b v c v 1 4
        HSET w_a a v
        LRANGE kl 0 -1
        DEL k
    """,
    "hashes": """
        HSET kh (m v)+
        HSET kh (m v)+ m
        HMSET kh (m v)+
        HSETNX kh m v
        HGET kh m
        HMGET kh m+
        HDEL kh m+
        HLEN kh
        HEXISTS kh m
        HSTRLEN kh m
        HKEYS kh
        HVALS kh
        HGETALL kh
        HINCRBY kh m int
        HINCRBYFLOAT kh m float
        HRANDFIELD kh [int [WITHVALUES]]
        HSCAN kh cur COUNT big [MATCH pat]
        HSCAN kh cur [word+]
    """,
    "lists": """
        LPUSH kl m+
        RPUSH kl m+
        LPUSHX kl m+
        RPUSHX kl m+
        LPOP kl [int]
        RPOP kl [int]
        LLEN kl
        LINDEX kl int
        LRANGE kl int int
        LTRIM kl int int
        LSET kl int m
        LREM kl int m
        LINSERT kl BEFORE|AFTER|FOO m m
        LPOS kl m [RANK int] [COUNT int] [MAXLEN int]
        LMOVE kl kl LEFT|RIGHT LEFT|RIGHT|FOO
        RPOPLPUSH kl kl
        LMPOP n kl+ LEFT|RIGHT [COUNT pos]
        BLPOP kl+ wait
        BRPOP kl+ wait
        BLMOVE kl kl LEFT|RIGHT LEFT|RIGHT wait
        BRPOPLPUSH kl kl wait
        BLMPOP wait n kl+ LEFT|RIGHT [COUNT pos]
        CLIENT UNBLOCK int [TIMEOUT|ERROR|FOO]
        DEL kl
        SET kl v
        RENAME kl kl
        COPY kl kl
        SORT kl ALPHA STORE kl
    """,
    "sets": """
        SADD kt m+
        SREM kt m+
        SCARD kt
        SMEMBERS kt
        SISMEMBER kt m
        SMISMEMBER kt m+
        SMOVE kt kt m
        SPOP kt [int]
        SRANDMEMBER kt [int]
        SINTER kt+
        SUNION kt+
        SDIFF kt+
        SINTERSTORE kt kt+
        SUNIONSTORE kt kt+
        SDIFFSTORE kt kt+
        SINTERCARD n kt+ [LIMIT int]
        SSCAN kt cur COUNT big [MATCH pat]
        SSCAN kt cur [word+]
    """,
    "sorted sets": """
        ZADD kz [NX|XX] [GT|LT] [CH] [INCR] (score m)+
        ZADD kz (score m)+
        ZADD kz INCR score m
        ZINCRBY kz float m
        ZCARD kz
        ZSCORE kz m
        ZMSCORE kz m+
        ZRANK kz m
        ZREVRANK kz m
        ZCOUNT kz bound bound
        ZLEXCOUNT kz lex lex
        ZREM kz m+
        ZREMRANGEBYRANK kz rank rank
        ZREMRANGEBYSCORE kz bound bound
        ZREMRANGEBYLEX kz lex lex
        ZRANGE kz rank rank [REV] [WITHSCORES]
        ZRANGE kz bound bound BYSCORE [REV] [LIMIT int int] [WITHSCORES]
        ZRANGE kz lex lex BYLEX [REV] [LIMIT int int] [WITHSCORES]
        ZRANGE kz rank rank word+
        ZREVRANGE kz rank rank [WITHSCORES]
        ZRANGEBYSCORE kz bound bound [WITHSCORES] [LIMIT int int]
        ZREVRANGEBYSCORE kz bound bound [WITHSCORES] [LIMIT int int]
        ZRANGEBYLEX kz lex lex [LIMIT int int]
        ZREVRANGEBYLEX kz lex lex [LIMIT int int]
        ZRANGESTORE kz kz rank rank [REV]
        ZRANGESTORE kz kz bound bound BYSCORE [REV] [LIMIT int int]
        ZRANGESTORE kz kz lex lex BYLEX [LIMIT int int]
        ZPOPMIN kz [int]
        ZPOPMAX kz [int]
        ZMPOP n kz+ MIN|MAX [COUNT pos]
        BZPOPMIN kz+ wait
        BZPOPMAX kz+ wait
        BZMPOP wait n kz+ MIN|MAX [COUNT pos]
        ZRANDMEMBER kz [int [WITHSCORES]]
        ZUNION n kz|kt kz|kt [WEIGHTS float float] [AGGREGATE SUM|MIN|MAX|FOO] [WITHSCORES]
        ZINTER n kz|kt kz|kt [WEIGHTS float float] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]
        ZUNION 2 kz|kt kz [WEIGHTS float float] [WITHSCORES]
        ZDIFF n kz|kt kz|kt [WITHSCORES]
        ZUNIONSTORE kz 2 kz kz|kt [WEIGHTS float float] [AGGREGATE SUM|MIN|MAX]
        ZINTERSTORE kz n kz kz|kt [WEIGHTS float float] [AGGREGATE SUM|MIN|MAX]
        ZDIFFSTORE kz n kz kz|kt
        ZINTERCARD n kz kz|kt [LIMIT int]
        ZSCAN kz cur COUNT big [MATCH pat]
        SADD kt m+
    """,
    "sorted sets by name": """
        ZADD kz (1 m)+
        ZADD kz 1 a 1 b 1 aa 1 ab 1 c
        ZADD kz (1 lexname)+
        ZRANGEBYLEX kz lex lex [LIMIT int int]
        ZREVRANGEBYLEX kz lex lex [LIMIT int int]
        ZRANGE kz lex lex BYLEX [REV] [LIMIT int int]
        ZRANGE kz lex lex BYLEX WITHSCORES
        ZRANGESTORE kz kz lex lex BYLEX [REV] [LIMIT int int]
        ZLEXCOUNT kz lex lex
        ZREMRANGEBYLEX kz lex lex
        ZREM kz m+
        ZPOPMIN kz [int]
        ZINCRBY kz 0 m
        ZRANK kz m
        DEL kz
    """,
    "waiting": """
        BLPOP kl+ 0
        BRPOP kl kz 0
        BLMOVE kl kl LEFT|RIGHT LEFT|RIGHT 0
        BRPOPLPUSH kl kl 0
        BLMPOP 0 n kl kl LEFT|RIGHT [COUNT pos]
        BZPOPMIN kz+ 0
        BZPOPMAX kz kl 0
        BZMPOP 0 n kz kz MIN|MAX [COUNT pos]
        XREAD [COUNT pos] BLOCK 0 STREAMS kx kx $ 0
        XREAD BLOCK 0 STREAMS kx $
        XREADGROUP GROUP g c [COUNT pos] BLOCK 0 [NOACK] STREAMS kx >
        RPUSH kl m+
        LPUSH kl m+
        RPUSH l1 m m m
        ZADD kz (score m)+
        ZADD z1 1 a 2 b
        XADD kx newid m v
        XADD x1 20-* m v
        XADD x2 20-* m v
        XGROUP CREATE kx g id|$ MKSTREAM
        XGROUP DESTROY kx g
        XGROUP SETID kx g id
        DEL kl|kz|kx
        SET kl|kz|kx v
        RENAME kl|kz|kx kl|kz|kx
        COPY kl|kz|kx kl|kz|kx [REPLACE]
        LMOVE kl kl LEFT RIGHT
        LPOP kl
        ZPOPMIN kz
        SORT kl ALPHA STORE kl
        ZUNIONSTORE kz 2 kz kz
        ZRANGESTORE kz kz 0 -1
        EXPIRE kl sec
        SELECT 0|1
        SWAPDB 0 1
        MOVE kl|kz|kx 0|1
        FLUSHDB
        MULTI
        EXEC
        EXEC
    """,
    "streams": """
        XADD kx newid (m v)+
        XADD kx [NOMKSTREAM] [MAXLEN [=] int] [LIMIT int] newid m v
        XADD kx MAXLEN ~ 1000 [LIMIT int] newid m v
        XADD kx MAXLEN|MINID ~ -1|x LIMIT int newid m v
        XADD kx [MINID [=] id] newid (m v)+
        XLEN kx
        XRANGE kx end end [COUNT int]
        XREVRANGE kx end end [COUNT int]
        XDEL kx id+
        XTRIM kx MAXLEN [=] int
        XTRIM kx MINID [=] id
        XTRIM kx word+
        XSETID kx id [ENTRIESADDED int] [MAXDELETEDID id]
        XREAD [COUNT int] STREAMS kx id
        XREAD [COUNT int] STREAMS kx kx id id
        XREAD [COUNT int] BLOCK waitms STREAMS kx id
        XREAD BLOCK 0 STREAMS kx kx $ $
        XREAD word+ STREAMS kx id
        XINFO STREAM kx
        XINFO STREAM kx FULL [COUNT int]
        XINFO GROUPS kx
        XINFO CONSUMERS kx g
        XGROUP CREATE kx g id [MKSTREAM] [ENTRIESREAD int]
        XGROUP CREATE kx g $ MKSTREAM
        DEL kx
        COPY kx kx
    """,
    "stream groups": """
        XADD kx newid (m v)+
        XGROUP CREATE kx g 0 [MKSTREAM]
        XGROUP CREATE kx g id [ENTRIESREAD int]
        XGROUP SETID kx g id [ENTRIESREAD int]
        XGROUP CREATECONSUMER kx g c
        XGROUP DELCONSUMER kx g c
        XGROUP DESTROY kx g
        XREADGROUP GROUP g c [COUNT int] [NOACK] STREAMS kx >|id
        XREADGROUP GROUP g c STREAMS kx >
        XREADGROUP GROUP g c [COUNT int] BLOCK waitms [NOACK] STREAMS kx >|id
        XREADGROUP GROUP g c STREAMS kx kx > >|id
        XACK kx g id+
        XPENDING kx g
        XPENDING kx g [IDLE idle] end end int [c]
        XCLAIM kx g c 0|idle id+ [JUSTID]
        XCLAIM kx g c 0 id+ [IDLE int] [RETRYCOUNT int] [FORCE] [JUSTID] [LASTID id]
        XAUTOCLAIM kx g c 0|idle end [COUNT int] [JUSTID]
        XINFO STREAM kx
        XINFO STREAM kx FULL
        XINFO GROUPS kx
        XINFO CONSUMERS kx g
        XDEL kx id+
        XTRIM kx MAXLEN int
        DEL kx
        RENAME kx kx
        COPY kx kx REPLACE
        SET kx v
    """,
    "transactions": """
        MULTI
        EXEC
        EXEC
        DISCARD
        WATCH k+
        WATCH s1
        UNWATCH
        SET ks v
        INCR ks
        LPUSH kl m
        BLPOP kl 0
        RENAME k k
        EXPIRE k sec
        FLUSHDB
        SELECT db
        SWAPDB db db
        GETDEL ks
        ZADD kz score m
        XADD kx newid m v
        NOSUCH a
        XREAD BLOCK 0 STREAMS kx $
    """,
    "pubsub": """
        SUBSCRIBE ch+
        PSUBSCRIBE pat+
        UNSUBSCRIBE [ch+]
        PUNSUBSCRIBE [pat+]
        PUBLISH ch v
        PUBSUB CHANNELS [pat]
        PUBSUB NUMSUB [ch+]
        PUBSUB NUMPAT
        PUBSUB FOO
        PING [v]
        RESET
        GET ks
    """,
    "connection": """
        PING [v]
        ECHO v
        SELECT db
        HELLO [2|3|4|x] [SETNAME m] [AUTH default m]
        AUTH v
        AUTH default v
        AUTH m v
        CLIENT GETNAME
        CLIENT SETNAME m
        CLIENT REPLY ON|FOO
        CLIENT NO-EVICT ON|OFF|FOO
        CLIENT FOO
        CLIENT UNBLOCK int
        RESET
        QUIT
        WAIT 0 0
        LASTSAVE word
        CONFIG FOO
        CONFIG GET
        CONFIG SET word
        OBJECT FOO k
        OBJECT
        XINFO
        XGROUP FOO
        MEMORY USAGE none
        MEMORY USAGE k SAMPLES int word
        COMMAND COUNT word
        COMMAND FOO
        COMMAND GETKEYS GET ks
        COMMAND GETKEYS MSET (k v)+
        COMMAND GETKEYS XREAD STREAMS kx kx id id
        COMMAND GETKEYS ZUNION n kz kz
        COMMAND GETKEYS PING
        COMMAND GETKEYS EVALX
        COMMAND GETKEYS SORT k STORE k
        FOO word+
        empty v
        SLOWLOG FOO
        SLOWLOG LEN
        LATENCY LATEST
        ROLE
    """,
}


def command(template: str) -> Words:
    """Return a strategy for the commands of a template."""
    words, at = _sequence(template.replace("(", " ( ").replace(")", " ) ").replace("[", " [ ").replace("]", " ] ").split(), 0)
    assert at < 0, template
    return st.tuples(words, st.integers(0, 60), st.sampled_from(MEMBERS)).map(lambda drawn: _mutated(*drawn))


def _mutated(args: list[bytes], chance: int, word: bytes) -> list[bytes]:
    if chance == 60 and len(args) > 1:
        return args[:-1]
    if chance == 59:
        return [*args, word]
    if chance == 58:
        return [args[0].lower(), *args[1:]]
    return args


def _sequence(tokens: list[str], at: int, until: str = "") -> tuple[Words, int]:
    parts: list[Words] = []
    while at < len(tokens) and tokens[at] != until:
        options = []
        while True:
            option, at = _item(tokens, at)
            options.append(option)
            if at < len(tokens) and tokens[at] == "|":
                at += 1
                continue
            if at < len(tokens) and tokens[at].startswith("|"):
                tokens[at] = tokens[at][1:]
                continue
            break
        parts.append(options[0] if len(options) == 1 else st.one_of(options))
    joined = st.tuples(*parts).map(lambda found: [word for part in found for word in part])
    return joined, at + 1 if until else -1


def _item(tokens: list[str], at: int) -> tuple[Words, int]:
    token = tokens[at]
    if token == "[":
        inner, at = _sequence(tokens, at + 1, "]")
        return st.one_of(st.just([]), inner), at
    if token == "(":
        inner, at = _sequence(tokens, at + 1, ")")
        if at < len(tokens) and tokens[at].startswith("+"):
            tokens[at] = tokens[at][1:]
            if not tokens[at]:
                at += 1
            return _several(inner), at
        return inner, at
    names = token.split("|")
    if len(names) > 1 and not names[-1]:  # a group follows the word
        tokens[at] = "|"
        return st.one_of([_word(name) for name in names[:-1]]), at
    return st.one_of([_word(name) for name in names]) if len(names) > 1 else _word(token), at + 1


def _several(inner: Words) -> Words:
    return st.lists(inner, min_size=1, max_size=3).map(lambda found: [word for part in found for word in part])


def _word(name: str) -> Words:
    if name.endswith("+") and name[:-1] in KINDS:
        return _several(_word(name[:-1]))
    if name in MANY:
        return MANY[name]
    kind = KINDS.get(name)
    return kind.map(lambda word: [word]) if kind is not None else st.just([name.encode()])


def commands(theme: str) -> Words:
    return _one_of([command(line) for line in TEMPLATES[theme].strip().splitlines()])


def _one_of(options: list[Words]) -> Words:
    """Return a strategy for one of the options, all with equal weight. st.one_of would merge the
    options of nested strategies, which changes their weights."""
    return st.integers(0, len(options) - 1).flatmap(options.__getitem__)


THEMES: dict[str, Words] = {theme: commands(theme) for theme in TEMPLATES}
MAKERS: dict[str, Words] = {
    theme: _one_of([command(line) for line in lines.split("; ")])
    for theme, lines in {
        "strings": "SET ks v; MSET (ks v)+; SET ks int; APPEND ks v",
        "bitmaps": "SET ks v; SETBIT ks off 1; SETRANGE ks 3 v",
        "keys": "SET ks v; RPUSH kl m+; SADD kt m+; HSET kh (m v)+; ZADD kz (score m)+; SET k v EX 1000",
        "sorting": "RPUSH kl m+; RPUSH kl 3 1 2 10; SADD kt 3 2 1; ZADD kz 1 3 2 1 3 2; MSET w_1 3 w_2 1 w_3 2 w_a 1",
        "hashes": "HSET kh (m v)+",
        "lists": "RPUSH kl m+; LPUSH kl m+; RPUSH kl a b a c a b",
        "sets": "SADD kt m+; SADD kt a b 1 2 3",
        "sorted sets": "ZADD kz (score m)+; ZADD kz 1 a 2 b 3 d; ZADD kz 0 a 0 b 0 aa 0 ab 0 d",
        "streams": "XADD kx newid (m v)+; XADD x1 1-* f v; XADD x1 5-* f v; XADD x1 9-* f v; XADD x2 9-* f v",
        "stream groups": "XADD x1 1-* f v; XADD x1 7-* f v; XGROUP CREATE x1 g1 0 MKSTREAM; XREADGROUP GROUP g1 c STREAMS x1 >",
        "transactions": "MULTI; SET ks v; RPUSH kl m",
        "pubsub": "SUBSCRIBE ch; PSUBSCRIBE n*; PUBLISH ch v",
    }.items()
}
"""Theme -> commands that fill the keys of the theme, so that its other commands find something."""
WAITING = "waiting"
WATCHING = "watching"
MIXED = "mixed"
ALL_THEMES = [*THEMES, WATCHING, MIXED]
_DATA = [theme for theme in THEMES if theme not in ("transactions", "pubsub", "connection", "waiting")]
_NOT_WATCHED = (b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"UNWATCH", b"RESET", b"QUIT")
OTHERS = _one_of([THEMES["keys"], THEMES["strings"], THEMES["transactions"], THEMES["connection"]])
Step = tuple[int, list[bytes]]


def sequences(theme: str, most: int) -> st.SearchStrategy[list[Step]]:
    """Return a strategy for commands of several connections, mostly of one theme."""
    if theme == WATCHING:
        return _watched(most)
    if theme == MIXED:
        chosen = _one_of([*(THEMES[name] for name in _DATA), *(MAKERS[name] for name in _DATA if name in MAKERS)])
        return _steps(st.tuples(st.sampled_from((0, 0, 1)), chosen), most)
    own = THEMES[theme]
    chosen = _one_of([own] * 9 + [MAKERS.get(theme, own)] * 3 + [OTHERS])
    if theme == WAITING:
        return _steps(st.tuples(st.sampled_from((0, 1, 2, 3)), _one_of([own] * 15 + [THEMES["lists"]])), most)
    return _steps(st.tuples(st.sampled_from((0, 0, 1)), chosen), most)


def _steps(step: st.SearchStrategy[Step], most: int) -> st.SearchStrategy[list[Step]]:
    return st.integers(1, most).flatmap(lambda size: st.lists(step, min_size=size, max_size=size))


def _watched(most: int) -> st.SearchStrategy[list[Step]]:
    """Return a strategy in which connection 0 watches some keys and connection 1 then runs a
    command. The reply to EXEC shows whether the command counts as a change."""
    keys = st.lists(KINDS["k"], min_size=1, max_size=6)
    said = _one_of(
        [*(THEMES[name] for name in _DATA), *(MAKERS[name] for name in _DATA if name in MAKERS)] + [THEMES["stream groups"]] * 3
    )

    def steps(drawn: tuple[list[bytes], list[bytes]]) -> list[Step]:
        watched, args = drawn
        if args[0].upper() in _NOT_WATCHED:
            return []
        return [(0, [b"WATCH", *watched]), (1, args), (0, [b"MULTI"]), (0, [b"PING"]), (0, [b"EXEC"])]

    turns = st.lists(st.tuples(keys, said).map(steps), min_size=1, max_size=most // 2)
    return turns.map(lambda found: [step for turn in found for step in turn])
