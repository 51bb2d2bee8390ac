"""Downloads into a worker's cache: each content is fetched once and completely, and its arrival or
failure is reported."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from support.content import Ends
from titan.content.blobs import put
from titan.content.files import FileWriter
from titan.worker.files.downloads import Downloads
from titan.worker.requests import WorkerLines

SCRIPT = b"echo hello\n"
HASH = hashlib.sha256(SCRIPT).hexdigest()


def test_content_is_fetched_once_and_a_failure_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        ends, cache = Ends(tmp_path / "store"), tmp_path / "cache"
        cache.mkdir()
        told: list[tuple[str, str, bool]] = []
        tasks: list[asyncio.Future[Any]] = []
        downloads = Downloads(
            cache,
            cast(WorkerLines, ends),
            spawn=lambda work: tasks.append(asyncio.ensure_future(work)),
            fetched=lambda *it: told.append(it),
        )
        for data in (SCRIPT, b""):
            put(ends.store, hashlib.sha256(data).hexdigest(), data)
            downloads.begin(hashlib.sha256(data).hexdigest())
        downloads.begin(HASH)
        await asyncio.gather(*tasks)
        assert len(tasks) == 2 and sorted(told) == sorted([(HASH, "", True), (hashlib.sha256(b"").hexdigest(), "", True)])
        assert (cache / HASH).read_bytes() == SCRIPT
        told.clear()
        (cache / HASH).unlink()

        downloads.begin("0" * 64)
        await tasks[-1]
        (ends.store.folder / HASH).write_bytes(b"damaged")
        downloads.begin(HASH)
        await tasks[-1]
        (gone, damaged) = told
        assert gone[0] == "0" * 64 and "run the job that made it again" in gone[1] and not gone[2]
        assert damaged[0] == HASH and "content that does not match its hash, 3 times" in damaged[1] and not damaged[2]
        assert [name for name in os.listdir(cache) if name.endswith(".part")] == []
        (ends.store.folder / HASH).write_bytes(SCRIPT)
        with monkeypatch.context() as full:
            full.setattr(FileWriter, "write", lambda self, pieces: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space")))
            downloads.begin(HASH)
            await tasks[-1]
        assert told[-1] == (HASH, "the disk of this worker is full: free space there, or limit --file-cache", True)
        shutil.rmtree(cache)
        downloads.begin(HASH)
        await tasks[-1]
        assert told[-1][1] and told[-1][2], "a disk that refuses may take it later"
        await ends.handler.close()

    asyncio.run(run())
