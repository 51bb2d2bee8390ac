"""Lists the modules and packages of a source folder and deals them into parts of about equal size.

    list_modules.py [PARTS]        default: 30

Reads the standard library of the Python that runs it, or the folder in CENSUS_SOURCE. Writes
parts/0.json and so on, one for each job that counts. There are always PARTS files, so a part may be
empty.
"""

from __future__ import annotations

import heapq
import json
import os
import sys
import sysconfig
from pathlib import Path

LEFT_OUT = {"__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "idle_test"}


def source_files(folder: Path) -> list[Path]:
    """Return the Python files below `folder`, without tests and caches."""
    found = []
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT and not Path(at, name).is_symlink())
        found += [Path(at, name) for name in sorted(files) if name.endswith(".py")]
    return found


def list_modules(source: Path) -> list[dict[str, object]]:
    """Return each top-level module or package: its name, its files relative to `source`, and their
    bytes."""
    modules = []
    for entry in sorted(source.iterdir()):
        if entry.name in LEFT_OUT or not entry.stem.isidentifier():
            # tests, caches, and folders such as config-3.11-x86_64-linux-gnu, which nobody can
            # import
            continue
        files = source_files(entry) if entry.is_dir() else [entry] if entry.suffix == ".py" else []
        if files:
            size = sum(file.stat().st_size for file in files)
            modules.append({"name": entry.stem, "files": [str(file.relative_to(source)) for file in files], "bytes": size})
    return modules


def deal(modules: list[dict[str, object]], parts: int) -> list[list[dict[str, object]]]:
    """Deal modules into parts, the largest first, each to the part with the fewest bytes so far."""
    dealt: list[list[dict[str, object]]] = [[] for _ in range(parts)]
    heap = [(0, i) for i in range(parts)]
    for module in sorted(modules, key=lambda module: (-int(str(module["bytes"])), str(module["name"]))):
        size, i = heapq.heappop(heap)
        dealt[i].append(module)
        heapq.heappush(heap, (size + int(str(module["bytes"])), i))
    return dealt


def main() -> None:
    parts = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    source = Path(os.environ.get("CENSUS_SOURCE") or sysconfig.get_paths()["stdlib"])
    folder = Path("parts")
    modules = list_modules(source)
    folder.mkdir(exist_ok=True)
    for number, part in enumerate(deal(modules, parts)):
        (folder / f"{number}.json").write_text(json.dumps({"source": str(source), "parts": parts, "modules": part}))
    size = sum(int(str(module["bytes"])) for module in modules)
    print(f"{len(modules)} modules and packages, {size / 1e6:.1f} MB of source, in {parts} parts")


if __name__ == "__main__":
    main()
