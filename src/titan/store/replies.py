"""What commands answer, as Python values; `resp` turns them into bytes of either version of the
protocol.

| a reply is | RESP2 | RESP3 |
| --- | --- | --- |
| bytes | bulk string | bulk string |
| int | integer | integer |
| None | null bulk string | null |
| float | bulk string | double |
| list | array | array |
| dict | flat array of keys and values | map |
| Status | simple string | simple string |
| Error | error | error |
| Verbatim | bulk string | verbatim string |
| SetReply | array | set |
| Pairs | flat array | array of arrays of two |
| Keyed | array of arrays of two | map |
| Push | array | push |
| Several | its replies, one after another | the same |
| NULL_ARRAY | null array | null |
| NO_REPLY, BLOCKED | nothing | nothing |

A command that cannot be carried out raises Refusal; it never leaves the package: `Store.execute`
makes an Error reply of it.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final


class Status(bytes):
    """A simple string: a word of the protocol such as OK. No CR or LF in it."""

    __slots__ = ()


class Error(bytes):
    """An error: a code in capitals, a space, and the message. CR and LF become spaces when it is
    encoded."""

    __slots__ = ()


class Verbatim(bytes):
    """Text for people, over several lines."""

    __slots__ = ()


class SetReply(list[Any]):
    """Members without an order."""

    __slots__ = ()


class Pairs(list[Any]):
    """Tuples of two, such as members with their scores."""

    __slots__ = ()


class Keyed(list[Any]):
    """Tuples of a key and what was found there."""

    __slots__ = ()


class Push(list[Any]):
    """What the server says without being asked: a message of a channel, a confirmation of a
    subscription."""

    __slots__ = ()


class Several(list[Any]):
    """Replies of a command that answers more than once, as SUBSCRIBE does for each channel."""

    __slots__ = ()


class Mark(Enum):
    """Replies that are no values."""

    NULL_ARRAY = "null array"
    NO_REPLY = "no reply"
    BLOCKED = "blocked"


Reply = bytes | int | float | list[Any] | dict[bytes, Any] | Mark | None
"""See the module's table."""

OK: Final = Status(b"OK")
QUEUED: Final = Status(b"QUEUED")
PONG: Final = Status(b"PONG")
NULL_ARRAY: Final = Mark.NULL_ARRAY
NO_REPLY: Final = Mark.NO_REPLY
"""The client asked for no answer (CLIENT REPLY)."""
BLOCKED: Final = Mark.BLOCKED
"""The session waits; its reply comes later, from `Store.take_deliveries`."""

WRONG_TYPE: Final = Error(b"WRONGTYPE Operation against a key holding the wrong kind of value")
SYNTAX: Final = Error(b"ERR syntax error")
NOT_INTEGER: Final = Error(b"ERR value is not an integer or out of range")
NOT_FLOAT: Final = Error(b"ERR value is not a valid float")
OUT_OF_RANGE: Final = Error(b"ERR value is out of range")
NOT_POSITIVE: Final = Error(b"ERR value is out of range, must be positive")
INDEX_RANGE: Final = Error(b"ERR index out of range")
NO_SUCH_KEY: Final = Error(b"ERR no such key")
OVERFLOW: Final = Error(b"ERR increment or decrement would overflow")
NAN_OR_INFINITY: Final = Error(b"ERR increment would produce NaN or Infinity")
NEGATIVE_TIMEOUT: Final = Error(b"ERR timeout is negative")
OUT_OF_MEMORY: Final = Error(b"OOM command not allowed when used memory > 'maxmemory'.")


MOST_REPLY = 256 << 20
"""Bytes of elements in a reply that names stored values several times."""
TOO_MUCH: Final = Error(b"ERR the reply would have more than %d bytes: ask for less at once" % MOST_REPLY)


def bounded_reply(elements: list[Any]) -> list[Any]:
    """The elements (bytes or None), if they are not too much together. Raises Refusal(TOO_MUCH)."""
    if sum(len(element) for element in elements if element is not None) > MOST_REPLY:
        raise Refusal(TOO_MUCH)
    return elements


SHOWN_BYTES = 128
"""Of an argument, in an error."""


def shown(argument: bytes, most: int = SHOWN_BYTES) -> bytes:
    """What an error shows of an argument: as C does, up to a zero byte."""
    return argument.partition(b"\0")[0][:most]


def misused(args: list[bytes]) -> Error:
    """A subcommand with arguments that make no sense."""
    return Error(b"ERR unknown subcommand or wrong number of arguments for '%b'. Try %b HELP." % (shown(args[1]), args[0].upper()))


class Refusal(Exception):
    """Ends a command with an Error reply. Nothing of the command has been carried out by then."""

    def __init__(self, reply: Error | bytes) -> None:
        super().__init__(reply)
        self.reply = reply if isinstance(reply, Error) else Error(reply)
