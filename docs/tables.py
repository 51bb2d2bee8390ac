"""Generated parts of Markdown pages: they stand between the marks `<!-- NAME -->` and `<!-- end
-->`.

Owns the marks and the command line of the scripts that make such parts. Each script owns what its
parts say.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table. Cells must not contain a `|` that is not escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fill(page: str, parts: Mapping[str, str]) -> str:
    """Return the page with each part between its marks. Raises ValueError unless each pair of marks
    is there once.

    >>> fill("<!-- A --><!-- end -->", {"A": "1"})
    '<!-- A -->\\n1\\n<!-- end -->'
    """
    for name, text in parts.items():
        block = f"<!-- {name} -->\n{text}\n<!-- end -->"
        page, count = re.subn(rf"<!-- {name} -->.*?<!-- end -->", lambda _, block=block: block, page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"the page has the mark {name} {count} times, not once")
    return page


def main(path: Path, parts: Mapping[str, str]) -> int:
    """Rewrite the page. With --check write nothing, and return 1 if the page is out of date."""
    page = path.read_text()
    filled = fill(page, parts)
    if "--check" in sys.argv[1:]:
        return int(filled != page)
    path.write_text(filled)
    return 0
