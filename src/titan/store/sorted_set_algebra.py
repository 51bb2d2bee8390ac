"""ZUNION, ZINTER and ZDIFF over sorted sets and sets. The members of a set have the score 1."""

from __future__ import annotations

from math import isnan
from typing import NamedTuple

from titan.store.context import Context
from titan.store.parsing import INT_MAX, bounded, floating, integer
from titan.store.replies import SYNTAX, WRONG_TYPE, Error, Pairs, Refusal, Reply
from titan.store.sets import store_or_delete
from titan.store.values import SetValue, SortedSet

UNION, INTER, DIFF = b"union", b"inter", b"diff"
Scores = dict[bytes, float]


class _Request(NamedTuple):
    sources: list[Scores]
    weights: list[float]
    aggregate: bytes
    scores: bool
    limit: int


def _request(
    ctx: Context, args: list[bytes], at: int, operation: bytes, *, storing: bool = False, counting: bool = False
) -> _Request:
    """Parse the arguments from `args[at]` on, which is the number of keys. Raises Refusal."""
    number = integer(args[at])
    if number < 1:
        raise Refusal(b"ERR at least 1 input key is needed for '%b' command" % args[0].lower())
    if number > len(args) - at - 1:
        raise Refusal(SYNTAX)
    keys = args[at + 1 : at + 1 + number]
    ctx.strain(sum(len(value) for key in keys if isinstance(value := ctx.db.find(key), SortedSet | SetValue)))
    sources = [_scores(ctx, key) for key in keys]
    weights = [1.0] * number
    aggregate = b"SUM"
    scores = False
    limit = 0
    at += 1 + number
    while at < len(args):
        option = args[at].upper()
        rest = len(args) - at - 1
        if option == b"WEIGHTS" and operation != DIFF and not counting and rest >= number:
            no_float = Error(b"ERR weight value is not a float")
            weights = [floating(text, no_float) for text in args[at + 1 : at + 1 + number]]
            at += 1 + number
        elif option == b"AGGREGATE" and operation != DIFF and not counting and rest:
            aggregate = args[at + 1].upper()
            if aggregate not in (b"SUM", b"MIN", b"MAX"):
                raise Refusal(SYNTAX)
            at += 2
        elif option == b"WITHSCORES" and not storing and not counting:
            scores = True
            at += 1
        elif option == b"LIMIT" and counting and rest:
            limit = bounded(args[at + 1], 0, INT_MAX, Error(b"ERR LIMIT can't be negative"))
            at += 2
        else:
            raise Refusal(SYNTAX)
    return _Request(sources, weights, aggregate, scores, limit)


def _scores(ctx: Context, key: bytes) -> Scores:
    value = ctx.db.find(key)
    if value is None:
        return {}
    if isinstance(value, SortedSet):
        return value.scores
    if isinstance(value, SetValue):
        return dict.fromkeys(value.members, 1.0)
    raise Refusal(WRONG_TYPE)


def _combined(operation: bytes, request: _Request) -> Scores:
    if operation == DIFF:
        first, *others = request.sources
        return {member: score for member, score in first.items() if not any(member in other for other in others)}
    # A sum of floats depends on their order. Redis goes from the smallest source to the largest.
    ordered = sorted(zip(request.sources, request.weights, strict=True), key=lambda pair: len(pair[0]))
    return _intersection(ordered, request.aggregate) if operation == INTER else _union(ordered, request.aggregate)


def _union(sources: list[tuple[Scores, float]], aggregate: bytes) -> Scores:
    found: Scores = {}
    for source, weight in sources:
        for member, score in source.items():
            weighted = _number(weight * score)
            found[member] = _joined(aggregate, found[member], weighted) if member in found else weighted
    return found


def _intersection(sources: list[tuple[Scores, float]], aggregate: bytes) -> Scores:
    found: Scores = {}
    (first, first_weight), *others = sources
    for member, score in first.items():
        total = _number(first_weight * score)
        for source, weight in others:
            other = source.get(member)
            if other is None:
                break
            total = _joined(aggregate, total, _number(weight * other))
        else:
            found[member] = total
    return found


def _joined(aggregate: bytes, first: float, second: float) -> float:
    if aggregate == b"SUM":
        return _number(first + second)
    return min(first, second) if aggregate == b"MIN" else max(first, second)


def _number(score: float) -> float:
    """Return a score, or 0 if it is NaN: the result of inf - inf or of 0 * inf."""
    return 0.0 if isnan(score) else score


def _read(ctx: Context, args: list[bytes], operation: bytes) -> Reply:
    request = _request(ctx, args, 1, operation)
    result = SortedSet(_combined(operation, request))
    if request.scores:
        return Pairs((member, score) for score, member in result.pairs())
    return [member for _, member in result.pairs()]


def zunion(ctx: Context, args: list[bytes]) -> Reply:
    return _read(ctx, args, UNION)


def zinter(ctx: Context, args: list[bytes]) -> Reply:
    return _read(ctx, args, INTER)


def zdiff(ctx: Context, args: list[bytes]) -> Reply:
    return _read(ctx, args, DIFF)


def _keep(ctx: Context, args: list[bytes], operation: bytes) -> Reply:
    found = _combined(operation, _request(ctx, args, 2, operation, storing=True))
    return store_or_delete(
        ctx, args, args[1], SortedSet({member: score + 0.0 for member, score in found.items()}) if found else None
    )


def zunionstore(ctx: Context, args: list[bytes]) -> Reply:
    return _keep(ctx, args, UNION)


def zinterstore(ctx: Context, args: list[bytes]) -> Reply:
    return _keep(ctx, args, INTER)


def zdiffstore(ctx: Context, args: list[bytes]) -> Reply:
    return _keep(ctx, args, DIFF)


def zintercard(ctx: Context, args: list[bytes]) -> Reply:
    request = _request(ctx, args, 1, INTER, counting=True)
    found = len(_combined(INTER, request))
    return min(found, request.limit) if request.limit else found
