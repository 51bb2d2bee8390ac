"""Fill the tables of keys in docs/pipelines.md from the rows that read them, so that they cannot
differ.

python docs/make_job_table.py           # rewrites the tables between their marks
python docs/make_job_table.py --check   # exit code 1 if one is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

from tables import main, table

from titan.sdk.job import Job
from titan.sdk.pipeline_keys import ROOT_ROWS

PAGE = Path(__file__).parent / "pipelines.md"


def job_table() -> str:
    rows = [(f"`{row.key or name}`", row.doc) for name, row in Job.ROWS.items() if row.form is not None]
    return table(("key of a job", ""), rows)


def root_table() -> str:
    return table(("key of the pipeline", ""), [(f"`{key}`", row.doc) for key, row in ROOT_ROWS.items()])


if __name__ == "__main__":
    sys.exit(main(PAGE, {"ROOT": root_table(), "JOB": job_table()}))
