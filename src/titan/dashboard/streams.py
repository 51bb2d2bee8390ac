"""Streams of server-sent events: the cluster, a run, and the output of a job.

Every event of a feed has an id. A browser that reconnects sends the last one, and gets only the
rows that changed since. After a restart of the dashboard the id is not known, and the present state
comes. A slow browser gets the newest state of each row, not a backlog: an event has the rows that
changed since the event before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Iterable
from itertools import islice
from typing import Annotated, Any

import msgspec
from litestar import Controller
from litestar.params import HeaderParameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from titan.dashboard.clients import Clients
from titan.dashboard.models import run_of
from titan.dashboard.reading import AttemptNumber
from titan.dashboard.routing import get
from titan.errors import TitanError
from titan.sdk.client import AsyncClient
from titan.sdk.cluster_changes import ClusterChange

EVERY_S = 0.25
PING_S = 15.0
LINGER_S = 30.0
"""Seconds for which a feed goes on without readers, for a page that is loaded again."""
RETRY_S = 1.0
MOST_ROWS = 500
"""Rows of one event, at most."""
MOST_RUNS = 5_000
"""Runs of the cluster's feed, at most. The rows of the oldest are removed; /runs has them."""
Rows = Iterable[tuple[str, str, Any]]
"""(kind, id, row). A row of None means that it was removed."""
LastEventId = Annotated[str, HeaderParameter(name="Last-Event-ID", required=False, max_length=64)]


class Feed:
    """Rows of one stream with the version at which each last changed. Many browsers read it."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], tuple[int, Any]] = {}
        """(kind, id) -> (version, row), the longest unchanged first."""
        self._news = asyncio.Event()
        self._over = False
        self.reset()

    def reset(self) -> None:
        """Forget all rows. Every reader then gets the rows that are put next as the present
        state."""
        self._epoch = secrets.token_hex(4)
        self._version = 0
        self._rows.clear()

    def put(self, rows: Rows) -> None:
        """Replace rows, and wake the readers."""
        pending = iter(rows)
        while batch := list(islice(pending, MOST_ROWS)):
            self._version += 1
            for kind, name, row in batch:
                self._rows.pop((kind, name), None)
                self._rows[kind, name] = self._version, row
        self._wake()

    def drop(self, kind: str, name: str) -> None:
        """Forget a row without a word to the readers."""
        self._rows.pop((kind, name), None)

    def names(self, kind: str) -> list[str]:
        return [name for known, name in self._rows if known == kind]

    def end(self) -> None:
        self._over = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _since(self, version: int) -> tuple[list[dict[str, Any]], int]:
        """Return rows that changed after a version, and the version up to which these are all."""
        found: list[tuple[int, dict[str, Any]]] = []
        for (kind, name), (changed, row) in reversed(self._rows.items()):
            if changed <= version:
                break
            found.append((changed, {"kind": kind, "id": name, "row": row}))
        found.reverse()
        upto = found[MOST_ROWS - 1][0] if len(found) > MOST_ROWS else self._version
        return [row for changed, row in found if changed <= upto], upto

    async def events(self, last_id: str) -> AsyncGenerator[ServerSentEventMessage, None]:
        epoch, _, text = last_id.partition(".")
        at = int(text) if text.isdigit() else 0
        while True:
            first = epoch != self._epoch
            if first:
                epoch, at = self._epoch, 0
            news = self._news
            rows, upto = self._since(at)
            if rows:
                at = upto
                data = msgspec.json.encode({"first": first, "rows": rows}).decode()
                yield ServerSentEventMessage(data=data, event="changes", id=f"{epoch}.{at}", retry=1000)
                await asyncio.sleep(0 if upto < self._version else EVERY_S)
            elif self._over:
                yield ServerSentEventMessage(data="{}", event="over", id=f"{epoch}.{at}")
                return
            else:
                try:
                    await asyncio.wait_for(news.wait(), PING_S)
                except TimeoutError:
                    yield ServerSentEventMessage(data=None, comment="still here")


class Feeds:
    """The feeds that browsers read now. Each has one subscription to the master."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._feeds: dict[str, Feed] = {}
        self._readers: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def read(self, run: str, last_id: str) -> AsyncGenerator[ServerSentEventMessage, None]:
        """Yield the events of a run, or of the cluster for ""."""
        feed = self._feeds.get(run)
        if feed is None:
            feed = self._feeds[run] = Feed()
            self._tasks[run] = asyncio.create_task(self._fill(run, feed))
        self._readers[run] = self._readers.get(run, 0) + 1
        try:
            async for event in feed.events(last_id):
                yield event
        finally:
            self._readers[run] -= 1
            if not self._readers[run]:
                asyncio.get_running_loop().call_later(LINGER_S, self._drop_if_unread, run, feed)

    def _drop_if_unread(self, run: str, feed: Feed) -> None:
        if not self._readers.get(run) and self._feeds.get(run) is feed:
            del self._feeds[run], self._readers[run]
            self._tasks.pop(run).cancel()

    async def _fill(self, run: str, feed: Feed) -> None:
        while True:
            try:
                if run:
                    await _fill_run(self._client, run, feed)
                else:
                    await _fill_cluster(self._client, feed)
                return
            except TitanError as error:
                feed.put([("master", "", {"reachable": False, "problem": str(error), "code": error.code})])
                await asyncio.sleep(RETRY_S)


async def _fill_run(client: AsyncClient, run: str, feed: Feed) -> None:
    reachable = False
    async for summary, jobs in client.changes(run, progress=True):
        if not reachable:
            feed.reset()
            reachable = True
            feed.put([("master", "", {"reachable": True})])
        feed.put([("run", run, run_of(summary)), *(("job", job.id, job) for job in jobs)])
    feed.end()


async def _fill_cluster(client: AsyncClient, feed: Feed) -> None:
    async for change in client.cluster_changes():
        if change.first:
            feed.reset()
        feed.put(_rows_of(change))
        runs = feed.names("run")
        for name in runs[: max(0, len(runs) - MOST_RUNS)]:
            feed.drop("run", name)


def _rows_of(change: ClusterChange) -> list[tuple[str, str, Any]]:
    names = ("at", "queues", "queue_count", "queued", "running", "gates", "dead", "notices")
    return [
        ("master", "", {"reachable": True}),
        ("cluster", "", {name: getattr(change, name) for name in names}),
        *(("worker", worker.name, worker) for worker in change.workers),
        *(("worker", name, None) for name in change.gone),
        *(("run", run.run, run_of(run)) for run in change.runs),
    ]


class Streams(Controller):
    path = "/"
    tags = ["stream"]

    @get("/events", summary="Changes of the cluster: rows of kind master, cluster, worker, run")
    async def cluster(self, feeds: Feeds, last_event_id: LastEventId = "") -> ServerSentEvent:
        return ServerSentEvent(feeds.read("", last_event_id))

    @get("/runs/{run:str}/events", summary="Changes of a run: rows of kind master, run, job; over at its end")
    async def run(self, feeds: Feeds, clients: Clients, run: str, last_event_id: LastEventId = "") -> ServerSentEvent:
        await clients.reader.job_page(run, 0, 1)  # raises NotFound
        return ServerSentEvent(feeds.read(run, last_event_id))

    @get("/runs/{run:str}/jobs/{job:str}/output/events", summary="Output of a job as it comes: stdout and stderr, with gaps")
    async def output(self, clients: Clients, run: str, job: str, attempt: AttemptNumber = None) -> ServerSentEvent:
        await clients.reader.job(f"{run}/{job}")  # raises NotFound
        return ServerSentEvent(_output(clients.reader, f"{run}/{job}", attempt))


async def _output(client: AsyncClient, target: str, attempt: int | None) -> AsyncGenerator[ServerSentEventMessage, None]:
    async with contextlib.aclosing(client.log_pieces(target, follow=True, attempt=attempt)) as pieces:
        async for piece in pieces:
            stream = "stdout" if piece.stream == 1 else "stderr"
            body = {
                "attempt": piece.attempt,
                "stream": stream,
                "text": piece.data.decode(errors="replace"),
                "skipped": piece.skipped,
            }
            yield ServerSentEventMessage(data=msgspec.json.encode(body).decode(), event="output")
    yield ServerSentEventMessage(data="{}", event="over")
