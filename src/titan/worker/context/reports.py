"""Checks of the progress, statuses and results that jobs report on their connections.

Owns the limits of the reports, the pieces of large results, and the timer of messages to the
master. `state_machine.job_reports` decides which reports are sent and when.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from titan.errors import CallerError, Conflict, LimitExceeded
from titan.host.remove_folder import remove_folder
from titan.model import values
from titan.model.values import MAX_RESULT_BYTES, PIECE_BYTES
from titan.protocol import messages as msg
from titan.protocol.codec import Blob
from titan.worker.context.requests import ContextHandler, JobRequest
from titan.worker.secrets import AttemptSecrets
from titan.worker.state_machine.job_reports import ReportOutbox
from titan.worker.state_machine.messages import ArtifactReady, ResultSet
from titan.worker.value_uploads import Values

TEXT_BYTES = 1024


class _Part:
    """A large result that arrives in pieces."""

    def __init__(self, path: Path, *, as_json: bool, size: int) -> None:
        self.end = b""
        """Last received bytes. They may be the beginning of a secret that continues in the next
        piece."""
        self.path = path
        self.as_json = as_json
        self.size = size
        self.offset = 0
        self.digest = hashlib.sha256()
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def write(self, data: bytes | memoryview) -> None:
        self.digest.update(data)
        self.offset += len(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def close(self) -> None:
        os.close(self._fd)


class JobReports:
    def __init__(
        self,
        handler: ContextHandler,
        folder: Path,
        *,
        store: Values,
        send: Callable[[msg.Message, bytes | None], None],
        can_send: Callable[[], bool],
        see: Callable[[Any], None],
        secrets: AttemptSecrets,
    ) -> None:
        """Serve the report messages of `handler`.

        `folder` is for incomplete results, which arrive in pieces. `store` takes complete large
        results. `see` takes inputs of the state machine.
        """
        self._secrets = secrets
        remove_folder(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self._handler = handler
        self._store = store
        self._send = send
        self._can_send = can_send
        self._see = see
        self._outbox = ReportOutbox()
        self._parts: dict[int, _Part] = {}
        self._timer: asyncio.Handle | None = None
        self._timer_due = 0.0
        """Time of the loop at which `_timer` fires. The handle of a short delay in uvloop has no
        `when`."""
        handler.serve(msg.ReportProgress, self._on_progress)
        handler.serve(msg.SetStatus, self._on_status)
        handler.serve(msg.SetResult, self._on_result)

    # -- reports of jobs ---------------------------------------------------------------------------
    def _on_progress(self, request: JobRequest) -> None:
        message: msg.ReportProgress = request.message
        if message.fraction != -1.0 and not 0.0 <= message.fraction <= 1.0:  # NaN too
            raise CallerError(f"a progress of {message.fraction!r} is out of range: give 0 to 1, or -1 if it is unknown")
        self._arm(self._outbox.progress(request.lease, message.fraction, self._printable(request.lease, message.message)))
        request.reply(msg.Noted(request.id))

    def _on_status(self, request: JobRequest) -> None:
        self._arm(self._outbox.status(request.lease, self._printable(request.lease, request.message.text)))
        request.reply(msg.Noted(request.id))

    def _printable(self, lease: int, text: str) -> str:
        """Return the text as one printable line without secrets. Raises LimitExceeded."""
        if len(text) > TEXT_BYTES or (not text.isascii() and len(text.encode()) > TEXT_BYTES):
            problem = f"a text of {len(text.encode()):,} bytes exceeds the limit of {TEXT_BYTES:,}: print longer texts instead"
            raise LimitExceeded(problem)
        text = self._secrets.masked(lease, text)
        return " ".join("".join([c if c.isprintable() else " " for c in text]).split())

    def _on_result(self, request: JobRequest) -> None:
        message: msg.SetResult = request.message
        assignment = self._handler.assignment(request.lease)
        if assignment is not None and assignment.template.function:
            raise CallerError("a call cannot set a result: its value is what the function returns")
        if message.size > MAX_RESULT_BYTES:
            raise LimitExceeded(
                f"a result of {message.size:,} bytes exceeds the limit of {MAX_RESULT_BYTES:,}: publish a file instead"
            )
        if len(request.blob) > PIECE_BYTES or not 0 <= message.offset <= message.offset + len(request.blob) <= message.size:
            raise CallerError(
                f"a piece of {len(request.blob):,} bytes at {message.offset:,} does not fit a result of {message.size:,}"
            )
        if message.size > values.INLINE_BYTES:
            self._add_piece(request, message)
        elif len(request.blob) != message.size:
            raise CallerError("a result of up to 64 KiB has to come in one piece")
        else:
            data = bytes(request.blob)
            self._refuse_secrets(request.lease, data, b"")
            if message.json:
                _check_json(data)
            self._see(ResultSet(request.lease, (values.JSON if message.json else values.RETURNED) + data))
        request.reply(msg.Noted(request.id))

    def _add_piece(self, request: JobRequest, message: msg.SetResult) -> None:
        part = self._parts.get(request.lease)
        if message.offset == 0:
            if part is not None:
                part.close()
            path = self._folder / f"{request.lease}.part"
            part = self._parts[request.lease] = _Part(path, as_json=message.json, size=message.size)
        if (
            part is None
            or (part.offset, part.size, part.as_json) != (message.offset, message.size, message.json)
            or not request.blob
        ):
            raise Conflict("the pieces of a result are out of order: does another process of this job set its result, too?")
        try:
            part.end = self._refuse_secrets(request.lease, request.blob, part.end)
        except CallerError:
            self._drop_part(request.lease)
            raise
        part.write(request.blob)
        if part.offset < part.size:
            return
        del self._parts[request.lease]
        part.close()
        digest = part.digest.digest()
        part.path.rename(self._store.path(digest.hex()))
        self._store.keep(digest.hex(), part.size)
        self._see(ArtifactReady(digest.hex()))
        self._see(
            ResultSet(request.lease, values.by_content(values.JSON_AT if message.json else values.RETURNED_AT, digest, part.size))
        )

    def _refuse_secrets(self, lease: int, data: Blob, before: bytes) -> bytes:
        """Raise CallerError if `data` contains a secret of the job.

        `before` are the last bytes of the previous piece. Return the last bytes of this piece,
        which may be the beginning of a secret.
        """
        patterns = self._secrets.patterns_of(lease)
        if patterns is None or not patterns.all:
            return b""
        data = before + bytes(data)
        if any(pattern in data for pattern in patterns.present(data)):
            raise CallerError("the result contains a secret of the job, and results are readable by everybody: leave it out")
        return data[-(len(patterns.all[0]) - 1) :]

    # -- messages to the master --------------------------------------------------------------------
    def _arm(self, due: float | None) -> None:
        """Make sure that the timer fires at `due` or earlier."""
        if due is None or not self._can_send():
            return
        loop = asyncio.get_running_loop()
        due = max(due, loop.time())
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer, self._timer_due = loop.call_at(due, self._on_timer), due

    def _on_timer(self) -> None:
        self._timer = None
        if not self._can_send():
            return
        for message in self._outbox.due(asyncio.get_running_loop().time()):
            self._send(message, None)
        self._arm(self._outbox.next_due())

    def send_statuses(self) -> None:
        """Send all unsent statuses, even those that are not due yet. The shell calls this before it
        reports results, so that a status precedes the end of its attempt."""
        for message in self._outbox.all_statuses(asyncio.get_running_loop().time()):
            self._send(message, None)

    def disconnected(self) -> None:
        """Mark all reports as unsent: the master of the next connection may have none of them."""
        self._outbox.disconnected()

    def connected(self) -> None:
        self._arm(self._outbox.next_due())

    def forget(self, lease: int) -> None:
        """Drop the reports of an attempt whose result the master has recorded."""
        self._outbox.forget(lease)
        self._drop_part(lease)

    def _drop_part(self, lease: int) -> None:
        part = self._parts.pop(lease, None)
        if part is not None:
            part.close()
            part.path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _check_json(data: bytes) -> None:
    try:
        found = json.loads(data, parse_constant=_refuse)
        assert not isinstance(found, float) or math.isfinite(found)
    except (ValueError, RecursionError) as e:
        raise CallerError(f"the result is not JSON: {e}") from e


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
