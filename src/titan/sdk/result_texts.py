"""Results of other jobs in `args`, `env` and `command` of a job: which jobs the texts name.

`titan.model.job_results` has the syntax. A job depends on the jobs that its texts name.
"""

from __future__ import annotations

from collections.abc import Iterator

from titan.model.job_results import has_placeholder, may_be_of_shell, words_in
from titan.sdk.job import Job


def texts_of(job: Job) -> Iterator[tuple[str, str]]:
    """Yield (field, text) of each text that may name results."""
    for text in job.args:
        yield "args", text
    for _, text in job.env:
        yield "env", text
    for text in (job.command,) if isinstance(job.command, str) else job.command or ():
        yield "command", text


def takes_results(job: Job) -> bool:
    return any(".result" in text and has_placeholder(text) for _, text in texts_of(job))


def named_results(job: Job) -> Iterator[tuple[str, str, str]]:
    """Yield (field, job, placeholder) of each result that the texts name. The job of an array may
    depend on the item."""
    for field, text in texts_of(job):
        for name, placeholder in words_in(text) if ".result" in text else ():
            yield field, name, placeholder


def is_left_to_shell(job: Job, field: str, placeholder: str) -> bool:
    """Return True if the placeholder of an unknown job means something to the shell."""
    return field == "command" and isinstance(job.command, str) and may_be_of_shell(placeholder)
