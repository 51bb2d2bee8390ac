"""`xargs -P2 -n1`: what a shell does without an orchestrator. It has no folders, logs or retries,
and nothing is durable."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.compare.peer import SLOTS, Peer


class Xargs(Peer):
    title = f"xargs -P{SLOTS} -n1"

    @classmethod
    def absent(cls) -> str:
        return "" if shutil.which("xargs") else "there is no xargs here"

    @classmethod
    def version(cls) -> str:
        said = subprocess.run(["xargs", "--version"], capture_output=True, text=True, check=False).stdout
        return said.partition("\n")[0].removeprefix("xargs ") or "?"

    def scripts(self, script: Path, count: int) -> None:
        _xargs(sys.executable, [str(script)] * count)

    def processes(self, count: int) -> None:
        _xargs("true", [str(i) for i in range(count)])

    def script(self, script: Path) -> None:
        _xargs(sys.executable, [str(script)])


def _xargs(command: str, words: list[str]) -> None:
    subprocess.run(["xargs", f"-P{SLOTS}", "-n1", command], input="\n".join(words).encode(), check=True)
