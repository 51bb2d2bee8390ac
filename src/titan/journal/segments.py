"""Current segment, to which records are written, and the spare segment, allocated in advance.

Owns descriptors, offsets and disk space. Must not know threads, queues, callbacks, sync policies or
the content of a record.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from titan.journal import files
from titan.journal.records import END_MARK_BYTES, SEGMENT_HEADER_BYTES, EndMark, encode_end_mark, encode_segment_header

SPACE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})

_IOV_MAX = max(16, os.sysconf("SC_IOV_MAX"))


class OpenSegment:
    """Segment with a written header. The next record goes to `offset`; the file ends at `capacity`.

    `room` excludes the bytes of the end mark, so the segment can always be sealed.
    """

    __slots__ = ("capacity", "fd", "first_seq", "offset", "path")

    def __init__(self, path: Path, fd: int, *, first_seq: int, capacity: int) -> None:
        self.path = path
        self.fd = fd
        self.first_seq = first_seq
        self.capacity = capacity
        self.offset = SEGMENT_HEADER_BYTES

    @property
    def is_empty(self) -> bool:
        return self.offset == SEGMENT_HEADER_BYTES

    @property
    def room(self) -> int:
        return self.capacity - self.offset - END_MARK_BYTES

    @property
    def is_half_full(self) -> bool:
        return self.offset * 2 >= self.capacity

    def write(self, buffers: list[bytes], size: int) -> None:
        """Append all buffers, `size` bytes in total, with one system call, or with more calls after
        a partial write."""
        if len(buffers) > _IOV_MAX:
            buffers = [b"".join(buffers)]
        written = os.pwritev(self.fd, buffers, self.offset)
        if written < size:
            self._write_rest(memoryview(b"".join(buffers)), written)
        self.offset += size

    def seal(self, mark: EndMark, *, next_seq: int, term: int) -> None:
        """Write the end mark, cut the file after the mark, sync the file and close it. All records
        must be synced before.

        The mark is synced before the cut, because a file that has neither an end mark nor its
        original size counts as damaged.
        """
        os.pwrite(self.fd, encode_end_mark(mark, next_seq=next_seq, term=term), self.offset)
        os.fdatasync(self.fd)
        os.ftruncate(self.fd, self.offset + END_MARK_BYTES)
        os.fsync(self.fd)
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _write_rest(self, data: memoryview, done: int) -> None:
        while done < len(data):
            count = os.pwrite(self.fd, data[done:], self.offset + done)
            if count == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(self.path))
            done += count


class SegmentMaker:
    """Factory of segments, which allocates one spare segment in advance.

    A segment has `segment_bytes` bytes, or more if its first record needs more. `origin`: the name
    of the writer for the headers.
    """

    def __init__(self, directory: Path, *, segment_bytes: int, retry_s: float, origin: bytes = b"") -> None:
        self._directory = directory
        self._origin = origin
        self._segment_bytes = segment_bytes
        self._retry_s = retry_s
        self._spare_path = directory / ("next" + files.TEMPORARY_SUFFIX)
        self._spare_fd = -1
        self.low_space = False
        self.retry_at = 0.0

    @property
    def is_prepared(self) -> bool:
        return self._spare_fd >= 0

    def prepare(self, now: float) -> None:
        """Allocate the spare segment. If the disk is full, set `low_space`; calls in the next
        `retry_s` seconds then do nothing."""
        if self._spare_fd >= 0 or (self.low_space and now < self.retry_at):
            return
        try:
            self._spare_fd = files.allocate(self._spare_path, self._segment_bytes)
        except OSError as error:
            if error.errno not in SPACE_ERRORS:
                raise
            self.low_space = True
            self.retry_at = now + self._retry_s
        else:
            self.low_space = False

    def make(self, first_seq: int, *, record_bytes: int = 0) -> OpenSegment:
        """Return a durable, empty segment with its final name and room for a record of
        `record_bytes`. Replace an empty segment of the same name."""
        capacity = max(self._segment_bytes, SEGMENT_HEADER_BYTES + record_bytes + END_MARK_BYTES)
        path = self._directory / files.segment_name(first_seq)
        if capacity == self._segment_bytes:
            temporary, fd = self._spare_path, self._take_spare()
        else:
            temporary = path.with_suffix(files.TEMPORARY_SUFFIX)
            fd = files.allocate(temporary, capacity)
        try:
            os.pwrite(fd, encode_segment_header(first_seq, capacity=capacity, origin=self._origin), 0)
            os.fdatasync(fd)
            files.rename(temporary, path)
        except BaseException:
            os.close(fd)
            raise
        return OpenSegment(path, fd, first_seq=first_seq, capacity=capacity)

    def discard(self) -> None:
        """Free the disk space of the spare segment."""
        if self._spare_fd >= 0:
            os.close(self._spare_fd)
            self._spare_fd = -1
            self._spare_path.unlink(missing_ok=True)

    def _take_spare(self) -> int:
        fd, self._spare_fd = self._spare_fd, -1
        if fd >= 0:
            return fd
        fd = files.allocate(self._spare_path, self._segment_bytes)
        self.low_space = False
        return fd
