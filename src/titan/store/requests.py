"""Parser of requests: RESP arrays of bulk strings, or inline commands. The bytes may be split
anywhere.

hiredis does most of the work, but it allocates as much memory as the header of an array announces.
So this module checks the headers of a request before it passes them to hiredis, if the request is
incomplete or may contain the header of a long array. Other requests are passed to hiredis directly;
they cost only a search for such headers and a count of lines.

The parser is sans-IO. Its limits apply to one connection. The caller can use `pending` to limit the
memory of all connections together.
"""

from __future__ import annotations

import re
from typing import Any

import hiredis

from titan.errors import PeerError
from titan.store.settings import MOST_COMMAND

INLINE_BYTES = 64 * 1024
MAX_ARGS = 1024 * 1024
MAX_BULK_BYTES = 512 * 1024 * 1024
MAX_REQUEST_BYTES = MOST_COMMAND
HEADER_BYTES = 32
UNAUTHENTICATED_ARGS = 10
UNAUTHENTICATED_BYTES = 16 * 1024
"""Limits before authentication, as in Redis. ARGS is the number of arguments of a request. BYTES is
the size of one argument or of one inline request."""

_LONG_ARRAY = re.compile(rb"\*[1-9][0-9]{3}")
_OTHER_COLLECTIONS = (b"\n>", b"\n~", b"\n%")
"""Beginnings of other collections, for which hiredis also allocates memory. `_feed` first searches
for the single characters `>`, `~` and `%`, because that is faster."""
_ONLY_BYTES = frozenset((bytes,))
_SIGN = {int: b":", list: b"*", float: b",", bool: b"#", dict: b"%", set: b"~"}


class BadRequest(PeerError):
    """Invalid request, after which the caller must close the connection. The reply is "ERR Protocol
    error: " and the text of this error. `before` has the valid requests that precede the invalid
    one."""

    before: list[list[bytes]] = []


class Requests:
    """Parser of one connection. `feed(data)` returns the complete requests as lists of arguments,
    without empty requests. Raises BadRequest."""

    def __init__(self, *, max_bulk_bytes: int = MAX_BULK_BYTES, max_args: int = MAX_ARGS) -> None:
        self.max_bulk_bytes = max_bulk_bytes
        self.max_args = max_args
        self.unauthenticated = False
        """True before authentication. Lower limits apply then, and the caller must use
        `feed_one`."""
        self.pending = 0
        """Bytes of the incomplete request."""
        self._reader = hiredis.Reader()
        self._inline = bytearray()
        self._open = False
        """True while an array request is incomplete."""
        self._line = bytearray()
        """Received part of an incomplete header."""
        self._args = -1
        """Number of arguments that are not complete yet; -1 while this number is unknown."""
        self._empty = False
        """True for a request without arguments. The header of such a request may have a negative
        number, which hiredis rejects."""
        self._skip = 0
        """Missing bytes of the current argument, including its CR and LF."""

    def feed(self, data: bytes) -> list[list[bytes]]:
        found: list[list[bytes]] = []
        try:
            self._feed(data, found)
        except BadRequest as error:
            error.before = found
            raise
        return found

    def feed_one(self, data: bytes, at: int) -> tuple[list[list[bytes]], int]:
        """Parse `data[at:]` like `feed`, but only up to the end of the first request.

        Return a list with this request, if it is complete, and the position after it. So the
        caller can change the limits between two requests in the same data.
        """
        found: list[list[bytes]] = []
        return found, self._feed_exactly(data, found, at, 1)

    def _feed(self, data: bytes, found: list[list[bytes]]) -> None:
        if self._open or self._inline or data[:1] != b"*" or _LONG_ARRAY.search(data):
            self._feed_exactly(data, found)
            return
        if (62 in data or 126 in data or 37 in data) and any(data.find(sign) >= 0 for sign in _OTHER_COLLECTIONS):
            self._feed_exactly(data, found)
            return
        reader = self._reader
        reader.feed(data)
        try:
            lines = 0
            while (request := reader.gets()) is not False:
                if request:
                    found.append(_checked(request))
                    lines += 2 * len(request) + 1
            if data[-1] == 10 and not reader.has_data() and (lines == data.count(b"\n") or len(data) == sum(map(_size, found))):
                return
        except hiredis.ProtocolError:  # the data contains an inline command
            pass
        self._reader = hiredis.Reader()
        found.clear()
        self._feed_exactly(data, found)

    def _feed_exactly(self, data: bytes, found: list[list[bytes]], at: int = 0, most: int = 1 << 60) -> int:
        """Parse at most `most` requests, and check each header before hiredis receives it. Return
        the position after the requests."""
        while at < len(data) and len(found) < most:
            if not self._open and (self._inline or data[at] != 42):
                at = self._take_inline(data, at, found)
                continue
            self._open = True
            begun = at
            whole = False
            while at < len(data) and not whole:
                at, whole = self._advance(data, at)
            self._reader.feed(data[begun:at])
            self.pending += at - begun
            if whole:
                self._open, self._args, self.pending = False, -1, 0
                if self._empty:
                    self._empty, self._reader = False, hiredis.Reader()
                    continue
                try:
                    request = self._reader.gets()
                except hiredis.ProtocolError as error:  # an argument does not end with CR and LF
                    raise BadRequest(str(error)) from error
                if request:
                    found.append(_checked(request))
        return at

    def _advance(self, data: bytes, at: int) -> tuple[int, bool]:
        """Advance by one header or argument. Return (position after it, whether the request is
        complete)."""
        if self._skip:
            taken = min(self._skip, len(data) - at)
            self._skip -= taken
            at += taken
            if self._skip:
                return at, False
            self._args -= 1
            return at, self._args == 0
        end = data.find(b"\n", at)
        self._line += data[at:] if end < 0 else data[at : end + 1]
        if len(self._line) > HEADER_BYTES:
            raise BadRequest("too big mbulk count string" if self._args < 0 else "too big bulk count string")
        if end < 0:
            return len(data), False
        line, self._line = bytes(self._line), bytearray()
        if self._args < 0:
            self._args = max(0, _number(line, self.max_args, "invalid multibulk length"))
            if self.unauthenticated and self._args > UNAUTHENTICATED_ARGS:
                raise BadRequest("unauthenticated multibulk length")
            self._empty = not self._args
            return end + 1, self._args == 0
        if line[:1] != b"$":
            raise BadRequest(f"expected '$', got '{line[:1].decode('latin-1')}'")
        size = _number(line, self.max_bulk_bytes, "invalid bulk length")
        if size < 0:
            raise BadRequest("invalid bulk length")
        if self.unauthenticated and size > UNAUTHENTICATED_BYTES:
            raise BadRequest("unauthenticated bulk length")
        if self.pending + end + size > MAX_REQUEST_BYTES:
            raise BadRequest(f"too large request: the journal takes at most {MAX_REQUEST_BYTES} bytes at once")
        self._skip = size + 2
        return end + 1, False

    def _take_inline(self, data: bytes, at: int, found: list[list[bytes]]) -> int:
        end = data.find(b"\n", at)
        self._inline += data[at:] if end < 0 else data[at:end]
        self.pending = len(self._inline)
        if len(self._inline) > (UNAUTHENTICATED_BYTES if self.unauthenticated else INLINE_BYTES):
            raise BadRequest("too big inline request")
        if end < 0:
            return len(data)
        line, self._inline, self.pending = bytes(self._inline), bytearray(), 0
        words = split_line(line)
        if words is None:
            raise BadRequest("unbalanced quotes in request")
        if words:
            found.append(words)
        return end + 1


def _number(line: bytes, most: int, problem: str) -> int:
    digits = line[1:].rstrip(b"\r\n")
    if not re.fullmatch(rb"0|-?[1-9][0-9]{0,18}", digits) or int(digits) > most:
        raise BadRequest(problem)
    return int(digits)


def _size(request: list[bytes]) -> int:
    """Return the size of a request in bytes, in its usual encoding."""
    return len(b"*%d\r\n" % len(request)) + sum(len(b"$%d\r\n\r\n" % len(arg)) + len(arg) for arg in request)


def _checked(request: Any) -> list[bytes]:
    """Return a request if it is valid. hiredis also parses replies, but a request must not contain
    their types."""
    if request.__class__ is not list:  # a request that is not an array is an inline command
        raise hiredis.ProtocolError("no request")
    if not _ONLY_BYTES.issuperset(map(type, request)):
        for arg in request:
            if arg.__class__ is bytes:
                continue
            if arg is None:
                raise BadRequest("invalid bulk length")
            raise BadRequest(f"expected '$', got '{_SIGN.get(arg.__class__, b'-').decode()}'")
    checked: list[bytes] = request
    return checked


_ESCAPES = {ord("n"): 10, ord("r"): 13, ord("t"): 9, ord("b"): 8, ord("a"): 7}
_BLANKS = b" \t\r\n\0\v\f"


def split_line(line: bytes) -> list[bytes] | None:
    r"""Return the words of an inline command; None if a quote is not closed, or if text follows it
    directly. A word may be quoted: "..." allows escapes such as \n and \xFF, '...' allows only \'.

    >>> split_line(b'set k "a b\\x21"')
    [b'set', b'k', b'a b!']
    """
    words: list[bytes] = []
    at, size = 0, len(line)
    while True:
        while at < size and line[at] in _BLANKS:
            at += 1
        if at == size:
            return words
        word = bytearray()
        while at < size and line[at] not in _BLANKS:
            if line[at] in b"\"'":
                end = _quoted(line, at, word)
                if end < 0 or (end < size and line[end] not in _BLANKS):
                    return None
                at = end
                break
            word.append(line[at])
            at += 1
        words.append(bytes(word))


def _quoted(line: bytes, at: int, word: bytearray) -> int:
    """Append the text in the quotes that open at `at` to `word`. Return the position after them; -1
    if they are not closed."""
    quote, at = line[at], at + 1
    while at < len(line):
        byte = line[at]
        if byte == quote:
            return at + 1
        if byte == 92 and at + 1 < len(line):
            at += 1
            if quote == 39:
                if line[at] != 39:
                    word.append(92)
                word.append(line[at])
            elif line[at] == 120 and re.fullmatch(rb"[0-9a-fA-F]{2}", line[at + 1 : at + 3]):
                word.append(int(line[at + 1 : at + 3], 16))
                at += 2
            else:
                word.append(_ESCAPES.get(line[at], line[at]))
        else:
            word.append(byte)
        at += 1
    return -1
