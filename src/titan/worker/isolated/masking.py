"""What a job prints, with `***` in the place of secrets: on its way from the pipe to the log, so
that no disk ever has them.

Part of the warden, and like it without anything of Titan. What is looked for, a secret and the
forms in which it may be printed, comes with the order; here they are patterns, byte strings of at
least 4 bytes.

A byte is masked if it belongs to any occurrence of any pattern, overlapping ones included, and what
overlaps is masked as one. The output comes in pieces: the longest end of what has come that a
pattern may begin with is held back until more comes, or the end. So the result is the same however
the output was split.
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
else:  # beside this file, in a process that has nothing of Titan; the warden has put the folder on the path
    from capture import READ_BYTES, Capture

MASK = b"***"
SHORTEST = 4
SIFT_NS, LOOK_NS, LOOK_BYTES_PER_NS = 80, 500, 2
"""What it takes to sift a text, per byte, and to look for one pattern in it: at all, and how much
of it in a nanosecond."""


class Patterns:
    """What is looked for; shared by the streams of a job."""

    __slots__ = ("_beginnings", "_by_word", "all")

    def __init__(self, patterns: Iterable[bytes]) -> None:
        self.all = sorted(set(patterns), key=lambda pattern: (-len(pattern), pattern))
        assert all(len(pattern) >= SHORTEST for pattern in self.all), "a pattern is too short to be masked"
        # The ends that may begin a pattern and are too short to be looked for by its first four
        # bytes.
        self._beginnings = frozenset(pattern[:count] for pattern in self.all for count in range(1, SHORTEST))
        self._by_word: dict[int, list[bytes]] = {}
        for pattern in self.all:
            self._by_word.setdefault(memoryview(pattern[:SHORTEST]).cast("I")[0], []).append(pattern)

    def present(self, text: bytes) -> list[bytes]:
        """Those that may be in `text`, the longest first: all, or if that is quicker those whose
        first four bytes are there."""
        if len(text) * SIFT_NS > len(self.all) * (LOOK_NS + len(text) // LOOK_BYTES_PER_NS):
            return self.all
        found: set[int] = set()
        for offset in range(SHORTEST):
            end = offset + (len(text) - offset) // SHORTEST * SHORTEST
            if end > offset:
                found.update(self._by_word.keys() & set(memoryview(text)[offset:end].cast("I")))
        return sorted([pattern for word in found for pattern in self._by_word[word]], key=len, reverse=True)

    def ends_at(self, text: bytes) -> int:
        """How much of the beginning of `text` may be of a pattern whose own beginning is not there."""
        most = 0
        for pattern in self.all:
            at = pattern.find(text[:1], 1)
            while 0 < at < len(pattern) - most:
                size = min(len(pattern) - at, len(text))
                if text.startswith(pattern[at : at + size]):
                    most = size
                    break  # the others of this pattern are shorter
                at = pattern.find(text[:1], at + 1)
        return most

    def held_from(self, text: bytes, present: list[bytes]) -> tuple[int, bytes]:
        """Where the longest end of `text` begins that is the beginning of a pattern, and not all of
        one; which, if it is known."""
        size = hold = len(text)
        awaited = b""
        for count in range(min(SHORTEST - 1, size), 0, -1):
            if text[size - count :] in self._beginnings:
                hold = size - count
                break
        for pattern in present:
            at = max(0, size - len(pattern) + 1)
            if at >= hold:
                break  # the others are no longer
            begin = pattern[:SHORTEST]
            while (at := text.find(begin, at)) >= 0 and at < hold:
                if pattern.startswith(text[at:]):
                    hold, awaited = at, pattern
                    break
                at += 1
        return hold, awaited


class Masker:
    """One stream: `feed` what comes, then `flush`; what they return is the output, masked."""

    __slots__ = ("_awaited", "_begun", "_covered", "_held", "_patterns")

    def __init__(self, patterns: Patterns, *, begun: bool = True) -> None:
        """`begun`: what comes first is the first of the output. Else it may be the end of a
        pattern, and is masked if it is."""
        self._patterns = patterns
        self._begun = begun
        self._held = b""
        self._covered = 0  # so many bytes of `_held` belong to what was masked already
        self._awaited = b""  # a pattern that `_held` is the beginning of

    def feed(self, data: bytes) -> bytes:
        if not self._begun:
            self._begun = True
            cut = self._patterns.ends_at(data)
            return (MASK if cut else b"") + self.feed(data[cut:])
        have = len(self._held)
        if have + len(data) < len(self._awaited) and self._awaited.startswith(data, have):
            self._held += data  # a long secret in small pieces: nothing to look for yet
            return b""
        text = self._held + data if have else data
        present = self._patterns.present(text)
        until, self._awaited = self._patterns.held_from(text, present)
        return self._mask(text, present, until)

    def flush(self) -> bytes:
        """The stream is over."""
        text, self._awaited = self._held, b""
        return self._mask(text, self._patterns.present(text), len(text)) if text else b""

    def _mask(self, text: bytes, present: list[bytes], until: int) -> bytes:
        """The output for all before `until`; the rest is held."""
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
            else:  # it overlaps what is masked before it
                done = max(done, end)
        if done < until:
            out.append(text[done:until])
        self._covered = max(0, done - until)
        self._held = text[until:]
        return b"".join(out)


class MaskedCapture(Capture):
    """A stream of a job that has secrets."""

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
        """To the head of the log as far as there is room, the rest to its end."""
        room = 0 if self._failed else max(0, self._head - self._size)
        if room and data:
            head, data = data[:room], data[room:]
            self.dropped += len(head) - self._write(head, reports)
        if data:
            self._keep_last(data)
