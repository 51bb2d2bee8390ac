"""Masking of secrets in a job's output. The warden replaces them with `***` between the pipe and
the log, so they are never written to the disk.

Part of the warden. Like the warden it imports nothing of Titan. The order of a job has all forms of
its secrets to be masked. In this module they are patterns: byte strings of at least 4 bytes.

A byte is masked if it belongs to an occurrence of a pattern. Occurrences that overlap become one
mask. The output comes in pieces, and a pattern can begin at the end of a piece. So the longest end
of the output that may be the beginning of a pattern is held back until more output comes, or the
output ends. The result does not depend on the sizes of the pieces.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from titan.worker.isolated.capture import READ_BYTES, Capture
elif __package__:
    from titan.worker.isolated.capture import READ_BYTES, Capture
else:  # in a process without Titan: the warden has put this folder on the path
    from capture import READ_BYTES, Capture

MASK = b"***"
SHORTEST = 4
SIFT_NS, LOOK_NS, LOOK_BYTES_PER_NS = 80, 500, 2
"""Estimated costs in nanoseconds. SIFT_NS: collect the four-byte words of a text, per byte of the
text. LOOK_NS: search for one pattern, plus one nanosecond per LOOK_BYTES_PER_NS bytes of text."""


class Patterns:
    """Patterns to be masked in the streams of one job."""

    __slots__ = ("_beginnings", "_by_word", "all")

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self.all = sorted(set(patterns), key=lambda pattern: (-len(pattern), pattern))
        assert all(len(pattern) >= SHORTEST for pattern in self.all), "a pattern is too short to be masked"
        # The first 1, 2 and 3 bytes of each pattern: they are too short to be found by the first
        # four bytes of a pattern.
        self._beginnings = frozenset(pattern[:count] for pattern in self.all for count in range(1, SHORTEST))
        self._by_word: dict[int, list[bytes]] = {}
        for pattern in self.all:
            self._by_word.setdefault(memoryview(pattern[:SHORTEST]).cast("I")[0], []).append(pattern)

    def present(self, text: bytes) -> list[bytes]:
        """Return the patterns that may be in `text`, longest first. This is either the list of all
        patterns, or the patterns whose first four bytes occur in `text`. By the estimated costs the
        quicker of the two ways is chosen."""
        if len(text) * SIFT_NS > len(self.all) * (LOOK_NS + len(text) // LOOK_BYTES_PER_NS):
            return self.all
        found: set[int] = set()
        for offset in range(SHORTEST):
            end = offset + (len(text) - offset) // SHORTEST * SHORTEST
            if end > offset:
                found.update(self._by_word.keys() & set(memoryview(text)[offset:end].cast("I")))
        return sorted([pattern for word in found for pattern in self._by_word[word]], key=len, reverse=True)

    def ends_at(self, text: bytes) -> int:
        """Return the number of bytes at the beginning of `text` that may be the end of a pattern
        that began before `text`."""
        most = 0
        for pattern in self.all:
            at = pattern.find(text[:1], 1)
            while 0 < at < len(pattern) - most:
                size = min(len(pattern) - at, len(text))
                if text.startswith(pattern[at : at + size]):
                    most = size
                    break  # later matches of this pattern are shorter
                at = pattern.find(text[:1], at + 1)
        return most

    def held_from(self, text: bytes, present: list[bytes]) -> tuple[int, bytes]:
        """Return the position from which on `text` may be the beginning of a pattern, and that
        pattern, b"" if it is not known. The position is the length of `text` if no end of it can
        begin a pattern."""
        size = hold = len(text)
        awaited = b""
        for count in range(min(SHORTEST - 1, size), 0, -1):
            if text[size - count :] in self._beginnings:
                hold = size - count
                break
        for pattern in present:
            at = max(0, size - len(pattern) + 1)
            if at >= hold:
                break  # the remaining patterns are not longer
            begin = pattern[:SHORTEST]
            while (at := text.find(begin, at)) >= 0 and at < hold:
                if pattern.startswith(text[at:]):
                    hold, awaited = at, pattern
                    break
                at += 1
        return hold, awaited


class Masker:
    """Masker of one stream. Call `feed` for each piece and `flush` at the end. Both return masked
    output."""

    __slots__ = ("_awaited", "_begun", "_covered", "_held", "_patterns")

    def __init__(self, patterns: Patterns, *, begun: bool = True) -> None:
        """Create a masker. If `begun` is True, the first piece is the beginning of the output.
        Otherwise the first piece may begin with the end of a pattern, and such bytes are masked."""
        self._patterns = patterns
        self._begun = begun
        self._held = b""
        self._covered = 0  # number of bytes at the start of `_held` that an already written mask replaces
        self._awaited = b""  # pattern that begins with `_held`, b"" if unknown

    def feed(self, data: bytes) -> bytes:
        if not self._begun:
            self._begun = True
            cut = self._patterns.ends_at(data)
            return (MASK if cut else b"") + self.feed(data[cut:])
        have = len(self._held)
        if have + len(data) < len(self._awaited) and self._awaited.startswith(data, have):
            self._held += data  # a long pattern comes in small pieces, and needs no search before it is complete
            return b""
        text = self._held + data if have else data
        present = self._patterns.present(text)
        until, self._awaited = self._patterns.held_from(text, present)
        return self._mask(text, present, until)

    def flush(self) -> bytes:
        """Return the masked rest of the output at the end of the stream."""
        text, self._awaited = self._held, b""
        return self._mask(text, self._patterns.present(text), len(text)) if text else b""

    def _mask(self, text: bytes, present: list[bytes], until: int) -> bytes:
        """Return the masked output before position `until`. The rest of `text` is held back."""
        spans = []
        for pattern in present:
            at = text.find(pattern)
            while at >= 0:
                spans.append((at, at + len(pattern)))
                at = text.find(pattern, at + 1)
        out: list[bytes] = []
        done = self._covered
        for begin, end in sorted(spans):
            if begin >= until:
                break
            if begin >= done:
                out += (text[done:begin], MASK)
                done = end
            else:  # the occurrence overlaps the mask before it
                done = max(done, end)
        if done < until:
            out.append(text[done:until])
        self._covered = max(0, done - until)
        self._held = text[until:]
        return b"".join(out)


class MaskedCapture(Capture):
    """Capture for a job that has secrets: it masks the output before it writes the log."""

    __slots__ = ("_masker",)

    def __init__(self, key: int, stream: int, pipe: int, path: str, limit: int, masker: Masker, at: int = 0) -> None:
        Capture.__init__(self, key, stream, pipe, path, limit, at)
        self._masker = masker

    def pump(self, reports: list[tuple[Any, ...]], budget: int) -> None:
        while budget > 0 and self.pipe >= 0:
            try:
                data = os.read(self.pipe, READ_BYTES)
            except BlockingIOError:
                return
            if data:
                self._keep(self._masker.feed(data), reports)
            else:
                self._close_pipe()
            budget -= len(data)

    def finish(self, reports: list[tuple[Any, ...]]) -> None:
        self._keep(self._masker.flush(), reports)
        Capture.finish(self, reports)

    def _keep(self, data: bytes, reports: list[tuple[Any, ...]]) -> None:
        """Write data to the head of the log until the head is full, and keep the rest for the
        tail."""
        room = 0 if self._failed else max(0, self._head - self._size)
        if room and data:
            head, data = data[:room], data[room:]
            self.dropped += len(head) - self._write(head, reports)
        if data:
            self._keep_last(data)
