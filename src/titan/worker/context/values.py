"""Access of a job to the values of other jobs in its run. The master sends a small value in its
answer. A large value is stored by its content hash, and the worker fetches it into its cache.

For a large value the job gets the path in the cache. The job can read that file, because it runs on
the same machine and as the same user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from titan.errors import ConnectionLost
from titan.model import values
from titan.protocol import messages as msg
from titan.protocol.codec import Blob
from titan.worker.context.requests import ContextHandler, JobRequest
from titan.worker.value_uploads import Values


class ValueReader:
    def __init__(
        self, handler: ContextHandler, store: Values, have: Callable[[], Mapping[str, None]], fetch: Callable[[str], None]
    ) -> None:
        """Serve ReadValue. `have()` returns the hashes in the cache. `fetch(hash)` starts a
        download, after which the shell calls `on_fetched`."""
        self._handler = handler
        self._store = store
        self._have = have
        self._fetch = fetch
        self._waiting: dict[str, list[tuple[JobRequest, bytes]]] = {}
        handler.serve(msg.ReadValue, lambda request: handler.ask_master(request, request.message, None, self._on_answer))

    def _on_answer(self, request: JobRequest, answer: msg.Message, blob: Blob) -> None:
        hash_ = values.artifact_of(answer.value) if isinstance(answer, msg.ValueRead) else None
        if hash_ is None or not isinstance(answer, msg.ValueRead):
            request.forward_answer(answer)
        elif hash_ in self._have():
            self._give(request, hash_, answer.value)
        else:
            self._waiting.setdefault(hash_, []).append((request, answer.value))
            if len(self._waiting[hash_]) == 1:
                self._fetch(hash_)

    def on_fetched(self, hash_: str, problem: str = "") -> None:
        for request, value in self._waiting.pop(hash_, ()):
            if problem:
                request.fail(ConnectionLost(f"the value could not be fetched: {problem}"))
            else:
                self._give(request, hash_, value)

    def _give(self, request: JobRequest, hash_: str, value: bytes) -> None:
        self._store.keep(hash_, values.size_of(value))
        file = values.JSON_FILE if value[:1] == values.JSON_AT else values.RETURNED_FILE
        request.reply(msg.ValueRead(request.id, file + os.fsencode(self._store.path(hash_))))
