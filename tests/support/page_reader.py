"""A reader who types a page: each block runs in order, in one folder, on one cluster.

The folder holds the files of earlier blocks and a copy of `examples`. The master's home is `.titan`
in it, TITAN_MASTER names the master, and one worker offers GENERAL and GPU.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support import forked_titan
from support.cluster import FAST, Cluster, free_port
from support.pages import ROOT, BadPage, Block, blocks
from support.waiting import until
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import stage

DEADLINE_S = 60


class Reader:
    """Someone who types a page from its first line to its last."""

    def __init__(self, base: Path, stack: ExitStack, titan_socket: Path) -> None:
        self.folder = base / "page"
        self.tools = base / "bin"
        self._stack = stack
        self._cluster: Cluster | None = None
        self._base = base
        self._titan_socket = titan_socket
        self._files: dict[str, Block] = {}

    def run(self, block: Block) -> str:
        """Return what it prints, without its stderr."""
        if block.file:
            self.save(block)
        if block.language == "yaml" and block.marker != "data":
            self.parse(block)
        elif block.language == "python" and block.file:
            compile(block.text, block.place, "exec")
        elif block.language == "python":
            return self.execute(block, [sys.executable, "-c", block.text])
        elif block.language == "sh" and block.marker == "server":
            self.serve(block)
        elif block.language == "sh" and not block.file:
            return self.execute(block, ["bash", "-euo", "pipefail", "-c", block.text])
        return ""

    def save(self, block: Block) -> None:
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        self._files[block.file] = block

    def parse(self, block: Block) -> None:
        """Check a pipeline, including its graph and its files. The files are empty here unless an
        earlier block has made them."""
        scratch = self._base / f"parsed-{block.line}"
        scratch.mkdir()
        path = scratch / (block.file or "pipeline.yaml")
        path.write_text(block.text)
        for name in re.findall(r"\bfile: *([\w./-]+)(?=[\s,}]|$)", block.text):
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / name).write_text("true\n")
        stage(load_pipeline(path))

    def execute(self, block: Block, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == block.exit_code, f"{block.place}: {done.returncode}\n{block.text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def serve(self, block: Block) -> None:
        """Run a server with a free port and a home of its own. Check that it serves, and that it
        ends when it is interrupted."""
        words = shlex.split(block.text, comments=True)
        assert words[0] == "titan" and words[1] in ("up", "master", "worker", "store", "dashboard"), block.place
        served = self.cluster.environment()["TITAN_MASTER"]
        home = self._base / f"home-{block.line}"
        port = {"worker": ["--master", served], "dashboard": ["--port", "0", "--master", served]}.get(words[1], ["--port", "0"])
        store = ["--store-port", "0"] if "--store-port" in words else []
        it = self.cluster.spawn(*words[1:], *port, *store, "--home", str(home), label=f"server-{block.line}", cwd=self.folder)
        ready = {"worker": "registered", "dashboard": "works once"}.get(words[1], r" on 127\.0\.0\.1:\d+")
        until(lambda: re.search(ready, it.out + it.err) or not it.running, f"{block.place} serves", DEADLINE_S)
        assert it.running, f"{block.place}: {it.out}{it.err}"
        it.interrupt()
        assert it.wait() in (0, 130), f"{block.place}: {it.out}{it.err}"

    @property
    def cluster(self) -> Cluster:
        """The cluster of the page. It is started when a block first needs it."""
        if self._cluster is None:
            made = self._cluster = Cluster(self._base / "cluster", FAST)
            made.home = self.folder / ".titan"
            self._stack.callback(made.close)
            store = free_port()
            made.start_master("--store-port", str(store), "--set", "keep_journal=1")
            made.start_worker("node1", "--capability", "GENERAL", "--capability", "GPU", "--gpus", "2", slots=4)
            made.wait_for_workers("node1")
            self.tools.mkdir()
            forked_titan.install(self.tools, self._titan_socket)
            self._tool("python", f'exec {shlex.quote(sys.executable)} "$@"')
            self._tool("redis-cli", f'exec {shutil.which("redis-cli") or "/usr/bin/redis-cli"} -p {store} "$@"')
        return self._cluster

    def environment(self) -> dict[str, str]:
        env = self.cluster.environment({"TITAN_BY": ""})
        return {**env, "PATH": f"{self.tools}{os.pathsep}{env['PATH']}", "COLUMNS": "120"}

    def _tool(self, name: str, command: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{command}\n")
        (self.tools / name).chmod(0o755)

    def check_that_files_were_used(self, page: Path) -> None:
        """Raise BadPage for a saved file that no other block names, because it would never run."""
        for name, block in self._files.items():
            used_as = (name, f"from {Path(name).stem} import", f"import {Path(name).stem}\n")
            if not any(use in other.text for other in blocks(page) if other != block for use in used_as):
                raise BadPage(f"{block.place}: no other block uses {name}")


@contextmanager
def a_page_folder(base: Path, titan_socket: Path) -> Iterator[Reader]:
    with ExitStack() as stack:
        reader = Reader(base, stack, titan_socket)
        reader.folder.mkdir()
        shutil.copytree(ROOT / "examples", reader.folder / "examples", ignore=shutil.ignore_patterns(".titan", "__pycache__"))
        yield reader
