"""Validation of DAGs, with an error message for each rule.

The SDK calls `resolve` before it sends a DAG, so that a user sees the error at once. The master
calls `resolve` for each DAG that it receives, because a client may not have checked. A DAG is
rejected as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Protocol

from titan.errors import InvalidGraph
from titan.model import dag as limits
from titan.model.caching import cache_problem
from titan.model.conditions import check_condition
from titan.model.dag import DagSpec, JobTemplate, Kind, Needs
from titan.model.demand import MAX_CAPABILITIES, MAX_GPUS
from titan.model.drivers import driver_problem
from titan.model.environment import own_problem
from titan.model.failure import template_problem
from titan.model.files import SCRIPT_FOLDER, files_problem, folder_problem
from titan.model.job_inputs import check_inputs
from titan.model.job_results import check_results
from titan.model.names import CAPABILITY_RULE, MAX_NAME, NAME_RULE, is_capability, match_name
from titan.model.parallel import parallel_problem
from titan.model.secrets import secrets_problem
from titan.model.services import service_problem
from titan.model.sizes import format_size
from titan.model.timing import MAX_TIME

MAX_GROUP = 256


def resolve(dag: DagSpec) -> list[tuple[int, ...]]:
    """Return the parents of each job as positions in `dag.ids`, without repeats.

    Raises InvalidGraph with the job and the reason.
    """
    parents = _resolve(dag, lambda _: None, 0)
    _check_named_parents(dag, dag.templates, parents, lambda p: (dag.ids[p], dag.templates[dag.template_of[p]]))
    cycle = find_cycle(parents)
    if cycle:
        path = " -> ".join(dag.ids[i] for i in [*cycle, cycle[0]])
        raise InvalidGraph(f"the jobs depend on each other in a cycle: {path}", dag.ids[cycle[0]])
    return parents


def resolve_addition(
    dag: DagSpec, known: Callable[[str], int | None], job_at: Callable[[int], tuple[str, JobTemplate]], count: int
) -> list[tuple[int, ...]]:
    """Return the parents of jobs that are added to a run of `count` jobs, as positions in that run.

    `known` maps a job id of the run to its position. `job_at` returns the id and template at a
    position. Raises InvalidGraph. This function does not look for cycles.
    """
    for name in dag.ids:
        if known(name) is not None:
            raise InvalidGraph(f"the run has a job {name!r} already; ids must be unique within a run", name)
    parents = _resolve(dag, known, count)

    def parent(position: int) -> tuple[str, JobTemplate]:
        own = position - count
        return job_at(position) if own < 0 else (dag.ids[own], dag.templates[dag.template_of[own]])

    _check_named_parents(dag, dag.templates, parents, parent)
    return parents


def _resolve(dag: DagSpec, known: Callable[[str], int | None], offset: int) -> list[tuple[int, ...]]:
    check_head(dag.name, dag.templates, len(dag.ids), dag.deadline_s, dag.group, dag.version, dag.source)
    if len(dag.parents) != len(dag.ids):
        raise InvalidGraph("the columns of the DAG differ in length")
    _check_columns(dag, len(dag.templates))
    position: dict[str, int] = {}
    for i, name in enumerate(dag.ids):
        _check_id(name)
        if position.setdefault(name, offset + i) != offset + i:
            raise _repeated(name)
    parents: list[tuple[int, ...]] = []
    for i, names in enumerate(dag.parents):
        if not names:
            parents.append(())
            continue
        found = []
        for name in dict.fromkeys(names):
            at = position.get(name)
            if at is None:
                at = known(name)
            if at is None:
                where = "this DAG" if not offset else "this addition or its run"
                raise InvalidGraph(f"job {dag.ids[i]!r} depends on {name!r}, which is no job of {where}", dag.ids[i])
            if at == offset + i:
                raise InvalidGraph(f"job {name!r} depends on itself", name)
            found.append(at)
        parents.append(tuple(found))
    _check_handlers(dag.ids, dag.template_of, dag.templates, parents)
    return parents


def find_cycle(parents: Sequence[Sequence[int]]) -> list[int]:
    """Return a cycle as positions; [] if there is none. O(jobs + edges).

    Each job is a parent of the next one, and the last is a parent of the first.
    """
    count = len(parents)
    missing = [len(p) for p in parents]
    if not any(missing):
        return []
    children: list[list[int]] = [[] for _ in range(count)]
    for child, ps in enumerate(parents):
        for p in ps:
            children[p].append(child)
    ready = [i for i in range(count) if not missing[i]]
    done = 0
    while ready:
        i = ready.pop()
        done += 1
        for child in children[i]:
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    if done == count:
        return []
    # Each remaining job has a remaining parent: walk up until a job repeats.
    at = next(i for i in range(count) if missing[i])
    place_in_walk: dict[int, int] = {}
    walk: list[int] = []
    while at not in place_in_walk:
        place_in_walk[at] = len(walk)
        walk.append(at)
        at = next(p for p in parents[at] if missing[p])
    return list(reversed(walk[place_in_walk[at] :]))


class Part(Protocol):
    """Part of a DAG's jobs, in columns."""

    @property
    def ids(self) -> list[str]: ...
    @property
    def template_of(self) -> list[int]: ...
    @property
    def args(self) -> list[tuple[str, ...]]: ...
    @property
    def payloads(self) -> list[bytes]: ...


class ResolvedPart(Part, Protocol):
    @property
    def position(self) -> int: ...
    @property
    def parents(self) -> list[tuple[int, ...]]: ...


def check_head(
    name: str,
    templates: list[JobTemplate],
    count: int,
    deadline_s: float = 0.0,
    group: str = "",
    version: str = "",
    source: str = "",
) -> None:
    """Raise InvalidGraph for problems that can be found before the jobs of a DAG arrive."""
    if not name or len(name) > 256 or not name.isprintable():
        raise InvalidGraph("a DAG's name is 1 to 256 printable characters")
    if count <= 0:
        raise InvalidGraph(f"DAG {name!r} has no jobs")
    if count > limits.MAX_JOBS:
        raise InvalidGraph(f"DAG {name!r} has {count:,} jobs; the limit is {limits.MAX_JOBS:,}: split it")
    if not 0 <= deadline_s <= limits.MAX_SECONDS:  # also false for NaN
        raise InvalidGraph(f"DAG {name!r}: deadline must be 0 to {limits.MAX_SECONDS:,.0f} seconds")
    if len(group) > MAX_GROUP or not group.isprintable():
        raise InvalidGraph(f"DAG {name!r}: agent_run_id is at most {MAX_GROUP} printable characters")
    if len(version) > limits.MAX_VERSION or not version.isprintable():
        raise InvalidGraph(f"DAG {name!r}: version is at most {limits.MAX_VERSION} printable characters")
    if len(source) > limits.MAX_SOURCE or not source.isprintable():
        raise InvalidGraph(f"DAG {name!r}: source is at most {limits.MAX_SOURCE:,} printable characters")
    for template in templates:
        _check_template(template)


def check_part(
    part: ResolvedPart,
    *,
    expected: int,
    count: int,
    templates: list[JobTemplate],
    known: Set[str],
    job_at: Callable[[int], tuple[str, JobTemplate]],
) -> None:
    """Raise InvalidGraph unless `part` continues a DAG of `count` jobs.

    The first `expected` jobs have arrived and have the ids `known`. `job_at(position)` returns the
    id and template of one of them.
    """
    if part.position != expected:
        raise InvalidGraph(f"a part begins at job {part.position:,}, but {expected:,} jobs have arrived: send parts in order")
    if not part.ids or expected + len(part.ids) > count:
        raise InvalidGraph(f"a part of {len(part.ids):,} jobs after {expected:,}, but the DAG was announced with {count:,} jobs")
    if len(part.parents) != len(part.ids):
        raise InvalidGraph("the columns of the DAG differ in length")
    for name in part.ids:
        _check_id(name)
    if len(set(part.ids)) < len(part.ids) or not known.isdisjoint(part.ids):
        earlier = dict.fromkeys(known)
        name = next(n for n in part.ids if n in earlier or earlier.setdefault(n))
        raise _repeated(name)
    _check_columns(part, len(templates))
    _check_handlers(part.ids, part.template_of, templates, part.parents)
    for i, (name, parents) in enumerate(zip(part.ids, part.parents, strict=True), expected):
        if parents and not (min(parents) >= 0 and max(parents) < i and len(set(parents)) == len(parents)):
            raise InvalidGraph(f"job {name!r}: parents must be distinct positions before the job's own", name)

    def parent(p: int) -> tuple[str, JobTemplate]:
        return job_at(p) if p < expected else (part.ids[p - expected], templates[part.template_of[p - expected]])

    _check_named_parents(part, templates, part.parents, parent)


def _check_named_parents(
    part: Part, templates: list[JobTemplate], parents: Sequence[tuple[int, ...]], parent: Callable[[int], tuple[str, JobTemplate]]
) -> None:
    names_parents = [bool(t.inputs or t.condition or t.fills_results) for t in templates]
    if any(names_parents):
        for name, template, args, ps in zip(part.ids, part.template_of, part.args, parents, strict=True):
            if names_parents[template]:
                check_inputs(name, templates[template], ps, parent)
                check_condition(name, templates[template], ps, parent)
                check_results(name, templates[template], args, ps, parent)


def _check_id(name: str) -> None:
    if match_name(name) is None:
        raise InvalidGraph(f"job id {name[: MAX_NAME + 8]!r} is malformed: an id is {NAME_RULE}", name[:MAX_NAME])


def _check_handlers(ids: list[str], template_of: list[int], templates: list[JobTemplate], parents: Sequence[Sequence[int]]) -> None:
    """Raise InvalidGraph for a failure handler without parents."""
    handlers = [t.kind == Kind.HANDLER for t in templates]
    if any(handlers):
        for name, template, ps in zip(ids, template_of, parents, strict=True):
            if handlers[template] and not ps:
                raise InvalidGraph(
                    f"job {name!r} is a handler that no job names, so it would never run: name it in a job's on_failure", name
                )


def _repeated(name: str) -> InvalidGraph:
    return InvalidGraph(f"job id {name!r} is used twice; ids must be unique within a DAG", name)


def _check_columns(dag: Part, templates: int) -> None:
    count = len(dag.ids)
    if not (len(dag.template_of) == len(dag.args) == count):
        raise InvalidGraph("the columns of the DAG differ in length")
    if dag.payloads:
        if len(dag.payloads) != count:
            raise InvalidGraph("the columns of the DAG differ in length")
        for name, payload in zip(dag.ids, dag.payloads, strict=True):
            if len(payload) > limits.MAX_PAYLOAD_BYTES:
                raise InvalidGraph(f"the arguments of job {name!r} exceed {limits.MAX_PAYLOAD_BYTES:,} bytes: pass a file", name)
    if min(dag.template_of) < 0 or max(dag.template_of) >= templates:
        raise InvalidGraph("a job names a template that does not exist")
    for name, args in zip(dag.ids, dag.args, strict=True):
        if args:
            if sum(map(len, args)) > limits.MAX_ARGS_BYTES:
                raise InvalidGraph(f"the arguments of job {name!r} exceed {limits.MAX_ARGS_BYTES:,} characters: pass a file", name)
            if any("\0" in a for a in args):
                raise InvalidGraph(f"an argument of job {name!r} holds a NUL character", name)


def _check_template(t: JobTemplate) -> None:
    program = t.file or t.command or " ".join(t.argv) or "?"
    where = f"job specification {program[:80]!r}"
    if (size := limits.template_size(t)) > limits.MAX_TEMPLATE_BYTES:
        raise InvalidGraph(f"{where}: {size:,} characters in all; the limit is {limits.MAX_TEMPLATE_BYTES:,}: pass a file")
    if len(t.file_hash) > MAX_NAME or len(t.archive) > MAX_NAME or len(t.function) > MAX_NAME:
        raise InvalidGraph(f"{where}: a content hash is longer than {MAX_NAME} characters")
    if problem := template_problem(t):
        raise InvalidGraph(f"{where}: {problem}")
    if problem := files_problem(t):
        raise InvalidGraph(f"{where}: {problem}")
    if bool(t.file) + bool(t.command) + bool(t.argv) + bool(t.function) != (t.kind != Kind.GATE):
        raise InvalidGraph(f"{where}: give exactly one of file and command")
    if problem := driver_problem(t):
        raise InvalidGraph(f"{where}: {problem}")
    for field, find in (("cwd", cwd_problem), ("stdin", stdin_problem), ("log_limit", log_limit_problem)):
        if getattr(t, field) and (problem := find(t)):
            raise InvalidGraph(f"{where}: {field}: {problem}")
    if "\0" in t.python:
        raise InvalidGraph(f"{where}: python: holds a NUL character")
    if t.file and (problem := _file_problem(t)):
        raise InvalidGraph(f"{where}: {problem}")
    if "\0" in t.command or any("\0" in a for a in t.argv) or any("\0" in k + v or "=" in k or not k for k, v in t.env):
        raise InvalidGraph(f"{where}: a NUL character, or an environment name that is empty or holds '='")
    if problem := own_problem([name for name, _ in t.env]):
        raise InvalidGraph(f"{where}: env: {problem}")
    if not is_capability(t.requirement):
        raise InvalidGraph(f"{where}: requirement {t.requirement[:80]!r} is malformed: a capability is {CAPABILITY_RULE}")
    if t.needs is not None:
        _check_needs(where, t.needs)
    if not 0 <= t.retries <= limits.MAX_RETRIES:
        raise InvalidGraph(f"{where}: retries must be 0 to {limits.MAX_RETRIES}")
    if not -limits.MAX_PRIORITY <= t.priority <= limits.MAX_PRIORITY:
        raise InvalidGraph(f"{where}: priority must be within +-{limits.MAX_PRIORITY:,}")
    if t.limits is not None:
        _check_limits(where, t, t.limits)
    if problem := service_problem(t) or secrets_problem(t) or cache_problem(t) or parallel_problem(t):
        raise InvalidGraph(f"{where}: {problem}")
    for field, seconds in (("delay", t.delay_s), ("timeout", t.timeout_s)):
        if not 0 <= seconds <= limits.MAX_SECONDS:  # also false for NaN
            raise InvalidGraph(f"{where}: {field} must be 0 to {limits.MAX_SECONDS:,.0f} seconds")
    if not 0 <= t.run_at <= MAX_TIME:
        raise InvalidGraph(f"{where}: run_at must be a time between the years 1970 and 9999")


def _file_problem(t: JobTemplate) -> str:
    """Return why a template cannot have its file; "" if it can."""
    if bool(t.file_hash) == bool(t.archive):
        return "a file is either staged by hash or part of a project archive"
    if t.file_hash and ("/" in t.file or t.file in (".", "..")):
        return "a staged file has a plain name, without folders"
    if t.file.startswith("/") or ".." in t.file.split("/") or "\0" in t.file:
        return "the path of a file must stay inside its project"
    return ""


def cwd_problem(t: JobTemplate) -> str:
    """Return why a template cannot have its working directory; "" if it can."""
    if t.function or t.kind == Kind.GATE:
        return "only a file, a command or a service has one"
    if t.outputs or t.inputs:
        return "outputs and inputs lie in the job's own folder: remove them, or remove cwd"
    if t.cwd == SCRIPT_FOLDER and not t.file:
        return "a command has no script: give the path of a folder"
    return folder_problem(t.cwd)


def stdin_problem(t: JobTemplate) -> str:
    """Return why a template cannot have its standard input; "" if it can."""
    if t.function or t.service is not None or t.kind == Kind.GATE:
        return "only a file or a command has one"
    if t.stdin.startswith("/"):
        return folder_problem(t.stdin) if t.cwd else "a path on the worker needs cwd"
    return f"a content hash is longer than {MAX_NAME} characters" if len(t.stdin) > MAX_NAME else ""


def log_limit_problem(t: JobTemplate) -> str:
    """Return why a template cannot have its log limit; "" if it can."""
    if t.function or t.kind == Kind.GATE:
        return "only a file, a command or a service has one"
    if not limits.MIN_LOG <= t.log_limit <= limits.MAX_LOG:
        return f"must be {format_size(limits.MIN_LOG)} to {format_size(limits.MAX_LOG)}"
    return ""


def _check_limits(where: str, t: JobTemplate, amounts: limits.Limits) -> None:
    if t.function:
        raise InvalidGraph(f"{where}: limits: a call shares its process with others and cannot have limits: make it a file")
    if amounts.memory and not limits.MIN_MEMORY <= amounts.memory <= limits.MAX_MEMORY:
        raise InvalidGraph(f"{where}: limits: memory must be {format_size(limits.MIN_MEMORY)} to {format_size(limits.MAX_MEMORY)}")
    # also false for NaN
    if amounts.cpus and not limits.MIN_CPUS <= amounts.cpus <= limits.MAX_CPUS:
        raise InvalidGraph(f"{where}: limits: cpus must be {limits.MIN_CPUS:g} to {limits.MAX_CPUS:,g}")
    if not 0 <= amounts.processes <= limits.MAX_PROCESSES:
        raise InvalidGraph(f"{where}: limits: processes must be 1 to {limits.MAX_PROCESSES:,}")


def _check_needs(where: str, needs: Needs) -> None:
    if len(needs.capabilities) >= MAX_CAPABILITIES:
        raise InvalidGraph(f"{where}: requirement: at most {MAX_CAPABILITIES} capabilities")
    for capability in needs.capabilities:
        if not is_capability(capability):
            raise InvalidGraph(f"{where}: requirement {capability[:80]!r} is malformed: a capability is {CAPABILITY_RULE}")
    for field, value, most in (
        ("cpus", needs.cpus, limits.MAX_CPUS),
        ("memory", needs.memory, limits.MAX_MEMORY),
        ("gpus", needs.gpus, MAX_GPUS),
    ):
        if not 0 <= value <= most:  # also false for NaN
            raise InvalidGraph(f"{where}: {field} must be 0 to {most:,.0f}")
