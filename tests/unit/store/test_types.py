"""Replies and errors of commands for each type, without a Redis server."""

from __future__ import annotations

import pytest

from support.store import Talk, replayed
from titan.store.dice import Dice
from titan.store.replies import NULL_ARRAY, OK, OUT_OF_RANGE, WRONG_TYPE, Error, Reply, Status
from titan.store.stream_log import IdMap
from titan.store.values import SetValue, SortedSet

Script = list[tuple[str, Reply]]
SCRIPTS: dict[str, Script] = {
    "strings": [
        ("SET k 10 GET", None),
        ("INCRBY k 5", 15),
        ("INCRBYFLOAT k 0.1", b"15.1"),
        ("INCR k", Error(b"ERR value is not an integer or out of range")),
        ("APPEND k xyz", 7),
        ("GETRANGE k -3 -1", b"xyz"),
        ("SETRANGE k 9 !", 10),
        ("GET k", b"15.1xyz\0\0!"),
        ("OBJECT ENCODING k", b"raw"),
        ("MSETNX k 1 l 2", 0),
        ("SET n 9223372036854775807", OK),
        ("INCR n", Error(b"ERR increment or decrement would overflow")),
        ("SET k v XX NX", Error(b"ERR syntax error")),
        ("SET k v EX 0", Error(b"ERR invalid expire time in 'set' command")),
        ("GET", Error(b"ERR wrong number of arguments for 'get' command")),
        ("LCS k l", b""),
    ],
    "bitmaps": [
        ("SETBIT k 7 1", 0),
        ("GETBIT k 7", 1),
        ("BITCOUNT k", 1),
        ("BITPOS k 1", 7),
        ("BITOP NOT d k", 1),
        ("GET d", b"\xfe"),
        ("OBJECT ENCODING d", b"raw"),
        ("BITFIELD d OVERFLOW SAT INCRBY u8 0 100 GET i8 0", [255, -1]),
        ("SETBIT k -1 1", Error(b"ERR bit offset is not an integer or out of range")),
    ],
    "hashes": [
        ("HSET k a 1 b 2", 2),
        ("HSETNX k a 9", 0),
        ("HINCRBYFLOAT k a 1.5", b"2.5"),
        ("HGETALL k", {b"a": b"2.5", b"b": b"2"}),
        ("HMGET k a x", [b"2.5", None]),
        ("HDEL k a b", 2),
        ("EXISTS k", 0),
        ("HRANDFIELD k -1000001", Error(OUT_OF_RANGE)),
        ("SET k v", OK),
        ("HGET k a", WRONG_TYPE),
    ],
    "lists": [
        ("RPUSH k a b c d", 4),
        ("LRANGE k 1 -2", [b"b", b"c"]),
        ("LRANGE k 3 9", [b"d"]),
        ("LINSERT k BEFORE c x", 5),
        ("LPOS k c", 3),
        ("LPOS k c RANK -9223372036854775808", 3),
        ("LREM k -1 x", 1),
        ("LMOVE k l LEFT RIGHT", b"a"),
        ("LMPOP 2 x k RIGHT COUNT 2", [b"k", [b"d", b"c"]]),
        ("LTRIM k 5 6", OK),
        ("EXISTS k", 0),
        ("LPOP k 2", NULL_ARRAY),
        ("LSET k 0 v", Error(b"ERR no such key")),
    ],
    "sorting": [
        ("RPUSH k 10 9 2 1", 4),
        ("SORT k", [b"1", b"2", b"9", b"10"]),
        ("SORT k ALPHA DESC LIMIT 1 2", [b"2", b"10"]),
        ("MSET w_1 3 w_2 2 w_9 1 v_9 x", OK),
        ("SORT k BY w_* GET # GET v_*", [b"10", None, b"9", b"x", b"2", None, b"1", None]),
        ("SORT k BY nosort", [b"10", b"9", b"2", b"1"]),
        ("SORT k STORE l", 4),
        ("LRANGE l 0 0", [b"1"]),
        ("LSET k 0 1e-400", OK),
        ("SORT k", Error(b"ERR One or more scores can't be converted into double")),
        ("LSET k 0 x", OK),
        ("SORT_RO k", Error(b"ERR One or more scores can't be converted into double")),
        ("SORT_RO k STORE l", Error(b"ERR syntax error")),
        ("SADD s b a", 2),
        ("SORT s ALPHA", [b"a", b"b"]),
        ("SORT w_1", WRONG_TYPE),
    ],
    "sets": [
        ("SADD k a b c", 3),
        ("SADD l b c d", 3),
        ("SINTER k l", [b"b", b"c"]),
        ("SDIFFSTORE d k l", 1),
        ("SMISMEMBER d a b", [1, 0]),
        ("SINTERCARD 2 k l LIMIT 1", 1),
        ("SMOVE k l a", 1),
        ("SPOP k 5", [b"b", b"c"]),
        ("SCARD k", 0),
    ],
    "sorted sets": [
        ("ZADD k 2 b 1 a 2 aa", 3),
        ("ZADD k GT CH 1 b 5 a", 1),
        ("ZRANGE k 0 -1", [b"aa", b"b", b"a"]),
        ("ZRANGE k (2 +inf BYSCORE WITHSCORES", [(b"a", 5.0)]),
        ("ZREVRANK k aa", 2),
        ("ZINCRBY k -inf b", float("-inf")),
        ("ZINCRBY k +inf b", Error(b"ERR resulting score is not a number (NaN)")),
        ("ZUNIONSTORE d 1 k WEIGHTS 0", 3),
        ("ZRANGEBYLEX d [a (b", [b"a", b"aa"]),
        ("ZPOPMAX k", [b"a", 5.0]),
        ("ZADD k nan x", Error(b"ERR value is not a valid float")),
    ],
    "streams": [
        ("XADD k 1-* f v", b"1-0"),
        ("XADD k 1-* f w", b"1-1"),
        ("XADD k 1-1 f w", Error(b"ERR The ID specified in XADD is equal or smaller than the target stream top item")),
        ("XRANGE k (1-0 +", [[b"1-1", [b"f", b"w"]]]),
        ("XGROUP CREATE k g 0", OK),
        ("XREADGROUP GROUP g ann COUNT 1 STREAMS k >", [(b"k", [[b"1-0", [b"f", b"v"]]])]),
        ("XPENDING k g", [1, b"1-0", b"1-0", [[b"ann", b"1"]]]),
        ("XCLAIM k g bob 0 1-0 JUSTID", [b"1-0"]),
        ("XDEL k 1-0", 1),
        ("XAUTOCLAIM k g ann 0 -", [b"0-0", [], [b"1-0"]]),
        ("XACK k g 1-0", 0),
        ("XTRIM k MAXLEN ~ 0", 1),
        ("XLEN k", 0),
    ],
    "keys": [
        ("SET k v", OK),
        ("EXPIRE k 100 GT", 0),
        ("EXPIRE k 100 LT", 1),
        ("TTL k", 100),
        ("RENAME k l", OK),
        ("PTTL l", 100_000),
        ("COPY l m", 1),
        ("MOVE l 1", 1),
        ("KEYS [l-m]", [b"m"]),
        ("TYPE m", Status(b"string")),
        ("SWAPDB 0 1", OK),
        ("KEYS *", [b"l"]),
        ("RANDOMKEY", b"l"),
        ("FLUSHALL", OK),
        ("DBSIZE", 0),
        ("OBJECT NONSENSE k", Error(b"ERR unknown subcommand 'NONSENSE'. Try OBJECT HELP.")),
    ],
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_commands_of_a_type_reply_and_leave_changes_that_repeat_them(name: str) -> None:
    talk = Talk()
    for line, reply in SCRIPTS[name]:
        assert talk(line) == reply, line
    changes = talk.store.take_changes()
    assert replayed(changes).digest() == talk.store.digest()


def test_random_members_of_a_changing_set_are_picked_evenly() -> None:
    members, dice = SetValue(b"%d" % i for i in range(100)), Dice(3)
    members.pick(dice)
    for i in range(50):
        members.discard(b"%d" % i)
        members.add(b"new%d" % i)
    counts = dict.fromkeys(members, 0)
    for _ in range(10_000):
        counts[members.pick(dice)] += 1
    assert len(counts) == 100
    assert 50 < min(counts.values()) <= max(counts.values()) < 160
    assert sorted(members.by_place()) == sorted(members)


def test_a_sorted_set_is_in_order_however_it_was_changed() -> None:
    value, dice = SortedSet(), Dice(5)
    for step in range(5_000):
        member = b"%d" % dice.below(300)
        if dice.below(3):
            value.put(member, float(dice.below(50)))
        else:
            value.discard(member)
        if not dice.below(20):
            expected = sorted((score, name) for name, score in value.scores.items())
            assert list(value.pairs()) == expected
            if expected:
                assert value.rank(expected[-1][1]) == len(expected) - 1
        assert step >= 0


def test_ids_of_a_stream_stay_in_order_during_changes() -> None:
    ids: IdMap[int] = IdMap()
    dice = Dice(9)
    for step in range(20_000):
        entry = step if dice.below(4) else dice.below(step + 1)
        if dice.below(5) < 2 or entry not in ids:
            ids.put(entry, entry)
        else:
            ids.drop(entry)
        if not dice.below(200) and ids:
            expected = sorted(ids)
            assert list(ids.span(0, step)) == expected
            assert list(ids.span_back(step, 0)) == expected[::-1]
            assert (ids.first(), ids.last()) == (expected[0], expected[-1])
            assert len(ids._ids) <= 64 + 2 * len(ids) + 1
