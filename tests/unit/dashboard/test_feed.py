"""Feeds of the dashboard: rows and their versions, as browsers read them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast

import pytest
from litestar.response import ServerSentEventMessage

from titan.dashboard import streams
from titan.dashboard.streams import Feed


def in_loop(test: Callable[[pytest.MonkeyPatch], Awaitable[None]]) -> Callable[[pytest.MonkeyPatch], None]:
    """Run the test in an event loop of its own, with feeds that do not wait."""

    def run(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "EVERY_S", 0)
        asyncio.run(cast(Any, test(monkeypatch)))

    run.__name__ = test.__name__
    return run


async def event(events: AsyncGenerator[ServerSentEventMessage, None]) -> tuple[bool, list[tuple[str, Any]], str]:
    """Return (first, [(id, row)], id of the event)."""
    async with asyncio.timeout(30):
        found = await anext(events)
    assert found.event == "changes", found
    body = json.loads(str(found.data))
    return body["first"], [(row["id"], row["row"]) for row in body["rows"]], str(found.id)


def rows(**values: Any) -> list[tuple[str, str, Any]]:
    return [("run", name, value) for name, value in values.items()]


@in_loop
async def test_a_reader_gets_the_present_rows_and_then_what_changes(_: pytest.MonkeyPatch) -> None:
    feed = Feed()
    feed.put(rows(a=1, b=1))
    reader = feed.events("")
    first, found, _id = await event(reader)
    assert first and found == [("a", 1), ("b", 1)]
    feed.put(rows(b=2))
    feed.put(rows(b=3, c=1))
    first, found, _id = await event(reader)
    assert not first and found == [("b", 3), ("c", 1)], "the newest of each row, no backlog"


@in_loop
async def test_a_reader_that_reconnects_gets_only_what_changed_since(_: pytest.MonkeyPatch) -> None:
    feed = Feed()
    feed.put(rows(a=1, b=1))
    _first, _rows, last = await event(feed.events(""))
    feed.put(rows(b=2))
    first, found, _id = await event(feed.events(last))
    assert not first and found == [("b", 2)]


@pytest.mark.parametrize("last", ["", "x", "..", "00000000.1", "\x00", "0.99999999999999999999"])
def test_an_unknown_id_gets_the_present_rows(last: str) -> None:
    async def main() -> None:
        feed = Feed()
        feed.put(rows(a=1))
        first, found, _id = await event(feed.events(last))
        assert first and found == [("a", 1)]

    asyncio.run(main())


@in_loop
async def test_after_a_reset_all_readers_get_the_present_rows(_: pytest.MonkeyPatch) -> None:
    feed = Feed()
    feed.put(rows(a=1, b=1))
    reader = feed.events("")
    await event(reader)
    feed.reset()
    feed.put(rows(b=1))
    first, found, _id = await event(reader)
    assert first and found == [("b", 1)]


@in_loop
async def test_many_rows_come_in_several_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_ROWS", 10)
    feed = Feed()
    feed.put([("job", str(i), i) for i in range(35)])
    reader = feed.events("")
    found: list[tuple[str, Any]] = []
    sizes, last = [], ""
    while len(found) < 25:
        _first, some, last = await event(reader)
        found += some
        sizes.append(len(some))
    assert max(sizes) <= 10
    again = feed.events(last)
    while len(found) < 35:
        first, some, _id = await event(again)
        assert not first, "the id of a part can be resumed from"
        found += some
    assert found == [(str(i), i) for i in range(35)]


@in_loop
async def test_a_feed_that_is_over_says_so_behind_its_rows(_: pytest.MonkeyPatch) -> None:
    feed = Feed()
    feed.put(rows(a=1))
    feed.end()
    reader = feed.events("")
    await event(reader)
    assert (await anext(reader)).event == "over"
    with pytest.raises(StopAsyncIteration):
        await anext(reader)


@in_loop
async def test_a_quiet_feed_sends_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PING_S", 0.001)
    feed = Feed()
    feed.put(rows(a=1))
    reader = feed.events("")
    await event(reader)
    assert (await anext(reader)).comment == "still here"
