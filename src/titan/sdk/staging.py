"""From a `DAG` to what travels: the columns of a `DagSpec`, and the files that its jobs need, by
content hash.

Jobs of one shape share a template, and a file is looked at and hashed once however many jobs run
it. Reads files; knows no connection: the client uploads `artifacts` and asks the master for
`unresolved` names.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from titan.content.archive import IGNORE_FILE, Survey, build_archive, survey
from titan.errors import InvalidGraph
from titan.host.remove_folder import remove_folder
from titan.model import graph
from titan.model.dag import DagSpec, Gate, JobTemplate, Kind
from titan.model.drivers import named_in_template
from titan.sdk import growing
from titan.sdk.arrays import member
from titan.sdk.failure_fields import Type, retry_of
from titan.sdk.fields import PERM, perm_name
from titan.sdk.functions import Function
from titan.sdk.job import DAG, Job
from titan.sdk.needs import main_capability, needs_of
from titan.sdk.services import unknown_service
from titan.sdk.tasks import TaskCall, template_of_task
from titan.sdk.wiring import handlers_of, wired

MAX_EDGES = 10_000_000


class Scratch:
    """A temporary folder, removed with `close`, when nothing holds it any more, or at exit."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="titan-staging-"))
        self.close = weakref.finalize(self, remove_folder, self.path, ignore_errors=True)


@dataclass(frozen=True)
class StagedDag:
    """A DAG that is ready to travel.

    `parents` are those of `spec` as positions in it.

    `artifacts` maps a SHA-256 in hex to the file with that content, by which alone the master knows
    it. `unresolved` are names of perm_files/ whose hash only the master knows: until `resolve`, the
    templates that use them hold ``perm:NAME`` for a hash. The files of `artifacts` exist until
    `close` or until nothing refers to this object.
    """

    spec: DagSpec
    parents: list[tuple[int, ...]]
    artifacts: dict[str, Path] = field(default_factory=dict)
    unresolved: tuple[str, ...] = ()
    scratch: Scratch | None = None

    def resolve(self, hashes: Mapping[str, str]) -> StagedDag:
        """This DAG with the hash of each name in `unresolved`. Raises InvalidGraph if `hashes`
        lacks one."""
        templates = []
        for i, template in enumerate(self.spec.templates):
            name = perm_name(template.file_hash)
            if name and name not in hashes:
                job = self.spec.ids[self.spec.template_of.index(i)]
                raise InvalidGraph(f"job {job!r}: file: the master has no {name!r} in perm_files/: put it there", job)
            templates.append(msgspec.structs.replace(template, file_hash=hashes[name]) if name else template)
        return replace(self, spec=msgspec.structs.replace(self.spec, templates=templates), unresolved=())

    def close(self) -> None:
        """Removes the archive that was built. Safe to call twice."""
        if self.scratch is not None:
            self.scratch.close()


def stage(dag: DAG, *, addition: bool = False, archive: str = "") -> StagedDag:
    """Looks at every file, builds the archive of the project if there is one, and checks the graph.

    `addition`: parents may be jobs of the run that it is for, which the master knows. `archive`:
    the project is on the master, under this hash, and is not looked at. Raises InvalidGraph with
    the job: for a file that is missing, no regular file, unreadable or outside its project; for an
    unknown or repeated id and for a cycle. LimitExceeded for a project over 2 GiB.

    >>> staged = stage(DAG("many", [Job(f"job-{i}", command="echo $1", args=(i,)) for i in range(1000)]))
    >>> len(staged.spec.ids), len(staged.spec.templates), staged.artifacts
    (1000, 1, {})
    """
    staging = _Staging(dag, archive)
    try:
        spec = staging.spec()
        parents = [] if addition else graph.resolve(spec)
    except BaseException:
        if staging.scratch is not None:
            staging.scratch.close()
        raise
    return StagedDag(spec, parents, staging.artifacts, tuple(staging.unresolved), staging.scratch)


class Table:
    """The rows of a DAG's jobs, arrays spread out."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.ids: list[str] = []
        self.args: list[tuple[str, ...]] = []
        self.parents: list[tuple[str, ...]] = []
        self.payloads: list[bytes] = []
        """Of the calls; those that stand before the first are empty."""
        self._arrays = {job.id: job for job in jobs if job.is_array}
        self._members: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._edges = 0

    def add(self, job: Job) -> int:
        """Returns how many rows that made. Raises InvalidGraph."""
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
        """Its parents. Its payload is to be added next."""
        self.payloads += [b""] * (len(self.ids) - len(self.payloads))
        self.ids.append(job.id)
        self.args.append(())
        self.parents.append(self._spread(job, job.parents) if job.parents and self._arrays else job.parents)
        return tuple(dict.fromkeys(self.parents[-1]))

    def all_payloads(self) -> list[bytes]:
        """One for each job, or none at all."""
        return self.payloads + [b""] * (len(self.ids) - len(self.payloads)) if self.payloads else []

    def _spread(self, job: Job | TaskCall[Any], parents: tuple[str, ...]) -> tuple[str, ...]:
        """The parents with every array replaced by its jobs."""
        found = self._members.get(parents)
        if found is None:
            arrays = self._arrays
            found = tuple(
                [
                    name
                    for parent in parents
                    for name in ([member(parent, i) for i in range(arrays[parent].size)] if parent in arrays else (parent,))
                ]
            )
            # the same for every job that says so; others are each job's own
            if isinstance(job, Job) and parents == job.parents:
                self._members[parents] = found
        self._edges += len(found)
        if self._edges > MAX_EDGES:
            raise InvalidGraph(
                f"job {job.id!r}: parents: the DAG has more than {MAX_EDGES:,} dependencies: put a job in between two arrays",
                job.id,
            )
        return found


_TRAVEL = [(row.name, row.template) for row in Job.ROWS.values() if row.template]
"""(field of a job, field of its template) of those that travel as they are."""


class _Staging:
    def __init__(self, dag: DAG, archive: str = "") -> None:
        self.dag = dag
        self.artifacts: dict[str, Path] = {}
        self.unresolved: dict[str, None] = {}
        self.scratch: Scratch | None = None
        self._project = dag.project
        self._archive = archive
        self._is_there = bool(archive)
        self._survey: Survey | None = None
        self._hashes: dict[str, str] = {}
        self._handlers: dict[str, list[str]] = {}

    def spec(self) -> DagSpec:
        dag = self.dag
        # Two steps, as nearly all jobs end at the first: jobs that were written alike, and
        # templates that came out alike.
        shapes: dict[tuple[object, ...], int] = {}
        numbers: dict[JobTemplate, int] = {}
        template_of: list[int] = []
        jobs = wired(dag.jobs)
        table = Table(jobs)
        self._handlers = handlers_of(dag.jobs)
        services = [name for job in jobs if job.service is not None for name, *_ in job.rows()]
        for job in jobs:
            if job.expand is not None or job.pipeline is not None:
                self._check_services(job, services)
                template_of.append(numbers.setdefault(self._planner(job, self._template(job), table), len(numbers)))
                continue
            shape = (Job.shape_of(job), job.id in self._handlers)
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
        )

    def _planner(self, job: Job, like: JobTemplate, table: Table) -> JobTemplate:
        """Of the call that stands for the jobs which it will add. Those are `like` this."""
        kind = "pipeline" if job.expand is None else "expand"
        parents = table.add_planner(job)
        if job.expand is not None:
            growing.check_items_shape(job.id, job.args)
            if job.expand not in parents:
                raise InvalidGraph.of(job.id, "expand", f"{job.expand!r} is an array, which has no single result")
            payload = growing.payload_of_expansion(growing.Shape(job.id, like, job.args), parents.index(job.expand))
        else:
            payload = growing.payload_of_pipeline(job.pipeline or "", job.id)
        table.payloads.append(payload)
        function = growing.function_of(kind)
        self._keep(function.hash, function.pickled)
        return growing.planner_template(kind, like)

    def _keep(self, hash_: str, data: bytes) -> None:
        """Makes an artifact of what is in memory."""
        if hash_ not in self.artifacts:
            if self.scratch is None:
                self.scratch = Scratch()
            path = self.scratch.path / hash_
            path.write_bytes(data)
            self.artifacts[hash_] = path

    def _template(self, job: Job) -> JobTemplate:
        if job.type == Type.GATE:
            gate = Gate(job.message, job.max_wait, job.webhook)
            return JobTemplate(kind=Kind.GATE, gate=gate, delay_s=job.delay, run_at=job.run_at or 0.0, retries=0)
        same = {there: value for here, there in _TRAVEL if (value := getattr(job, here)) is not None}
        if job.pipeline is not None:
            return JobTemplate(requirement=main_capability(job.requirement), **same)
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
        elif self._project is not None and not (self._is_there and os.path.isabs(job.file)):
            archive = self._packed(self._project, job)
            file = self._inside(self._project, job, job.file)
        else:
            file, file_hash = os.path.basename(job.file), self._hashed(job, job.file)
        return JobTemplate(
            file=file,
            file_hash=file_hash,
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
            inputs=tuple([(one.path, one.job, one.output) for one in job.inputs]),
            **same,
        )

    def _check_services(self, job: Job, services: list[str]) -> None:
        """The services that it names are there, and it depends on them."""
        command = (job.command,) if isinstance(job.command, str) else job.command or ()
        fixed = (*command, *(text for _, text in job.env))
        for _, args, parents in job.rows():
            known = [*parents, *(name for name in services if name.partition("[")[0] in parents)]
            if problem := unknown_service((*fixed, *args), known, services):
                raise InvalidGraph(f"job {job.id!r}: {problem}", job.id)
            if not any("${service:" in text for text in job.args):
                return

    def _interpreter(self, python: str) -> str:
        """Where it is to be looked for on the worker. A relative path means a place beside the
        project: nothing of it travels."""
        return os.path.normpath(os.path.join(os.path.abspath(self._project or ""), python))

    def _hashed(self, job: Job, file: str) -> str:
        """The hash of a single file, which becomes an artifact."""
        real = os.path.realpath(file)
        if real not in self._hashes:
            _check_file(job, file, Path(real))
            try:
                with open(real, "rb") as source:
                    digest = hashlib.file_digest(source, "sha256").hexdigest()
            except OSError as error:
                raise _fault(job, f"{file}: cannot be read: {error.strerror}") from None
            self._hashes[real] = digest
            self.artifacts.setdefault(digest, Path(real))
        return self._hashes[real]

    def _packed(self, project: Path, job: Job) -> str:
        """The hash of the project's archive, built when the first job needs it."""
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
        """The path of a job's file relative to its project."""
        root = os.path.realpath(project)
        path = os.path.normpath(os.path.join(root, file))
        if not path.startswith(f"{root.rstrip('/')}/"):
            # An absolute path may spell the project differently: through a link.
            path = os.path.normpath(os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)))
            if not path.startswith(f"{root.rstrip('/')}/"):
                raise _fault(job, f"{file}: lies outside the project {project}: only the project travels")
        if self._is_there:
            return os.path.relpath(path, root)
        _check_file(job, file, Path(path))
        assert self._survey is not None
        if os.path.relpath(os.path.realpath(path), root) not in self._survey.files:
            raise _fault(
                job, f"{file}: is left out of the project's archive, by {IGNORE_FILE} or as one of .git, venv and the like"
            )
        return os.path.relpath(path, root)


def _check_file(job: Job, file: str, path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError:
        where = "" if os.path.isabs(file) else f" (looked for {path})"
        raise _fault(job, f"{file}: there is no such file{where}") from None
    except OSError as error:
        raise _fault(job, f"{file}: cannot be read: {error.strerror}") from None
    if path.is_dir():
        raise _fault(job, f"{file}: is a folder: give the script or binary in it")
    if not path.is_file():
        raise _fault(job, f"{file}: is no regular file")


def _fault(job: Job, problem: str) -> InvalidGraph:
    return InvalidGraph.of(job.id, "file", problem)
