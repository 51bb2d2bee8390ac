"""Masking of secrets in a job's output: they become `***` on the way from the pipe to the log, so
no disk ever has them.

Part of the warden, and like it without imports of Titan. The secrets and the forms in which they
may be printed come with the order. Here they are patterns, byte strings of at least 4 bytes.

A byte is masked if it belongs to any occurrence of any pattern, overlapping ones included.
Overlapping occurrences are masked as one. The output comes in pieces. So the longest end of the
output that may begin a pattern is held back until more output comes, or its end. The result is the
same however the output was split.
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
"""Costs of a search in nanoseconds: sifting a text, per byte; looking for one pattern, plus the
bytes searched per nanosecond."""


class Patterns:
    """Patterns to be masked, shared by the streams of a job."""

    __slots__ = ("_beginnings", "_by_word", "all")

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self.all = sorted(set(patterns), key=lambda pattern: (-len(pattern), pattern))
        assert all(len(pattern) >= SHORTEST for pattern in self.all), "a pattern is too short to be masked"
        # Beginnings of patterns that are too short to be found by their first four bytes.
        self._beginnings = frozenset(pattern[:count] for pattern in self.all for count in range(1, SHORTEST))
        self._by_word: dict[int, list[bytes]] = {}
        for pattern in self.all:
            self._by_word.setdefault(memoryview(pattern[:SHORTEST]).cast("I")[0], []).append(pattern)

    def present(self, text: bytes) -> list[bytes]:
        """Return the patterns that may be in `text`, longest first. These are all patterns, or
        those whose first four bytes occur, whichever is quicker to handle."""
        if len(text) * SIFT_NS > len(self.all) * (LOOK_NS + len(text) // LOOK_BYTES_PER_NS):
            return self.all
        found: set[int] = set()
        for offset in range(SHORTEST):
            end = offset + (len(text) - offset) // SHORTEST * SHORTEST
            if end > offset:
                found.update(self._by_word.keys() & set(memoryview(text)[offset:end].cast("I")))
        return sorted([pattern for word in found for pattern in self._by_word[word]], key=len, reverse=True)

    def ends_at(self, text: bytes) -> int:
        """Return how many bytes at the beginning of `text` may be the end of a pattern that began
        before it."""
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
        """Return where the longest end of `text` begins that may begin a pattern, and the pattern,
        if one is known."""
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
    """Masking of one stream: `feed` each piece, then `flush`. Both return masked output."""

    __slots__ = ("_awaited", "_begun", "_covered", "_held", "_patterns")

    def __init__(self, patterns: Patterns, *, begun: bool = True) -> None:
        """Create a masker. `begun`: the first piece is the beginning of the output. Otherwise it
        may begin with the end of a pattern, which is masked."""
        self._patterns = patterns
        self._begun = begun
        self._held = b""
        self._covered = 0  # bytes of `_held` that belong to a mask already written
        self._awaited = b""  # pattern that begins with `_held`

    def feed(self, data: bytes) -> bytes:
        if not self._begun:
            self._begun = True
            cut = self._patterns.ends_at(data)
            return (MASK if cut else b"") + self.feed(data[cut:])
        have = len(self._held)
        if have + len(data) < len(self._awaited) and self._awaited.startswith(data, have):
            self._held += data  # a long secret in small pieces: nothing to search yet
            return b""
        text = self._held + data if have else data
        present = self._patterns.present(text)
        until, self._awaited = self._patterns.held_from(text, present)
        return self._mask(text, present, until)

    def flush(self) -> bytes:
        """Return the rest of the output at the end of the stream."""
        text, self._awaited = self._held, b""
        return self._mask(text, self._patterns.present(text), len(text)) if text else b""

    def _mask(self, text: bytes, present: list[bytes], until: int) -> bytes:
        """Return the masked output before `until`. The rest is held back."""
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
    """Stream of a job that has secrets."""

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
        """Write data to the head of the log while there is room, and the rest to its tail."""
        room = 0 if self._failed else max(0, self._head - self._size)
        if room and data:
            head, data = data[:room], data[room:]
            self.dropped += len(head) - self._write(head, reports)
        if data:
            self._keep_last(data)
