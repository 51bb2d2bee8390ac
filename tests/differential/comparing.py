"""Comparison of two replies. Where Redis promises no order, or replies by chance or by its clock,
only a part of the replies must be equal."""

from __future__ import annotations

from typing import Any

from differential.peer import Tree

UNORDERED = b"SMEMBERS SINTER SUNION SDIFF KEYS HKEYS HVALS PUBSUB|CHANNELS".split()
PAIRED = b"HGETALL".split()
BY_CHANCE = b"SPOP SRANDMEMBER HRANDFIELD ZRANDMEMBER RANDOMKEY".split()
CLOCKS = {b"TTL": 10, b"PTTL": 10_000, b"EXPIRETIME": 10, b"PEXPIRETIME": 10_000}
"""Maximum difference of two times, because commands with relative times run at two moments."""
MASKED_FIELDS = (b"idle", b"inactive", b"seen-time", b"active-time", b"radix-tree-keys", b"radix-tree-nodes", b"id")


def name_of(args: list[bytes]) -> bytes:
    name = args[0].upper()
    return (
        name + b"|" + args[1].upper() if name in (b"PUBSUB", b"XINFO", b"CLIENT", b"MEMORY", b"COMMAND") and len(args) > 1 else name
    )


def comparable(args: list[bytes], tree: Tree) -> Any:
    """Return a value that is equal for replies that count as equal."""
    sign, value = tree
    name = name_of(args)
    if sign == b"-":
        return tree
    if name.startswith((b"Z", b"BZ")):
        tree = sign, value = _unsigned_zeros(tree)
    if name in BY_CHANCE:
        return _shape(tree)
    if name in CLOCKS and sign == b":":
        number, step = int(value), CLOCKS[name]
        return number if number < 0 else (b"about", (number + step // 2) // step // 100)
    if name in (b"SCAN", b"HSCAN", b"SSCAN", b"ZSCAN") and sign == b"*" and len(value) == 2 and value[1][0] == b"*":
        if b"1000" not in args:
            return sign  # the number of elements per page, and the content of the cursor, are not promised
        step = 2 if name in (b"HSCAN", b"ZSCAN") else 1
        items = value[1][1]
        return sorted(repr(items[i : i + step]) for i in range(0, len(items), step))
    if sign == b"*" and value is not None and name in (b"SORT", b"SORT_RO") and _is_ambiguous_sort(args, value):
        return _shape(tree) if b"LIMIT" in map(bytes.upper, args) else (sign, sorted(value, key=repr))
    if sign == b"*" and value is not None and name in UNORDERED:
        return sign, sorted(value, key=repr)
    if name in PAIRED and value is not None:
        return sign, sorted((value[i : i + 2] for i in range(0, len(value), 2)), key=repr)
    if name == b"SMEMBERS" or (sign == b"~" and value is not None):
        return sign, sorted(value, key=repr)
    if name in (b"XINFO|STREAM", b"XINFO|CONSUMERS", b"XINFO|GROUPS", b"HELLO"):
        return _masked(tree)
    if name == b"XPENDING" and sign == b"*" and value and value[0][0] == b"*":
        return [[item[0], item[1], item[3]] for _, item in value]
    if name in (b"MEMORY|USAGE", b"LASTSAVE", b"COMMAND|COUNT", b"COMMAND"):
        return sign
    return tree


def _is_ambiguous_sort(args: list[bytes], found: list[Tree]) -> bool:
    """Return whether the order of the result is not defined. This holds for BY with a constant
    pattern if the elements may come from a set, for texts that may be equal, and for texts that
    differ only after a zero byte, which Redis ignores. GET may hide such texts."""
    words = [arg.upper() for arg in args]
    texts = b"ALPHA" in words and (b"GET" in words or any(b"\0" in value for _, value in found))
    return b"BY" in words or texts


def _unsigned_zeros(tree: Tree) -> Tree:
    """Return the tree without the signs of zeros. Redis keeps the sign of a zero score in large
    sorted sets, and drops it in small ones."""
    sign, value = tree
    if isinstance(value, list):
        return sign, [_unsigned_zeros(item) for item in value]
    return sign, b"0" if value == b"-0" else value


def _shape(tree: Tree) -> Any:
    """Return the types and the number of elements, without the elements that were picked at
    random."""
    sign, value = tree
    if isinstance(value, list):
        return sign, [_shape(item) for item in value]
    return sign, value is None


def _masked(tree: Tree) -> Any:
    """Return the facts without those that depend on a clock or on how Redis stores a stream."""
    sign, value = tree
    if not isinstance(value, list):
        return tree
    found: list[Any] = []
    hidden = False
    for item in value:
        if hidden:
            found.append(None)
            hidden = False
            continue
        hidden = item[0] == b"$" and item[1] in MASKED_FIELDS
        delivered = item[0] == b":" and len(item[1]) >= 13
        found.append(b"time" if delivered else _masked(item))
    return sign, found
