"""Artifacts on their way from the master into this worker's cache: each once, and after a cut from where it was."""

from __future__ import annotations

from collections.abc import Callable

from titan.errors import TitanError
from titan.protocol import messages as msg
from titan.protocol.codec import Blob
from titan.worker.file_cache import disk_problem
from titan.worker.sandbox import Download, Workspace


class Downloads:
    """`fetched(hash, problem, retryable)`: an artifact is here, or cannot be had; `problem` is "" if it is."""

    def __init__(
        self,
        workspace: Workspace,
        send: Callable[[msg.Message], None],
        next_request: Callable[[], int],
        fetched: Callable[[str, str, bool], None],
    ) -> None:
        self._workspace = workspace
        self._send = send
        self._next_request = next_request
        self._fetched = fetched
        self._all: dict[str, Download] = {}
        self._requests: dict[int, str] = {}

    def begin(self, hash_: str) -> None:
        if hash_ in self._all:
            return
        try:
            self._all[hash_] = Download(self._workspace, hash_)
        except OSError as e:
            self._fetched(hash_, disk_problem(e), True)
            return
        self._ask(hash_)

    def go_on(self) -> None:
        """There is a connection again."""
        for hash_ in self._all:
            self._ask(hash_)

    def disconnected(self) -> None:
        self._requests.clear()

    def failed(self, it: msg.Error) -> bool:
        """Whether an error is the answer to one of these."""
        hash_ = self._requests.pop(it.request, None)
        if hash_ is None:
            return False
        self._all.pop(hash_).abandon()
        self._fetched(hash_, it.message or it.code, it.retryable)
        return True

    def on_piece(self, it: msg.Piece, blob: Blob) -> None:
        download = self._all.get(it.hash)
        if download is None:
            return
        problem = ""
        try:
            if not download.write(it.offset, blob, it.size):
                return
        except (OSError, TitanError) as e:
            download.abandon()
            problem = disk_problem(e) if isinstance(e, OSError) else str(e)
        del self._all[it.hash]
        self._requests.pop(it.request, None)
        self._fetched(it.hash, problem, True)

    def _ask(self, hash_: str) -> None:
        request = self._next_request()
        self._requests[request] = hash_
        self._send(msg.Fetch(request, hash_, self._all[hash_].received))
