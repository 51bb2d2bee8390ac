"""TitanStore for Python code: `client.store`, and in a job `context.store`.

Keys and values are bytes; text is taken as UTF-8, numbers as Redis writes them. Whatever has no
method here: `execute`.
"""

from __future__ import annotations

import builtins
import math
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, cast

import hiredis

from titan.errors import ProtocolError, StoreRefused

Value = bytes | str | int | float
if TYPE_CHECKING:
    from titan.sdk.connection import Connection

T = TypeVar("T")
Exchange = Callable[[list[list[bytes]]], list[Any]]
"""Sends commands and returns their replies; an error is a StoreRefused among them."""
SCAN = 500


def packed(args: Sequence[Value]) -> list[bytes]:
    """Arguments as they travel. Raises TypeError for what is neither text, bytes nor a number."""
    found: list[bytes] = []
    for arg in args:
        if isinstance(arg, bytes):
            found.append(arg)
        elif isinstance(arg, str):
            found.append(arg.encode())
        elif isinstance(arg, bool) or not isinstance(arg, (int, float)):
            raise TypeError(f"{arg!r} is no value for the store: give bytes, text or a number")
        else:
            found.append(repr(arg).encode())
    return found


def replies_of(data: bytes | memoryview, count: int) -> list[Any]:
    """RESP3 to Python: maps are dicts, sets are lists, doubles floats; an error is a StoreRefused.
    Raises ProtocolError."""
    reader = hiredis.Reader(replyError=StoreRefused)
    reader.feed(bytes(data))
    found: list[Any] = []
    try:
        while (reply := reader.gets()) is not False:
            found.append(reply)
    except hiredis.ProtocolError as e:
        raise ProtocolError(f"the store's answer cannot be read: {e}") from e
    if len(found) != count:
        raise ProtocolError(f"the store answered {len(found)} of {count} commands")
    return found


class Store:
    """Redis's types and commands. Each method is one round trip; `pipeline` makes one of many.
    Thread-safe.

    Every method raises StoreRefused for what the store refuses, in Redis's words, such as a command
    for another type of key.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def execute(self, *args: Value) -> Any:
        """Any command: `store.execute("ZADD", "scores", 1.5, "ann")`. Bytes, int, float, None,
        list, set or dict."""
        reply = self._exchange([packed(args)])[0]
        if isinstance(reply, StoreRefused):
            raise reply
        return reply

    def pipeline(self) -> Pipeline:
        """Commands that are sent together: `with store.pipeline() as p: p.execute(...)`;
        `p.replies` afterwards."""
        return Pipeline(self._exchange)

    # -- strings -----------------------------------------------------------------------------------
    def get(self, key: Value) -> bytes | None:
        """None: there is no such key."""
        return cast("bytes | None", self.execute("GET", key))

    def set(self, key: Value, value: Value, *, ttl_s: float | None = None, only_new: bool = False, only_old: bool = False) -> bool:
        """Whether it was set. `ttl_s`: seconds until it is gone, to the millisecond. `only_new`,
        `only_old`: only if the key is not there yet, or is."""
        args: list[Value] = ["SET", key, value]
        if ttl_s is not None:
            args += ["PX", max(1, round(ttl_s * 1000))]
        args += ["NX"] * only_new + ["XX"] * only_old
        return self.execute(*args) is not None

    def incr(self, key: Value, by: int = 1) -> int:
        """The value after the increment, atomic across all nodes."""
        return cast(int, self.execute("INCRBY", key, by))

    def compare_and_set(self, key: Value, old: Value | None, new: Value, *, ttl_s: float | None = None) -> bool:
        """Sets it to `new` if it is `old` (None: if it is not there); whether it was. Atomic across
        all nodes."""
        if old is None:
            return self.set(key, new, ttl_s=ttl_s, only_new=True)
        expiry: list[Value] = [] if ttl_s is None else ["PX", max(1, round(ttl_s * 1000))]
        return cast(int, self.execute("CAS", key, old, new, *expiry)) == 1

    # -- keys --------------------------------------------------------------------------------------
    def delete(self, *keys: Value) -> int:
        """How many there were."""
        return cast(int, self.execute("DEL", *keys)) if keys else 0

    def exists(self, key: Value) -> bool:
        return bool(self.execute("EXISTS", key))

    def expire(self, key: Value, ttl_s: float) -> bool:
        """False: there is no such key."""
        return bool(self.execute("PEXPIRE", key, round(ttl_s * 1000)))

    def ttl(self, key: Value) -> float | None:
        """Seconds; math.inf if it stays, None if it is not there."""
        left = cast(int, self.execute("PTTL", key))
        return None if left == -2 else math.inf if left == -1 else left / 1000

    def scan(self, pattern: Value = "*") -> Iterator[bytes]:
        """The keys that match, each once; one that is there all the while is among them."""
        seen: dict[bytes, None] = {}
        cursor = b"0"
        while True:
            cursor, page = self.execute("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN)
            for key in page:
                if key not in seen:
                    seen[key] = None
                    yield key
            if cursor == b"0":
                return

    # -- hashes ------------------------------------------------------------------------------------
    def hset(self, key: Value, fields: Mapping[Any, Value]) -> int:
        """How many of the fields are new."""
        return cast(int, self.execute("HSET", key, *(part for item in fields.items() for part in item)))

    def hget(self, key: Value, field: Value) -> bytes | None:
        return cast("bytes | None", self.execute("HGET", key, field))

    def hgetall(self, key: Value) -> dict[bytes, bytes]:
        return cast("dict[bytes, bytes]", self.execute("HGETALL", key))

    def hdel(self, key: Value, *fields: Value) -> int:
        return cast(int, self.execute("HDEL", key, *fields))

    def hincr(self, key: Value, field: Value, by: int = 1) -> int:
        return cast(int, self.execute("HINCRBY", key, field, by))

    # -- lists -------------------------------------------------------------------------------------
    def lpush(self, key: Value, *values: Value) -> int:
        """How long it is now."""
        return cast(int, self.execute("LPUSH", key, *values))

    def rpush(self, key: Value, *values: Value) -> int:
        """How long it is now."""
        return cast(int, self.execute("RPUSH", key, *values))

    def lpop(self, key: Value) -> bytes | None:
        return cast("bytes | None", self.execute("LPOP", key))

    def rpop(self, key: Value) -> bytes | None:
        return cast("bytes | None", self.execute("RPOP", key))

    def lrange(self, key: Value, first: int = 0, last: int = -1) -> list[bytes]:
        """Both ends included; -1 is the last."""
        return cast("list[bytes]", self.execute("LRANGE", key, first, last))

    def llen(self, key: Value) -> int:
        return cast(int, self.execute("LLEN", key))

    # -- sets --------------------------------------------------------------------------------------
    def sadd(self, key: Value, *members: Value) -> int:
        """How many are new."""
        return cast(int, self.execute("SADD", key, *members))

    def srem(self, key: Value, *members: Value) -> int:
        return cast(int, self.execute("SREM", key, *members))

    def smembers(self, key: Value) -> builtins.set[bytes]:
        return builtins.set(self.execute("SMEMBERS", key))

    def sismember(self, key: Value, member: Value) -> bool:
        return bool(self.execute("SISMEMBER", key, member))

    def scard(self, key: Value) -> int:
        return cast(int, self.execute("SCARD", key))

    # -- sorted sets -------------------------------------------------------------------------------
    def zadd(self, key: Value, scores: Mapping[Any, float]) -> int:
        """Member to score; how many members are new."""
        return cast(int, self.execute("ZADD", key, *(part for member, score in scores.items() for part in (score, member))))

    def zrange(self, key: Value, first: int = 0, last: int = -1) -> list[tuple[bytes, float]]:
        """(member, score) by rank, the lowest score first; both ends included."""
        pairs = self.execute("ZRANGE", key, first, last, "WITHSCORES")
        return [(member, float(score)) for member, score in pairs]

    def zscore(self, key: Value, member: Value) -> float | None:
        return cast("float | None", self.execute("ZSCORE", key, member))

    def zrem(self, key: Value, *members: Value) -> int:
        return cast(int, self.execute("ZREM", key, *members))

    # -- messages ----------------------------------------------------------------------------------
    def publish(self, channel: Value, message: Value) -> int:
        """How many heard it."""
        return cast(int, self.execute("PUBLISH", channel, message))


class Pipeline:
    """Gathers commands and sends them when the `with` ends. An exception inside of it sends
    nothing.

    >>> with store.pipeline() as p:                    # doctest: +SKIP
    ...     p.execute("INCR", "a")
    ...     p.execute("INCR", "b")
    >>> p.replies                                      # doctest: +SKIP
    [1, 1]
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._commands: list[list[bytes]] = []
        self.replies: list[Any] = []
        """One for each command; a StoreRefused for one that was refused."""

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None and self._commands:
            commands, self._commands = self._commands, []
            self.replies = self._exchange(commands)

    def execute(self, *args: Value) -> None:
        self._commands.append(packed(args))


BLOCKING = (b"BLPOP", b"BRPOP", b"BLMOVE", b"BRPOPLPUSH", b"BLMPOP", b"BZPOPMIN", b"BZPOPMAX", b"BZMPOP", b"XREAD", b"XREADGROUP")


class AsyncStore:
    """TitanStore for asyncio: the same commands, by their names. See `Store`, which has a method
    for the common ones."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lanes = count(1)

    async def execute(self, *args: Value) -> Any:
        """Any command: `await store.execute("INCR", "n")`. Bytes, int, float, None, list, set or
        dict. Raises StoreRefused, and ConnectionLost if the connection breaks meanwhile: then it
        may have been executed, or not."""
        reply = (await self.exchange([packed(args)]))[0]
        if isinstance(reply, StoreRefused):
            raise reply
        return reply

    async def exchange(self, commands: list[list[bytes]]) -> list[Any]:
        """Sends commands together; their replies, a StoreRefused for each that was refused.

        Those that wait for something, or are a transaction, have a session of their own, so that no
        others wait behind them."""
        from titan.protocol import messages as msg  # the store of a job does without

        names = [command[0].upper() for command in commands]
        alone = any(name in BLOCKING or name in (b"MULTI", b"WATCH", b"SELECT") for name in names)
        lane = next(self._lanes) if alone else 0
        try:
            answer, blob = await self._connection.exchange(lambda request: msg.StoreCommands(request, commands, lane))
        finally:
            if alone:
                self._connection.tell(msg.CloseLane(0, lane))
        if not isinstance(answer, msg.StoreReplies):
            raise ProtocolError(f"the master answers commands for the store with a {type(answer).__name__}")
        return replies_of(blob, len(commands))


# -- over a socket of its own ----------------------------------------------------------------------
def packed_commands(commands: list[list[bytes]]) -> bytes:
    """RESP."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        parts.extend(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in command)
    return b"".join(parts)


def replies_from(sock: socket.socket, count: int) -> list[Any]:
    """Waits for them. Raises OSError, ProtocolError."""
    reader = hiredis.Reader(replyError=StoreRefused)
    found: list[Any] = []
    while len(found) < count:
        data = sock.recv(1 << 18)
        if not data:
            raise ConnectionResetError("it hung up")
        reader.feed(data)
        try:
            while len(found) < count and (reply := reader.gets()) is not False:
                found.append(reply)
        except hiredis.ProtocolError as e:
            raise ProtocolError(f"the store's answer cannot be read: {e}") from e
    return found


def greet(sock: socket.socket) -> None:
    """Chooses RESP3. Raises OSError if nobody answers, StoreRefused if it is not let in."""
    sock.sendall(packed_commands([[b"HELLO", b"3"]]))
    (reply,) = replies_from(sock, 1)
    if isinstance(reply, StoreRefused):
        raise reply
