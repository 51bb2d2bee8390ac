"""A scan returns each element that exists during the whole scan once. A scan whose list was dropped
misses no element."""

from __future__ import annotations

import pytest

from support.store import Talk
from titan.store import scan_positions


def scan(talk: Talk, line: str, between: str = "", cursor: bytes = b"0") -> list[bytes]:
    found: list[bytes] = []
    rounds = 0
    while True:
        reply = talk(line.replace("CURSOR", cursor.decode()))
        assert isinstance(reply, list)
        cursor = reply[0]
        found += reply[1]
        rounds += 1
        if cursor == b"0":
            return found
        if between:
            talk(between.replace("ROUND", str(rounds)))


def test_all_keys_are_returned_while_others_come_and_go() -> None:
    talk = Talk()
    for i in range(1_000):
        talk(f"SET stays{i} v")
    found = scan(talk, "SCAN CURSOR COUNT 7", "SET comes:ROUND v")
    assert len(found) == len(set(found)) == 1_000
    found = scan(talk, "SCAN CURSOR COUNT 7 MATCH stays*", "DEL staysROUND")
    assert {b"stays%d" % i for i in range(500, 1_000)} <= set(found)


@pytest.mark.parametrize(
    ("add", "line", "each"), [("SADD k {}", "SSCAN", 1), ("HSET k {} v", "HSCAN", 2), ("ZADD k 1 {}", "ZSCAN", 2)]
)
def test_all_members_are_returned(add: str, line: str, each: int) -> None:
    talk = Talk()
    for i in range(1_000):
        talk(add.format(f"m{i}"))
    found = scan(talk, f"{line} k CURSOR COUNT 200", add.format("comes:ROUND"))
    assert sorted(found[::each]) == sorted(b"m%d" % i for i in range(1_000))


def test_a_scan_whose_cursor_was_dropped_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_positions, "MOST", 2)
    talk = Talk()
    for i in range(100):
        talk(f"SET k{i} v")
    first = talk("SCAN 0 COUNT 60")
    assert isinstance(first, list)
    for _ in range(3):
        talk("SCAN 0 COUNT 10")
    found = [*first[1], *scan(talk, "SCAN CURSOR COUNT 60", cursor=first[0])]
    assert set(found) >= {b"k%d" % i for i in range(100)}


def test_a_scan_can_be_limited_to_one_type() -> None:
    talk = Talk()
    talk("SET a v")
    talk("SADD b v")
    assert talk("SCAN 0 TYPE set") == [b"0", [b"b"]]
