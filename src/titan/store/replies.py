"""Replies of commands, as Python values. `resp` encodes them in either version of the protocol.

| reply | RESP2 | RESP3 |
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

A command that cannot be executed raises Refusal. `Store.execute` turns it into an Error reply, so
it never leaves the package.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final


class Status(bytes):
    """Simple string: a word of the protocol such as OK, without CR or LF."""

    __slots__ = ()


class Error(bytes):
    """Error: a code in capitals, a space, and the message. Encoding turns CR and LF into spaces."""

    __slots__ = ()


class Verbatim(bytes):
    """Text of several lines that people read."""

    __slots__ = ()


class SetReply(list[Any]):
    """Members without an order."""

    __slots__ = ()


class Pairs(list[Any]):
    """Tuples of two, such as members with their scores."""

    __slots__ = ()


class Keyed(list[Any]):
    """Tuples of a key and its result."""

    __slots__ = ()


class Push(list[Any]):
    """Message that the server sends without a request: a message of a channel, or the confirmation
    of a subscription."""

    __slots__ = ()


class Several(list[Any]):
    """Replies of a command with several replies, such as SUBSCRIBE with one for each channel."""

    __slots__ = ()


class Mark(Enum):
    """Replies without a value."""

    NULL_ARRAY = "null array"
    NO_REPLY = "no reply"
    BLOCKED = "blocked"


Reply = bytes | int | float | list[Any] | dict[bytes, Any] | Mark | None
"""Reply of a command, as in the table of this module."""

OK: Final = Status(b"OK")
QUEUED: Final = Status(b"QUEUED")
PONG: Final = Status(b"PONG")
NULL_ARRAY: Final = Mark.NULL_ARRAY
NO_REPLY: Final = Mark.NO_REPLY
"""No reply, because the client asked for none (CLIENT REPLY)."""
BLOCKED: Final = Mark.BLOCKED
"""No reply yet: the session waits, and `Store.take_deliveries` returns the reply later."""

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
"""Maximum bytes of all elements in a reply that can contain one stored value several times."""
TOO_MUCH: Final = Error(b"ERR the reply would have more than %d bytes: request fewer elements at once" % MOST_REPLY)


def bounded_reply(elements: list[Any]) -> list[Any]:
    """Return the elements (bytes or None). Raises Refusal(TOO_MUCH) if they have more than
    MOST_REPLY bytes in all."""
    if sum(len(element) for element in elements if element is not None) > MOST_REPLY:
        raise Refusal(TOO_MUCH)
    return elements


SHOWN_BYTES = 128
"""Maximum bytes of an argument in an error."""


def shown(argument: bytes, most: int = SHOWN_BYTES) -> bytes:
    """Return the part of an argument that an error shows. Like a C string, this part ends at a zero
    byte."""
    return argument.partition(b"\0")[0][:most]


def misused(args: list[bytes]) -> Error:
    """Return the error for a subcommand with invalid arguments."""
    return Error(b"ERR unknown subcommand or wrong number of arguments for '%b'. Try %b HELP." % (shown(args[1]), args[0].upper()))


class Refusal(Exception):
    """Error reply that ends a command before it has changed anything."""

    def __init__(self, reply: Error | bytes) -> None:
        super().__init__(reply)
        self.reply = reply if isinstance(reply, Error) else Error(reply)
