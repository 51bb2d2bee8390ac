"""Staging: a `DAG` becomes the columns of a `DagSpec`, and its jobs' files by content hash.

Jobs of one shape share a template. A file is read and hashed once, however many jobs run it. Reads
files, but does not know connections: the client uploads `artifacts` and asks the master for
`unresolved` names.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from titan.content.archive import IGNORE_FILE, Survey, build_archive, survey
from titan.errors import InvalidGraph
from titan.host.temporary_folder import TemporaryFolder
from titan.model import graph
from titan.model.conditions import parse
from titan.model.dag import ALWAYS, ENDED, DagSpec, Gate, JobTemplate, Kind
from titan.model.drivers import named_in_template
from titan.model.job_inputs import array_of_source, is_member
from titan.model.job_results import words_in
from titan.sdk import growing, wiring
from titan.sdk.arrays import member, parallel_of
from titan.sdk.failure_fields import Type, retry_of
from titan.sdk.fields import PERM, perm_name
from titan.sdk.functions import Function
from titan.sdk.job import DAG, Job
from titan.sdk.needs import main_capability, needs_of
from titan.sdk.result_texts import takes_results, texts_of
from titan.sdk.services import unknown_service
from titan.sdk.tasks import TaskCall, template_of_task

MAX_EDGES = 10_000_000


class Scratch:
    """Temporary folder.

    It is removed by `close`, when nothing refers to this object any more, or at exit.
    """

    def __init__(self) -> None:
        folder = TemporaryFolder()
        self.path = folder.path
        self.close = weakref.finalize(self, folder.close)


@dataclass(frozen=True)
class StagedDag:
    """A DAG that is ready to be sent.

    - `parents`: the parents of `spec`, as positions in it.
    - `artifacts`: SHA-256 in hex -> file with that content. The master knows the content by its
      hash. The files exist until `close`, or until nothing refers to this object.
    - `unresolved`: names in perm_files/ whose hashes only the master knows. Until `resolve`, their
      templates have ``perm:NAME`` as the hash.
    """

    spec: DagSpec
    parents: list[tuple[int, ...]]
    artifacts: dict[str, Path] = field(default_factory=dict)
    unresolved: tuple[str, ...] = ()
    scratch: Scratch | None = None

    def resolve(self, hashes: Mapping[str, str]) -> StagedDag:
        """Return this DAG with the hash of each name in `unresolved`.

        Raises InvalidGraph if `hashes` lacks a name.
        """
        templates = []
        for i, template in enumerate(self.spec.templates):
            name = perm_name(template.file_hash)
            if name and name not in hashes:
                job = self.spec.ids[self.spec.template_of.index(i)]
                raise InvalidGraph(f"job {job!r}: file: the master has no {name!r} in perm_files/: put the file there", job)
            templates.append(msgspec.structs.replace(template, file_hash=hashes[name]) if name else template)
        return replace(self, spec=msgspec.structs.replace(self.spec, templates=templates), unresolved=())

    def close(self) -> None:
        """Remove the archive. May be called twice."""
        if self.scratch is not None:
            self.scratch.close()


def stage(dag: DAG, *, addition: bool = False, archive: str = "", gate_id: Callable[[str], str] = wiring.gate_id) -> StagedDag:
    """Check the files and the graph, and build the archive of the project.

    - `addition`: parents may be jobs of the existing run, which only the master knows.
    - `archive`: hash of a project that is already on the master, so its files are not checked.
    - `gate_id`: function that names the gate after a job.

    Raises InvalidGraph, which names the job, in these cases:

    - an unknown or repeated id, or a cycle;
    - a file that is missing, unreadable, not regular, or outside of its project.

    Raises LimitExceeded for a project over 2 GiB.

    >>> jobs = [Job(f"job-{i}", command="echo $1", args=(i,)) for i in range(1000)]
    >>> staged = stage(DAG("many", jobs))
    >>> len(staged.spec.ids), len(staged.spec.templates), staged.artifacts
    (1000, 1, {})
    """
    staging = _Staging(dag, archive, gate_id)
    try:
        spec = staging.spec()
        parents = [] if addition else graph.resolve(spec)
    except BaseException:
        if staging.scratch is not None:
            staging.scratch.close()
        raise
    return StagedDag(spec, parents, staging.artifacts, tuple(staging.unresolved), staging.scratch)


class Table:
    """Rows of a DAG's jobs, with arrays expanded."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.ids: list[str] = []
        self.args: list[tuple[str, ...]] = []
        self.parents: list[tuple[str, ...]] = []
        self.payloads: list[bytes] = []
        """Payloads of the calls. Jobs before the first call have an empty payload."""
        self._arrays = {job.id: job for job in jobs if job.is_array}
        self._members: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._edges = 0

    def add(self, job: Job) -> int:
        """Add the rows of a job. Return their number. Raises InvalidGraph."""
        if not job.is_array and job.id in self._arrays:
            raise InvalidGraph(f"job id {job.id!r} is used twice: for an array, and for a job", job.id)
        if not self._arrays:
            self.ids.append(job.id)
            self.args.append(job.args)
            self.parents.append(job.parents)
            return 1
        before = len(self.ids)
        for id_, args, parents in job.rows():
            self.ids.append(id_)
            self.args.append(args)
            self.parents.append(self._spread(job, parents) if parents else parents)
        return len(self.ids) - before

    def add_call(self, call: TaskCall[Any]) -> None:
        if call.id in self._arrays:
            raise InvalidGraph(f"job id {call.id!r} is used twice: for an array, and for a call", call.id)
        self.payloads += [b""] * (len(self.ids) - len(self.payloads))
        self.ids.append(call.id)
        self.args.append(())
        after = [id_ for id_ in call.task._after if all(id_ != parent.id for parent in call.parents)]
        self.parents.append((*[parent.id for parent in call.parents], *self._spread(call, tuple(after))))
        self.payloads.append(call.payload)

    def add_planner(self, job: Job) -> tuple[str, ...]:
        """Add the row of a planner. Return its parents. The caller adds its payload next."""
        self.payloads += [b""] * (len(self.ids) - len(self.payloads))
        self.ids.append(job.id)
        self.args.append(())
        self.parents.append(self._spread(job, job.parents) if job.parents and self._arrays else job.parents)
        return tuple(dict.fromkeys(self.parents[-1]))

    def all_payloads(self) -> list[bytes]:
        """Return one payload per job, or an empty list if there are no payloads."""
        return self.payloads + [b""] * (len(self.ids) - len(self.payloads)) if self.payloads else []

    def _spread(self, job: Job | TaskCall[Any], parents: tuple[str, ...]) -> tuple[str, ...]:
        """Return the parents with every array replaced by its jobs."""
        expanded = self._members.get(parents)
        if expanded is None:
            arrays = self._arrays
            expanded = tuple(
                [
                    name
                    for parent in parents
                    for name in ([member(parent, i) for i in range(arrays[parent].size)] if parent in arrays else (parent,))
                ]
            )
            # Many jobs share these parents. Parents with filled placeholders belong to one job.
            if isinstance(job, Job) and parents == job.parents:
                self._members[parents] = expanded
        self._edges += len(expanded)
        if self._edges > MAX_EDGES:
            raise InvalidGraph(
                f"job {job.id!r}: parents: the DAG has more than {MAX_EDGES:,} dependencies: add a job between the two arrays",
                job.id,
            )
        return expanded


_COPIED = [(row.name, row.template) for row in Job.ROWS.values() if row.template]
"""(field of a job, field of its template) for values that are copied unchanged."""


class _Staging:
    def __init__(self, dag: DAG, archive: str = "", gate_id: Callable[[str], str] = wiring.gate_id) -> None:
        self.dag = dag
        self._gate_id = gate_id
        self.artifacts: dict[str, Path] = {}
        self.unresolved: dict[str, None] = {}
        self.scratch: Scratch | None = None
        self._project = dag.project
        self._archive = archive
        self._on_master = bool(archive)
        self._survey: Survey | None = None
        self._hashes: dict[str, str] = {}
        self._handlers: dict[str, list[str]] = {}

    def spec(self) -> DagSpec:
        dag = self.dag
        # Two steps: jobs with equal fields, then equal templates. Nearly all jobs need only the
        # first.
        shapes: dict[tuple[object, ...], int] = {}
        numbers: dict[JobTemplate, int] = {}
        template_of: list[int] = []
        jobs = wiring.wired(dag.jobs, self._gate_id, dag.calls)
        table = Table(jobs)
        self._handlers = wiring.handlers_of(dag.jobs)
        services = [name for job in jobs if job.service is not None for name, *_ in job.rows()]
        for job in jobs:
            if job.expand is not None or job.pipeline is not None:
                self._check_services(job, services)
                template_of.append(numbers.setdefault(self._planner(job, self._template(job), table), len(numbers)))
                continue
            shape = (Job.shape_of(job), job.id in self._handlers, takes_results(job), job.id if job.max_parallel else "")
            number = shapes.get(shape)
            if number is None or services:
                self._check_services(job, services)
            if number is None:
                number = shapes[shape] = numbers.setdefault(self._template(job), len(numbers))
            template_of += [number] * table.add(job)
        functions: dict[Callable[..., Any], Function] = {}
        for call in dag.calls:
            function = functions.get(call.task.function)
            if function is None:
                function = functions[call.task.function] = Function(call.task.function)
                self._keep(function.hash, function.pickled)
            template = template_of_task(function, call.task._options)
            template_of.append(numbers.setdefault(template, len(numbers)))
            table.add_call(call)
            if call.parcel is not None:
                self._keep(call.parcel.hash, call.parcel.data)
        return DagSpec(
            name=dag.name,
            version=dag.version,
            templates=list(numbers),
            ids=table.ids,
            template_of=template_of,
            args=table.args,
            parents=table.parents,
            payloads=table.all_payloads(),
            deadline_s=dag.deadline or 0.0,
            group=dag.agent_run_id,
            source=dag.source,
        )

    def _planner(self, job: Job, like: JobTemplate, table: Table) -> JobTemplate:
        """Return the template of the call that adds jobs.

        `like` is the template of the added jobs.
        """
        kind = "pipeline" if job.expand is None else "expand"
        condition, like = like.condition, msgspec.structs.replace(like, condition="")
        parents = table.add_planner(job)
        if job.expand is not None:
            growing.check_items_shape(job.id, job.args)
            if job.expand not in parents:
                raise InvalidGraph.of(job.id, "expand", f"{job.expand!r} is an array, which has no single result")
            shape = growing.Shape(job.id, like, job.args, _givers(job, like, parents))
            payload = growing.payload_of_expansion(shape, parents.index(job.expand))
        else:
            payload = growing.payload_of_pipeline(job.pipeline or "", job.id)
        table.payloads.append(payload)
        function = growing.function_of(kind)
        self._keep(function.hash, function.pickled)
        return msgspec.structs.replace(growing.planner_template(kind, like), condition=condition)

    def _keep(self, hash_: str, data: bytes) -> None:
        """Write data to an artifact."""
        if hash_ not in self.artifacts:
            if self.scratch is None:
                self.scratch = Scratch()
            path = self.scratch.path / hash_
            path.write_bytes(data)
            self.artifacts[hash_] = path

    def _template(self, job: Job) -> JobTemplate:
        if job.type == Type.GATE:
            gate = Gate(job.message, job.max_wait, job.webhook)
            when, run_at = _when(job), job.run_at or 0.0
            return JobTemplate(
                kind=Kind.GATE, gate=gate, delay_s=job.delay, run_at=run_at, retries=0, when=when, condition=job.condition
            )
        copied = {target: value for source, target in _COPIED if (value := getattr(job, source)) is not None}
        if job.pipeline is not None:
            return JobTemplate(requirement=main_capability(job.requirement), **copied)
        file = file_hash = archive = command = ""
        argv: tuple[str, ...] = ()
        if job.file is None:
            if isinstance(job.command, str):
                command = job.command
            else:
                argv = job.command or ()
            if self._project is not None:
                archive = self._packed(self._project, job)
        elif name := perm_name(job.file):
            self.unresolved[name] = None
            file, file_hash = posixpath.basename(name), f"{PERM}{name}"
        elif self._project is not None and not (self._on_master and os.path.isabs(job.file)):
            archive = self._packed(self._project, job)
            file = self._inside(self._project, job, job.file)
        else:
            file, file_hash = os.path.basename(job.file), self._hashed(job, job.file)
        stdin = ""
        if job.stdin is not None:
            path = os.path.join(os.path.abspath(self._project or ""), job.stdin)
            stdin = path if job.cwd is not None and job.cwd.startswith("/") else self._hashed(job, path, "stdin")
        return JobTemplate(
            file=file,
            file_hash=file_hash,
            stdin=stdin,
            archive=archive,
            command=command,
            argv=argv,
            requirement=main_capability(job.requirement),
            driver=named_in_template(job.driver),
            python="" if job.python is None else self._interpreter(job.python),
            kind=Kind.SERVICE if job.service is not None else Kind.HANDLER if job.id in self._handlers else Kind.JOB,
            retry=retry_of(job.backoff, job.backoff_max, job.no_retry),
            on_failure="" if job.on_failure == "cancel" else job.on_failure,
            needs=needs_of(job.requirement, job.cpus, job.memory, job.gpus),
            service=job.service,
            outputs=tuple([(output.name, output.path) for output in job.outputs]),
            inputs=tuple([(item.path, item.job, item.output) for item in job.inputs]),
            optional_outputs=tuple([output.name for output in job.outputs if output.optional]),
            optional_inputs=tuple([position for position, item in enumerate(job.inputs) if item.optional]),
            when=_when(job),
            fills_results=takes_results(job),
            parallel=parallel_of(job.max_parallel, job.id),
            **copied,
        )

    def _check_services(self, job: Job, services: list[str]) -> None:
        """Check that the services that the job names exist and are among its parents."""
        command = (job.command,) if isinstance(job.command, str) else job.command or ()
        fixed = (*command, *(text for _, text in job.env))
        for _, args, parents in job.rows():
            known = [*parents, *(name for name in services if name.partition("[")[0] in parents)]
            if problem := unknown_service((*fixed, *args), known, services):
                raise InvalidGraph(f"job {job.id!r}: {problem}", job.id)
            if not any("${service:" in text for text in job.args):
                return

    def _interpreter(self, python: str) -> str:
        """Return the path of the interpreter on the worker.

        A relative path starts at the project's folder. The interpreter itself is not sent.
        """
        return os.path.normpath(os.path.join(os.path.abspath(self._project or ""), python))

    def _hashed(self, job: Job, file: str, field: str = "file") -> str:
        """Return the hash of a single file, which becomes an artifact."""
        real = os.path.realpath(file)
        if real not in self._hashes:
            _check_file(job, file, Path(real), field)
            try:
                with open(real, "rb") as source:
                    digest = hashlib.file_digest(source, "sha256").hexdigest()
            except OSError as error:
                raise _fault(job, f"{file}: cannot be read: {error.strerror}", field) from None
            self._hashes[real] = digest
            self.artifacts.setdefault(digest, Path(real))
        return self._hashes[real]

    def _packed(self, project: Path, job: Job) -> str:
        """Return the hash of the project's archive, which the first job that needs it builds."""
        if not self._archive:
            try:
                self._survey = survey(project)
                self.scratch = self.scratch or Scratch()
                packed = build_archive(project, self.scratch.path, found=self._survey)
            except InvalidGraph as error:
                raise InvalidGraph(str(error), job.id) from None
            self._archive = packed.sha256
            self.artifacts[packed.sha256] = packed.path
        return self._archive

    def _inside(self, project: Path, job: Job, file: str) -> str:
        """Return the path of a job's file relative to its project."""
        root = os.path.realpath(project)
        path = os.path.normpath(os.path.join(root, file))
        if not path.startswith(f"{root.rstrip('/')}/"):
            # An absolute path may reach the project through a symbolic link.
            path = os.path.normpath(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)))
            if not path.startswith(f"{root.rstrip('/')}/"):
                raise _fault(
                    job, f"{file}: is outside of the project {project}, and only the project is sent: move the file into it"
                )
        if self._on_master:
            return os.path.relpath(path, root)
        _check_file(job, file, Path(path))
        assert self._survey is not None
        if os.path.relpath(os.path.realpath(path), root) not in self._survey.files:
            raise _fault(job, f"{file}: is excluded from the project's archive by {IGNORE_FILE}, or by default like .git and venv")
        return os.path.relpath(path, root)


def _when(job: Job) -> str:
    if job.always:
        return ALWAYS
    return ENDED if job.condition and parse(job.condition).jobs_by_state else ""


def _givers(job: Job, template: JobTemplate, parents: Sequence[str]) -> tuple[str, ...]:
    """Return the parents that provide the inputs of a template, and the results in its texts."""
    sources = [source for _, source, _ in template.inputs]
    sources += [name for _, text in texts_of(job) for name, _ in words_in(text)]
    arrays = [array for source in sources if (array := array_of_source(source))]
    return tuple([parent for parent in parents if parent in sources or any(is_member(parent, array) for array in arrays)])


def _check_file(job: Job, file: str, path: Path, field: str = "file") -> None:
    try:
        path.stat()
    except FileNotFoundError:
        full_path = "" if os.path.isabs(file) else f" ({path})"
        raise _fault(job, f"{file}{full_path}: does not exist: check the path", field) from None
    except OSError as error:
        raise _fault(job, f"{file}: cannot be read: {error.strerror}", field) from None
    if path.is_dir():
        hint = "give the path of a script or binary in it" if field == "file" else "give the path of a file"
        raise _fault(job, f"{file}: is a folder: {hint}", field)
    if not path.is_file():
        raise _fault(job, f"{file}: is not a regular file", field)


def _fault(job: Job, problem: str, field: str = "file") -> InvalidGraph:
    return InvalidGraph.of(job.id, field, problem)
