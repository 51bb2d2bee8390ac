"""Part of a DAG that is submitted again: a job and the jobs that depend on it."""

from __future__ import annotations

import msgspec

from titan.errors import CallerError, NotFound
from titan.model.dag import DagSpec


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
        if files or (template.function and missing):
            source = (files or missing)[0]
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
