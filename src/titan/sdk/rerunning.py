"""DAGs that are submitted again: a part of one, and one with the files as they are now."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import msgspec

from titan.content.archive import build_archive
from titan.errors import CallerError, NotFound
from titan.model.dag import DagSpec, JobTemplate
from titan.model.job_results import references_of
from titan.sdk.pipeline import load_pipeline
from titan.sdk.staging import Scratch, StagedDag, stage

PIPELINES = (".yaml", ".yml")


def renewed(spec: DagSpec, run: str) -> StagedDag:
    """Return the DAG of `run` with its pipeline and files as they are now.

    - A pipeline is read again. Its group and deadline count; those that it lacks are the run's.
    - A script and the folder of `--project` are taken again, with the command and options of then.
    - A DAG without files of its own is returned as it is.

    Raises CallerError if the source is not known or not here, and the errors of a submission.
    """
    source = spec.source
    is_pipeline = source.endswith(PIPELINES)
    if not is_pipeline and not any(_travels(template) for template in spec.templates):
        return StagedDag(spec, [])
    if source and not os.path.exists(source):
        raise CallerError(
            f"{source}, from which run {run} was submitted, is not on this machine: call this command where it is,"
            " or leave --new-files out"
        )
    if not source or not (is_pipeline or os.path.isdir(source) or _is_script(spec, source)):
        raise CallerError(
            f"run {run} does not name the files to read again, because a program submitted it, it has values of --param,"
            " or its file holds several pipelines: submit it again there, or leave --new-files out"
        )
    if not is_pipeline:
        return _with_folder(spec, Path(source)) if os.path.isdir(source) else _with_script(spec, Path(source))
    staged = stage(load_pipeline(source))
    kept = {"group": staged.spec.group or spec.group, "deadline_s": staged.spec.deadline_s or spec.deadline_s}
    return dataclasses.replace(staged, spec=msgspec.structs.replace(staged.spec, **kept))


def _travels(template: JobTemplate) -> bool:
    return bool(template.file_hash or template.archive or template.function)


def _is_script(spec: DagSpec, source: str) -> bool:
    return len(spec.ids) == 1 and spec.templates[0].file == os.path.basename(source)


def _with_script(spec: DagSpec, script: Path) -> StagedDag:
    try:
        with script.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CallerError(f"{script}: cannot be read: {error.strerror}") from None
    template = msgspec.structs.replace(spec.templates[0], file_hash=digest)
    return StagedDag(msgspec.structs.replace(spec, templates=[template]), [], {digest: script})


def _with_folder(spec: DagSpec, folder: Path) -> StagedDag:
    scratch = Scratch()
    try:
        packed = build_archive(folder, scratch.path)
        for template in spec.templates:
            if template.archive and template.file and not (folder / template.file).is_file():
                raise CallerError(f"{folder / template.file}, which the run executes, is gone: leave --new-files out")
    except BaseException:
        scratch.close()
        raise
    templates = [msgspec.structs.replace(t, archive=packed.sha256) if t.archive else t for t in spec.templates]
    return StagedDag(msgspec.structs.replace(spec, templates=templates), [], {packed.sha256: packed.path}, scratch=scratch)


def from_job(spec: DagSpec, job: str) -> DagSpec:
    """Return the DAG of a job and of all jobs that depend on it.

    Dependencies on jobs that are left out are dropped. Raises NotFound, and CallerError if a job
    takes the result or the files of a job that is left out.

    >>> spec = DagSpec("d", "", [], ["a", "b", "c"], [0, 0, 0], [(), (), ()], [(), ("a",), ("b",)])
    >>> part = from_job(spec, "b")
    >>> part.ids, part.parents
    (['b', 'c'], [(), ('b',)])
    """
    if job not in spec.ids:
        raise NotFound(f"the run was submitted without a job {job[:128]!r}: name one of {', '.join(spec.ids[:5])}")
    children: dict[str, list[int]] = {}
    for position, parents in enumerate(spec.parents):
        for parent in parents:
            children.setdefault(parent, []).append(position)
    wanted, waiting = {spec.ids.index(job)}, [job]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in wanted:
                wanted.add(child)
                waiting.append(spec.ids[child])
    kept = sorted(wanted)
    names = {spec.ids[position] for position in kept}
    for position in kept:
        template = spec.templates[spec.template_of[position]]
        missing = [parent for parent in spec.parents[position] if parent not in names]
        files = [source for _, source, _ in template.inputs if source.partition("[")[0] not in {n.partition("[")[0] for n in names}]
        results = missing if template.function else []
        if template.fills_results and missing:
            results = [r.job for r in references_of(template, spec.args[position], dict.fromkeys(missing))]
        if files or results:
            source = (files or results)[0]
            raise CallerError(
                f"job {spec.ids[position]!r} needs the {'files' if files else 'result'} of {source!r}, which would not run again:"
                " rerun that job, or the whole run"
            )
    return msgspec.structs.replace(
        spec,
        ids=[spec.ids[position] for position in kept],
        template_of=[spec.template_of[position] for position in kept],
        args=[spec.args[position] for position in kept],
        parents=[tuple([parent for parent in spec.parents[position] if parent in names]) for position in kept],
        payloads=[spec.payloads[position] for position in kept] if spec.payloads else [],
    )
