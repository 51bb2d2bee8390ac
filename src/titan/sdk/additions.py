"""Additions of a running job to its run: jobs, pipeline files, saved pipelines, a job per item."""

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
    """Add jobs to the run of the calling job, all or none. Return their ids.

    - Their `parents` may be jobs of the run: the calling job or others, over or not.
    - `before`: jobs of the run that wait for the added jobs from now on. None of these jobs may
      have been ready before.
    - `before_children`: the dependents of the calling job wait for the added jobs too.
    - If the calling job has a project, a relative `file` is a path in it. All other files are read
      here, at most 15 MiB each.
    - `key`: idempotency key within the calling job, valid across its attempts. Default: the ids.

    Raises InvalidGraph, Conflict, LimitExceeded; NotInJob outside of a job.
    """
    from titan.sdk.staging import stage

    identity = ask(msg.WhoAmI(0), msg.Identity)
    dag = DAG(identity.job, jobs, project="/" if identity.archive else None)
    staged = stage(dag, addition=True, archive=identity.archive)
    try:
        if staged.unresolved:
            raise InvalidGraph(f"file: perm:{staged.unresolved[0]}: an addition cannot use files of the master's perm_files/")
        for hash_ in _missing(list(staged.artifacts)):
            _put(hash_, staged.artifacts[hash_].read_bytes())
        names = [job if isinstance(job, str) else job.id for job in before]
        grow(ask, staged.spec, before=names, before_children=before_children, key=key)
    finally:
        staged.close()
    return staged.spec.ids


def submit_file(path: str, *, before: Iterable[str] = (), before_children: bool = False, key: str = "") -> list[str]:
    """Add the jobs of a pipeline file, or with ``-`` of stdin.

    The scripts that the file names lie beside it. If the pipeline file is in the folder of a job
    with a project, the scripts are taken from that project, as submitted. Otherwise they are read
    here. See `submit`. Raises InvalidPipeline.
    """
    from titan.sdk.pipeline import load_addition

    identity = ask(msg.WhoAmI(0), msg.Identity)
    root = _folder_of(identity, Path(path).absolute().parent) if identity.archive else None
    dag = load_addition(path, project=root is not None)
    jobs = dag.jobs
    if root is not None and dag.project is not None:
        inside = os.path.relpath(dag.project, root)
        jobs = tuple([_beside(inside, job) for job in jobs])
    return submit(*jobs, before=before, before_children=before_children, key=key)


def _folder_of(message: msg.Identity, inside: Path) -> Path | None:
    """Return the folder RUN/JOB.ATTEMPT of this attempt if it contains `inside`, else None."""
    folders = (inside, *inside.parents)
    return next((p for p in folders if p.name == f"{message.job}.{message.attempt}" and p.parent.name == message.run), None)


def _beside(folder: str, job: Job) -> Job:
    """Return the job with its file relative to the project. In `job` the file is relative to
    `folder` in the project."""
    file = job.file
    if file is None or os.path.isabs(file) or perm_name(file):
        return job
    return _changed_copy(job, file=os.path.join(folder, file))


def expand(
    job: Job, items: Iterable[Any] | int, *, join: Job | None = None, before_children: bool = False, key: str = ""
) -> list[str]:
    """Add a copy of `job` for each item, as ID[0], ID[1], ..., and `join`, which waits for them.

    An item is a string, a number, a path, or a mapping of names to such values. `items` may also be
    the number of copies. The placeholders ``${item}``, ``${item.KEY}`` and ``${index}`` are
    replaced in `args`. See `submit`.
    """
    if job.is_array:
        raise InvalidGraph.of(job.id, "foreach", "the job is already an array")
    item_list = items if isinstance(items, int) else list(items)
    if not item_list:
        return submit(join, before_children=before_children, key=key) if join is not None else []
    array = _changed_copy(job, foreach=foreach_of(item_list))
    more = [] if join is None else [_changed_copy(join, parents=(*join.parents, job.id))]
    return submit(array, *more, before_children=before_children, key=key)


def submit_saved(name: str, prefix: str = "", *, before_children: bool = False) -> list[str]:
    """Add the jobs of a saved pipeline, each as PREFIX.ID. See `submit`. Raises NotFound.

    `prefix` defaults to the pipeline's name.
    """
    spec = prefixed(saved(ask, name), prefix or name)
    grow(ask, spec, before_children=before_children)
    return spec.ids


def _changed_copy(job: Job, **fields: Any) -> Job:
    changed = copy.copy(job)
    for name, value in fields.items():
        object.__setattr__(changed, name, value)
    return changed


def _missing(hashes: list[str]) -> list[str]:
    return ask(msg.Stage(0, hashes, [0] * len(hashes)), msg.Staged).missing if hashes else []


def _put(hash_: str, data: bytes) -> None:
    if len(data) > MAX_FILE:
        raise LimitExceeded(f"a file of {len(data):,} bytes; the limit for a job that is added from a job is {MAX_FILE:,}")
    ask(msg.SendFile(0, "", len(data), hash_), msg.Stored, data)
