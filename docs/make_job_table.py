"""Fills the table of a job's keys in README.md from the fields of `titan.Job`, so that they cannot differ.

python docs/make_job_table.py           # rewrites the table between its marks
python docs/make_job_table.py --check   # exit code 1 if it is not up to date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from titan.sdk.job import Job

PAGE = Path(__file__).parents[1] / "README.md"


def job_table() -> str:
    lines = ["| key of a job | |", "| --- | --- |"]
    lines += [f"| `{row.key or name}` | {row.doc} |" for name, row in Job.ROWS.items() if row.form is not None]
    return "\n".join(lines)


def fill(page: str) -> str:
    block = f"<!-- JOB -->\n{job_table()}\n<!-- end -->"
    page, count = re.subn(r"<!-- JOB -->.*?<!-- end -->", lambda _: block, page, flags=re.DOTALL)
    assert count == 1
    return page


def main() -> int:
    page = PAGE.read_text()
    filled = fill(page)
    if "--check" in sys.argv:
        return int(filled != page)
    PAGE.write_text(filled)
    return 0


if __name__ == "__main__":
    sys.exit(main())
