"""Keys of a pipeline file: those of its root and those of a job.

`titan.sdk.job.Job` defines the keys of a job. The reader of files, the JSON
Schema and the tables of the docs are made from these rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from titan.sdk.field_table import Form, Row
from titan.sdk.fields import DAG_FIELDS
from titan.sdk.job import ROW_OF_KEY, Job

ROOT_ROWS: Final[Mapping[str, Row]] = {
    "name": Row("Required; 1 to 256 printable characters.", DAG_FIELDS["name"], form=Form.TEXT),
    "description": Row(
        "What the pipeline is for, up to 4,096 characters. `titan graph` shows it.", DAG_FIELDS["description"], form=Form.TEXT
    ),
    "jobs": Row("Required: the list of jobs."),
    "params": Row(
        "[Parameters](#set-values-for-each-run): a mapping of names to defaults, or to mappings with `type`, `default`, "
        "`required`, `choices` and `help`. At most 256."
    ),
    "env": Row("Variables of all jobs: a mapping of names to values. A job's `env` adds to them.", form=Form.ENV),
    "defaults": Row("Values of jobs that do not set the key, [where a job can have it](#share-settings-between-jobs)."),
    "project": Row(
        "True (default): the pipeline's folder travels as one archive, and each job runs in its own unpacked copy. "
        "False: single files travel.",
        form=Form.BOOLEAN,
    ),
    "deadline": Row(
        "Seconds after the submission. Jobs that are not over by then are cancelled.", DAG_FIELDS["deadline"], form=Form.SECONDS
    ),
    "version": Row("Any text up to 256 characters; `titan status` shows it.", DAG_FIELDS["version"], form=Form.TEXT),
    "agent_run_id": Row(
        "Any text for runs that belong together: `titan runs --group`.", DAG_FIELDS["agent_run_id"], form=Form.TEXT
    ),
    "python": Row("The `python` of jobs that do not set one.", form=Form.PATH, aliases=Job.ROWS["python"].aliases),
}
"""Key at the root of a pipeline -> its definition. `form` is None if the key has a syntax of its
own."""
ROOT_KEYS: Final = tuple(ROOT_ROWS)
ROOT_SYNONYMS: Final = {alias: key for key, row in ROOT_ROWS.items() for alias in row.aliases}
JOB_KEYS: Final = tuple(ROW_OF_KEY)
JOB_SYNONYMS: Final = {alias: key for key, row in ROW_OF_KEY.items() for alias in row.aliases}
IGNORED: Final = "x-"
"""Prefix of keys at the root that are ignored."""
AS_DEFAULTS: Final = ("python", "env")
"""Keys at the root that are defaults of jobs."""
