"""Fill the table of a job's keys in docs/pipelines.md from the fields of `titan.Job`, so that they
cannot differ.

python docs/make_job_table.py           # rewrites the table between its marks
python docs/make_job_table.py --check   # exit code 1 if it is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

from tables import main, table

from titan.sdk.job import Job

PAGE = Path(__file__).parent / "pipelines.md"


def job_table() -> str:
    rows = [(f"`{row.key or name}`", row.doc) for name, row in Job.ROWS.items() if row.form is not None]
    return table(("key of a job", ""), rows)


if __name__ == "__main__":
    sys.exit(main(PAGE, {"JOB": job_table()}))
