"""TitanStore for Python code: `client.store`, and in a job `context.store`.

Keys and values are bytes. Texts are encoded as UTF-8, numbers like in Redis. `execute` runs
commands that have no method here.
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
"""Sends commands and returns their replies. An error is a StoreRefused among the replies."""
SCAN = 500


def packed(args: Sequence[Value]) -> list[bytes]:
    """Return arguments as bytes.

    Raises TypeError for a value that is not text, bytes or a number.
    """
    encoded: list[bytes] = []
    for arg in args:
        if isinstance(arg, bytes):
            encoded.append(arg)
        elif isinstance(arg, str):
            encoded.append(arg.encode())
        elif isinstance(arg, bool) or not isinstance(arg, (int, float)):
            raise TypeError(f"{arg!r} is not a value for the store: pass bytes, text or a number")
        else:
            encoded.append(repr(arg).encode())
    return encoded


def replies_of(data: bytes | memoryview, count: int) -> list[Any]:
    """Return RESP3 replies as Python objects. Raises ProtocolError.

    Maps become dicts, sets become lists, doubles become floats. An error becomes a StoreRefused.
    """
    reader = hiredis.Reader(replyError=StoreRefused)
    reader.feed(bytes(data))
    replies: list[Any] = []
    try:
        while (reply := reader.gets()) is not False:
            replies.append(reply)
    except hiredis.ProtocolError as e:
        raise ProtocolError(f"the store's answer cannot be read: {e}") from e
    if len(replies) != count:
        raise ProtocolError(f"the store answered {len(replies)} of {count} commands")
    return replies


class Store:
    """Types and commands of Redis. Thread-safe.

    Each method is one round trip. `pipeline` sends many commands in one. Every method raises
    StoreRefused if the store refuses the command, with the message of Redis.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def execute(self, *args: Value) -> Any:
        """Execute any command, such as `store.execute("ZADD", "scores", 1.5, "ann")`.

        Return bytes, int, float, None, list, set or dict. Replies have the form of RESP3: HGETALL
        gives a dict, and a command WITHSCORES gives [member, score] pairs.
        """
        reply = self._exchange([packed(args)])[0]
        if isinstance(reply, StoreRefused):
            raise reply
        return reply

    def pipeline(self) -> Pipeline:
        """Return a pipeline, which sends its commands together.

        Use it as `with store.pipeline() as p: p.execute(...)`. Then `p.replies` has the replies.
        """
        return Pipeline(self._exchange)

    # -- strings -----------------------------------------------------------------------------------
    def get(self, key: Value) -> bytes | None:
        """Return the value; None if the key does not exist."""
        return cast("bytes | None", self.execute("GET", key))

    def set(self, key: Value, value: Value, *, ttl_s: float | None = None, only_new: bool = False, only_old: bool = False) -> bool:
        """Set a key. Return True if it was set.

        - `ttl_s`: seconds until the key expires, with a resolution of one millisecond.
        - `only_new`: set the key only if it does not exist.
        - `only_old`: set the key only if it exists.
        """
        args: list[Value] = ["SET", key, value]
        if ttl_s is not None:
            args += ["PX", max(1, round(ttl_s * 1000))]
        args += ["NX"] * only_new + ["XX"] * only_old
        return self.execute(*args) is not None

    def incr(self, key: Value, by: int = 1) -> int:
        """Increment a number atomically across all nodes. Return the new value."""
        return cast(int, self.execute("INCRBY", key, by))

    def compare_and_set(self, key: Value, old: Value | None, new: Value, *, ttl_s: float | None = None) -> bool:
        """Set the key to `new` if its value is `old`. Return True if it was set.

        An `old` of None means that the key must not exist. Atomic across all nodes.
        """
        if old is None:
            return self.set(key, new, ttl_s=ttl_s, only_new=True)
        expiry: list[Value] = [] if ttl_s is None else ["PX", max(1, round(ttl_s * 1000))]
        return cast(int, self.execute("CAS", key, old, new, *expiry)) == 1

    # -- keys --------------------------------------------------------------------------------------
    def delete(self, *keys: Value) -> int:
        """Delete keys. Return the number of keys that existed."""
        return cast(int, self.execute("DEL", *keys)) if keys else 0

    def exists(self, key: Value) -> bool:
        return bool(self.execute("EXISTS", key))

    def expire(self, key: Value, ttl_s: float) -> bool:
        """Set the time to live of a key. Return False if the key does not exist."""
        return bool(self.execute("PEXPIRE", key, round(ttl_s * 1000)))

    def ttl(self, key: Value) -> float | None:
        """Return the seconds until the key expires.

        math.inf means never. None means that the key does not exist.
        """
        left = cast(int, self.execute("PTTL", key))
        return None if left == -2 else math.inf if left == -1 else left / 1000

    def scan(self, pattern: Value = "*") -> Iterator[bytes]:
        """Yield the matching keys, each once.

        A key that exists during the whole scan is included.
        """
        yielded: dict[bytes, None] = {}
        cursor = b"0"
        while True:
            cursor, page = self.execute("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN)
            for key in page:
                if key not in yielded:
                    yielded[key] = None
                    yield key
            if cursor == b"0":
                return

    # -- hashes ------------------------------------------------------------------------------------
    def hset(self, key: Value, fields: Mapping[Any, Value]) -> int:
        """Set fields of a hash. Return the number of new fields."""
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
        """Prepend values to a list. Return its new length."""
        return cast(int, self.execute("LPUSH", key, *values))

    def rpush(self, key: Value, *values: Value) -> int:
        """Append values to a list. Return its new length."""
        return cast(int, self.execute("RPUSH", key, *values))

    def lpop(self, key: Value) -> bytes | None:
        return cast("bytes | None", self.execute("LPOP", key))

    def rpop(self, key: Value) -> bytes | None:
        return cast("bytes | None", self.execute("RPOP", key))

    def lrange(self, key: Value, first: int = 0, last: int = -1) -> list[bytes]:
        """Return the values from `first` to `last`, both included; -1 is the last."""
        return cast("list[bytes]", self.execute("LRANGE", key, first, last))

    def llen(self, key: Value) -> int:
        return cast(int, self.execute("LLEN", key))

    # -- sets --------------------------------------------------------------------------------------
    def sadd(self, key: Value, *members: Value) -> int:
        """Add members to a set. Return the number of new members."""
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
        """Set the scores of members of a sorted set. Return the number of new members."""
        return cast(int, self.execute("ZADD", key, *(part for member, score in scores.items() for part in (score, member))))

    def zrange(self, key: Value, first: int = 0, last: int = -1) -> list[tuple[bytes, float]]:
        """Return (member, score) by rank, both ends included, the lowest score first."""
        pairs = self.execute("ZRANGE", key, first, last, "WITHSCORES")
        return [(member, float(score)) for member, score in pairs]

    def zscore(self, key: Value, member: Value) -> float | None:
        return cast("float | None", self.execute("ZSCORE", key, member))

    def zrem(self, key: Value, *members: Value) -> int:
        return cast(int, self.execute("ZREM", key, *members))

    # -- messages ----------------------------------------------------------------------------------
    def publish(self, channel: Value, message: Value) -> int:
        """Publish a message. Return the number of its receivers."""
        return cast(int, self.execute("PUBLISH", channel, message))


class Pipeline:
    """Commands that are sent together when the `with` block ends.

    An exception in the block sends nothing.

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
        """One reply per command; a StoreRefused for a refused command."""

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
    """TitanStore for asyncio: commands by name. `Store` lists the common ones."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lanes = count(1)

    async def execute(self, *args: Value) -> Any:
        """Execute any command, such as `await store.execute("INCR", "n")`.

        Return bytes, int, float, None, list, set or dict, in the form of RESP3: see
        `Store.execute`. Raises StoreRefused, and ConnectionLost
        if the connection breaks; then the command may or may not have been executed.
        """
        reply = (await self.exchange([packed(args)]))[0]
        if isinstance(reply, StoreRefused):
            raise reply
        return reply

    async def exchange(self, commands: list[list[bytes]]) -> list[Any]:
        """Send commands together.

        Return their replies, with a StoreRefused for each refused command.

        Blocking commands and transactions use a separate session, so that other commands do not
        wait behind them.
        """
        from titan.protocol import messages as msg  # imported late: the store of a job does not need it

        names = [command[0].upper() for command in commands]
        own_session = any(name in BLOCKING or name in (b"MULTI", b"WATCH", b"SELECT") for name in names)
        lane = next(self._lanes) if own_session else 0
        try:
            answer, blob = await self._connection.exchange(lambda request: msg.StoreCommands(request, commands, lane))
        finally:
            if own_session:
                self._connection.tell(msg.CloseLane(0, lane))
        if not isinstance(answer, msg.StoreReplies):
            raise ProtocolError(f"the master answered store commands with a {type(answer).__name__}")
        return replies_of(blob, len(commands))


# -- over a separate socket ------------------------------------------------------------------------
def packed_commands(commands: list[list[bytes]]) -> bytes:
    """Return commands encoded in RESP."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        parts.extend(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in command)
    return b"".join(parts)


def replies_from(sock: socket.socket, count: int) -> list[Any]:
    """Wait for `count` replies. Raises OSError, ProtocolError."""
    reader = hiredis.Reader(replyError=StoreRefused)
    replies: list[Any] = []
    while len(replies) < count:
        data = sock.recv(1 << 18)
        if not data:
            raise ConnectionResetError("the other side closed the connection")
        reader.feed(data)
        try:
            while len(replies) < count and (reply := reader.gets()) is not False:
                replies.append(reply)
        except hiredis.ProtocolError as e:
            raise ProtocolError(f"the store's answer cannot be read: {e}") from e
    return replies


def greet(sock: socket.socket) -> None:
    """Switch to RESP3. Raises OSError if nobody answers, StoreRefused if access is denied."""
    sock.sendall(packed_commands([[b"HELLO", b"3"]]))
    (reply,) = replies_from(sock, 1)
    if isinstance(reply, StoreRefused):
        raise reply
