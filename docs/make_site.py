"""Build the site of README, docs and the pages that they link to into build/site. A broken link or
anchor is an error.

python docs/make_site.py

MkDocs takes one folder of pages, and ours lie at the root, in docs/, examples/ and benchmarks/.
They are copied to build/site-source in the same layout, with every file that one of them links to.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "build" / "site-source"
FIRST = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def linked_files() -> list[Path]:
    """Return the pages of the site and the files that they link to, directly or through others,
    each once."""
    found = dict.fromkeys([*(ROOT / name for name in FIRST), *sorted((ROOT / "docs").glob("*.md"))])
    waiting = list(found)
    while waiting:
        page = waiting.pop()
        if page.suffix != ".md":
            continue
        for target in _LINK.findall(_CODE.sub("", page.read_text())):
            file = (page.parent / target).resolve()
            if "://" not in target and file.is_file() and file.is_relative_to(ROOT) and file not in found:
                found[file] = None
                waiting.append(file)
    return list(found)


def main() -> int:
    shutil.rmtree(SOURCE, ignore_errors=True)
    for file in linked_files():
        copy = SOURCE / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "--config-file", str(ROOT / "mkdocs.yml")]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
