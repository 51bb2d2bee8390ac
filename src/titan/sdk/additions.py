"""What a running job adds to its run: jobs, the jobs of a pipeline file or of a saved pipeline, or
one for each of some items."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from titan.errors import InvalidGraph, LimitExceeded
from titan.net.job_link import ask
from titan.protocol import messages as msg
from titan.sdk.arrays import foreach_of
from titan.sdk.fields import perm_name
from titan.sdk.growing import grow, prefixed, saved
from titan.sdk.job import DAG, Job
from titan.sdk.tasks import TaskCall

MAX_FILE = 15 << 20


def submit(
    *jobs: Job | TaskCall[Any],
    before: Iterable[str | Job] = (),
    before_children: bool = False,
    key: str = "",
) -> list[str]:
    """Adds jobs to the run of the job that calls this, all or none; returns their ids.

    - Their `parents` may be jobs of the run: the job itself, or others, over or not.
    - `before`: jobs of the run that wait for the addition from now on. They must not have been
      ready yet. `before_children`: so do the jobs that depend on this one.
    - A relative `file` is one of the project, if this job is of one; else, and with an absolute
      path, it is read here, at most 15 MiB.
    - `key`: an addition of the same job with the same key is made once, also by a later attempt.
      Default: the ids.

    Raises InvalidGraph, Conflict, LimitExceeded; NotInJob outside of a job.
    """
    from titan.sdk.staging import stage

    it = ask(msg.WhoAmI(0), msg.Identity)
    dag = DAG(it.job, jobs, project="/" if it.archive else None)
    staged = stage(dag, addition=True, archive=it.archive)
    try:
        if staged.unresolved:
            raise InvalidGraph(f"file: perm:{staged.unresolved[0]}: files of the master cannot be named in an addition")
        for hash_ in _lacking(list(staged.artifacts)):
            _put(hash_, staged.artifacts[hash_].read_bytes())
        names = [job if isinstance(job, str) else job.id for job in before]
        grow(ask, staged.spec, before=names, before_children=before_children, key=key)
    finally:
        staged.close()
    return staged.spec.ids


def submit_file(path: str, *, before: Iterable[str] = (), before_children: bool = False, key: str = "") -> list[str]:
    """Adds the jobs of a pipeline file, or with ``-`` of stdin, whose files lie beside it.

    In the folder of a job that has a project they are those of the project, as it was submitted;
    else they are read here. See `submit`. Raises InvalidPipeline.
    """
    from titan.sdk.pipeline import load_addition

    it = ask(msg.WhoAmI(0), msg.Identity)
    root = _folder_of(it, Path(path).absolute().parent) if it.archive else None
    dag = load_addition(path, project=root is not None)
    jobs = dag.jobs
    if root is not None and dag.project is not None:
        inside = os.path.relpath(dag.project, root)
        jobs = tuple([_beside(inside, job) for job in jobs])
    return submit(*jobs, before=before, before_children=before_children, key=key)


def _folder_of(message: msg.Identity, inside: Path) -> Path | None:
    """The folder of this attempt, RUN/JOB.ATTEMPT, if `inside` lies in it."""
    folders = (inside, *inside.parents)
    return next((p for p in folders if p.name == f"{message.job}.{message.attempt}" and p.parent.name == message.run), None)


def _beside(folder: str, job: Job) -> Job:
    """A job whose file is named from this folder of its project, as one whose file is named from
    the project."""
    file = job.file
    if file is None or os.path.isabs(file) or perm_name(file):
        return job
    return _remade(job, file=os.path.join(folder, file))


def expand(
    job: Job, items: Iterable[Any] | int, *, join: Job | None = None, before_children: bool = False, key: str = ""
) -> list[str]:
    """Adds a job like `job` for each item (a string, number, path, or a mapping of names to such),
    as ID[0], ID[1], ..., and `join`, which waits for them all. In `args` ``${item}``,
    ``${item.KEY}`` and ``${index}`` stand for what differs.

    See `submit`.
    """
    if job.is_array:
        raise InvalidGraph.of(job.id, "foreach", "it is an array already")
    given = items if isinstance(items, int) else list(items)
    if not given:
        return submit(join, before_children=before_children, key=key) if join is not None else []
    many = _remade(job, foreach=foreach_of(given))
    more = [] if join is None else [_remade(join, parents=(*join.parents, job.id))]
    return submit(many, *more, before_children=before_children, key=key)


def submit_saved(name: str, prefix: str = "", *, before_children: bool = False) -> list[str]:
    """Adds the jobs of a saved pipeline, each as PREFIX.ID (default: the pipeline's name). See
    `submit`. Raises NotFound."""
    spec = prefixed(saved(ask, name), prefix or name)
    grow(ask, spec, before_children=before_children)
    return spec.ids


def _remade(job: Job, **fields: Any) -> Job:
    made = copy.copy(job)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def _lacking(hashes: list[str]) -> list[str]:
    return ask(msg.Stage(0, hashes, [0] * len(hashes)), msg.Staged).missing if hashes else []


def _put(hash_: str, data: bytes) -> None:
    if len(data) > MAX_FILE:
        raise LimitExceeded(f"a file of {len(data):,} bytes; one that a job adds a job with takes at most {MAX_FILE:,}")
    ask(msg.SendFile(0, "", len(data), hash_), msg.Stored, data)
