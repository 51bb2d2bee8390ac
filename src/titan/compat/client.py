"""The names of the Titan SDK (`titan_sdk`). Existing programs run after one changed import.

    from titan.compat import TitanClient, TitanJob

The behaviour that those programs expect is kept where it differs from `titan.Client`:

- Answers are texts or booleans.
- An unreachable master gives an answer that begins with ``CONNECTION_ERROR``.
- A job is found by its id alone, with or without the prefix ``DAG-``.

New programs should use `titan.Client`, which offers more.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shlex
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from titan.content.archive import build_archive
from titan.errors import ConnectionLost, MasterUnreachable, NotFound, TitanError
from titan.model.causes import Cause
from titan.sdk import submission, uploads
from titan.sdk.address import DEFAULT_PORT
from titan.sdk.client import Client
from titan.sdk.fields import PERM, perm_name
from titan.sdk.job import DAG, Job
from titan.sdk.services import ServiceStatus
from titan.sdk.staging import StagedDag, stage
from titan.sdk.status import JobStatus

__all__ = ["TITAN_HOST", "TITAN_PORT", "TitanClient", "TitanJob"]

T = TypeVar("T")
TITAN_HOST = os.environ.get("TITAN_HOST", "127.0.0.1")
TITAN_PORT = int(os.environ.get("TITAN_PORT") or DEFAULT_PORT)
UPLOADS = "uploads/"
"""Folder of uploaded files inside the master's perm_files/."""
JOB_RUN_TTL_S = 30 * 86_400
"""Seconds for which the store remembers the newest run of a job id."""
SERVICES = ("SERVICE", "DEPLOY_PAYLOAD")
_STATES = {
    "DEAD": "FAILED",
    "FAILED": "RETRYING",
    **dict.fromkeys(("WAITING", "QUEUED", "DELAYED"), "PENDING"),
    "DISPATCHED": "RUNNING",
}
SEARCHED_RUNS = 200
"""Newest runs to search for a job that was not submitted through this module."""
PATIENCE_S = 20.0


class TitanJob:
    """One job.

    - `filename`: a local script or binary, or one that `deploy_script` has put on the master. With
      `is_archive`, it is ``NAME.zip/PATH``, a file of a folder from `upload_project_folder`.
    - `delay` is in milliseconds.

    Raises FileNotFoundError.
    """

    def __init__(
        self,
        job_id: str,
        filename: str,
        job_type: str = "RUN_PAYLOAD",
        args: str | None = None,
        parents: Iterable[str] | None = None,
        port: int = 0,
        is_archive: bool = False,
        priority: int = 1,
        delay: int = 0,
        affinity: bool = False,
        requirement: str = "GENERAL",
        hitl_message: str | None = None,
        max_wait_seconds: int = 172_800,
    ) -> None:
        self.id = job_id
        self.filename = os.fspath(filename)
        self.job_type = job_type
        self.args = args or ""
        self.parents = list(parents or ())
        self.port = port
        self.is_archive = is_archive
        self.priority = priority
        self.delay = delay
        self.affinity = affinity
        self.requirement = requirement or "GENERAL"
        self.hitl_message = hitl_message
        self.max_wait_seconds = max_wait_seconds
        deployed = "/" not in self.filename and os.sep not in self.filename
        if not is_archive and not os.path.exists(self.filename) and not deployed:
            raise FileNotFoundError(
                f"file {self.filename!r} does not exist: give a path relative to the working directory or absolute"
            )

    def as_job(self, parents: Sequence[str]) -> Job:
        """Return the `Job`. Raises InvalidGraph."""
        if self.is_archive or not os.path.exists(self.filename):
            file = f"{PERM}{self.filename}"
        else:
            file = os.path.abspath(self.filename)
        service = self.job_type in SERVICES
        return Job(
            self.id,
            file=file,
            args=_split(self.args),
            parents=parents,
            requirement=self.requirement,
            priority=self.priority,
            delay=self.delay / 1000,
            affinity=self.affinity,
            hitl_message=None if service else self.hitl_message or None,
            max_wait_seconds=self.max_wait_seconds,
            type="service" if service else "run",
            port=self.port or None if service else None,
            keep=service,
        )

    def __repr__(self) -> str:
        return f"TitanJob({self.id!r}, {self.filename!r})"


class TitanClient:
    """Client of a master, cheap to create.

    All clients of a process share one connection per address. The master is at `host` and `port`,
    else at TITAN_HOST and TITAN_PORT, else where `titan.Client` looks.
    """

    def __init__(self, host: str | None = None, port: int | None = None) -> None:
        self._address = f"{host or TITAN_HOST}:{port or TITAN_PORT}" if host or port else _address()

    # -- submitting --------------------------------------------------------------------------------
    def submit_job(self, job: TitanJob) -> str:
        """Submit a single job. The answer is that of `submit_dag`."""
        return self.submit_dag(job.id, [job])

    def submit_dag(self, name: str, jobs: Iterable[TitanJob], agent_run_id: str | None = None) -> str:
        """Submit jobs and return ``SUBMITTED: RUN``, or ``ERROR: ...``.

        A parent that is not among `jobs` must be COMPLETED already.
        """
        all_jobs = list(jobs)
        return self._text_answer(lambda client: self._submit(client, name, all_jobs, agent_run_id or ""))

    def submit_yaml(
        self, yaml_path: str, agent_run_id: str | None = None, wait: bool = False, poll_interval: float = 2, timeout: float = 300
    ) -> str | bool:
        """Submit a pipeline file. With `wait`, wait until its run is over.

        Return False if the run takes longer than `timeout` seconds. `poll_interval` is ignored,
        because the master pushes changes. Raises FileNotFoundError, InvalidPipeline.
        """
        from titan.sdk.pipeline import load_pipeline

        if not os.path.exists(yaml_path):
            raise FileNotFoundError(f"pipeline file {yaml_path!r} does not exist: check the path")
        dag = load_pipeline(yaml_path)
        if agent_run_id:
            dag = DAG(dag.name, [*dag.jobs, *dag.calls], dag.version, dag.project, dag.deadline, agent_run_id)

        def submit(client: Client) -> str:
            run = client.submit(dag)
            self._remember(client, run.id, [job.id for job in dag.jobs])
            return f"SUBMITTED: {run.id}"

        answer = self._text_answer(submit)
        if wait and answer.startswith("SUBMITTED"):
            try:
                self._client().run(answer.split()[1]).wait(timeout)
            except TimeoutError:
                return False
        return answer

    def _submit(self, client: Client, name: str, jobs: list[TitanJob], group: str) -> str:
        ids = {job.id for job in jobs}
        missing = dict.fromkeys(parent for job in jobs for parent in job.parents if parent not in ids)
        for parent in missing:
            state = self._state(client, parent)
            if state != "COMPLETED":
                return f"ERROR: parent {parent!r} is not among the submitted jobs and is {state}, not COMPLETED"
        converted = [job.as_job([parent for parent in job.parents if parent in ids]) for job in jobs]
        staged = stage(DAG(name, converted, agent_run_id=group))
        try:
            staged = client._wait(_on_master(client, staged, {job.filename for job in jobs if job.is_archive}))
            answer = client._wait(submission.submit(client._async._connection, staged.spec, staged.parents, None))
        finally:
            staged.close()
        self._remember(client, answer.run, list(ids))
        return f"SUBMITTED: {answer.run}"

    @staticmethod
    def _remember(client: Client, run: str, ids: list[str]) -> None:
        """Record the newest run of each job id."""
        with client.store.pipeline() as pipe:
            for name in ids:
                pipe.execute("SET", f"compat:job:{name}", run, "EX", JOB_RUN_TTL_S)

    # -- asking ------------------------------------------------------------------------------------
    def get_job_status(self, job_id: str) -> str:
        """Return the state of a job, or UNKNOWN.

        The states are PENDING, RUNNING, RETRYING, PAUSED, COMPLETED, FAILED, REJECTED and
        CANCELLED. A service that is READY is COMPLETED.
        """
        return self._text_answer(lambda client: self._state(client, job_id))

    def fetch_logs(self, job_id: str) -> str:
        """Return the output of the job so far, stdout before stderr."""

        def read(client: Client) -> str:
            target = self._target(client, job_id)
            if not target:
                return f"ERROR: job {job_id!r} not found"
            parts: dict[int, list[bytes]] = {1: [], 2: []}
            for stream, data in client.logs(target):
                parts[stream].append(data)
            return b"".join([*parts[1], *parts[2]]).decode(errors="replace")

        return self._text_answer(read)

    def _state(self, client: Client, job_id: str) -> str:
        target = self._target(client, job_id)
        if not target:
            return "UNKNOWN"
        job, _ = client.job(target)
        run = target.partition("/")[0]
        if job.state == "RUNNING" and target in _ready(client.services(run)):
            return "COMPLETED"
        return _state_of(job)

    @staticmethod
    def _target(client: Client, job_id: str) -> str:
        """Return RUN/JOB of the newest job with that id; "" if there is none."""
        name = job_id.removeprefix("DAG-")
        if name.startswith("hitl-gate-"):
            name = f"{name.removeprefix('hitl-gate-')}.gate"
        run = client.store.execute("GET", f"compat:job:{name.removesuffix('.gate')}")
        runs = [run.decode()] if isinstance(run, bytes) else []
        for candidate in runs or [summary.run for summary in client.runs(SEARCHED_RUNS)]:
            try:
                client.job(f"{candidate}/{name}")
                return f"{candidate}/{name}"
            except NotFound:
                continue
        return ""

    # -- the store ---------------------------------------------------------------------------------
    def store_put(self, key: str, value: object) -> str:
        """Set a key of the shared store to a text. Return "OK"."""
        return self._text_answer(lambda client: _text(client.store.execute("SET", key, str(value))))

    def store_get(self, key: str) -> str:
        """Return the text of a key; "NULL" if it does not exist."""
        return self._text_answer(lambda client: _text(client.store.execute("GET", key)))

    def store_sadd(self, key: str, member: object) -> int:
        """Add a member to a set. Return 1 if it is new, else 0."""
        answer = self._text_answer(lambda client: _text(client.store.execute("SADD", key, str(member))))
        return int(answer) if answer.isdigit() else 0

    def store_smembers(self, key: str) -> list[str]:
        no_members: list[str] = []
        return self._answer_or(lambda client: sorted(_text(member) for member in client.store.smembers(key)), no_members)

    # -- services ----------------------------------------------------------------------------------
    def stop_service(self, service_id: str) -> str:
        """Stop a service.

        Return ``STOPPED: DAG-ID``, or ``ERROR: ...``. Raises ValueError for an empty id.
        """
        if not service_id:
            raise ValueError("stop_service: the service id is empty: give the id of a service")
        name = f"DAG-{service_id.removeprefix('DAG-')}"

        def stop(client: Client) -> str:
            target = self._target(client, name)
            if not target or not any(f"{s.run}/{s.job}" == target for s in client.services(target.split("/")[0])):
                return f"ERROR: service {name} not found"
            client.stop(target)
            return f"STOPPED: {name}"

        return self._text_answer(stop)

    def get_service_address(self, service_id: str) -> tuple[str, int] | None:
        """Return (host, port) of a service that is READY, else None."""
        name = service_id.removeprefix("DAG-")
        ready = self._ready()
        addresses = [address for target, address in ready.items() if target.partition("/")[2] == name]
        if not addresses:
            return None
        host, _, port = addresses[-1].rpartition(":")
        return host, int(port)

    def get_service_url(self, service_id: str, scheme: str = "http") -> str | None:
        address = self.get_service_address(service_id)
        return None if address is None else f"{scheme}://{address[0]}:{address[1]}"

    def list_services(self) -> list[str]:
        """Return the ids of the services that are READY."""
        ready = self._ready()
        return [f"DAG-{target.partition('/')[2]}" for target in ready]

    def _ready(self) -> dict[str, str]:
        no_services: dict[str, str] = {}
        return self._answer_or(lambda client: _ready(client.services()), no_services)

    # -- files -------------------------------------------------------------------------------------
    def upload_file(self, filepath: str) -> str:
        """Upload a file under its own name. Return ``UPLOAD_SUCCESS``, or ``ERROR: ...``."""
        return self._put_file(filepath, UPLOADS, "UPLOAD_SUCCESS")

    def deploy_script(self, filepath: str) -> str:
        """Upload a script for `TitanJob(filename=NAME)`.

        Return ``DEPLOY_SUCCESS``, or ``ERROR: ...``.
        """
        return self._put_file(filepath, "", "DEPLOY_SUCCESS")

    def upload_project_folder(self, folder_path: str, project_name: str | None = None) -> str:
        """Upload a folder for `TitanJob(filename="NAME.zip/entry.py", is_archive=True)`.

        Return ``UPLOAD_SUCCESS``, or ``ERROR: ...``.
        """
        folder = Path(os.path.abspath(folder_path))
        if not folder.is_dir():
            return f"ERROR: Folder not found at: {folder_path}"

        def upload(client: Client) -> str:
            with tempfile.TemporaryDirectory(prefix="titan-") as scratch:
                packed = build_archive(folder, Path(scratch))
                client._wait(client._async._put(packed.sha256, packed.path, f"{project_name or folder.name}.zip"))
            return "UPLOAD_SUCCESS"

        return self._text_answer(upload)

    def fetch_artifact(self, filename: str, save_path: str | None = None) -> bool:
        """Save an uploaded file. Return False if it does not exist."""

        def fetch(client: Client) -> str:
            for name in (f"{UPLOADS}{filename}", filename):
                try:
                    resolved = client._wait(client._async._resolve(name))
                    break
                except NotFound:
                    continue
            else:
                return f"ERROR: file {filename!r} not found"
            content = client._wait(uploads.fetch(client._async._connection, resolved.hash, resolved.size))
            Path(save_path or filename).write_bytes(content)
            return "OK"

        return self._text_answer(fetch) == "OK"

    def publish_artifact(self, key: str, filename: str) -> bool:
        """Upload a file, which `get_artifact` finds by this key."""
        return self.upload_file(filename) == "UPLOAD_SUCCESS" and self.store_put(key, os.path.basename(filename)) == "OK"

    def get_artifact(self, key: str, save_path: str | None = None) -> bool:
        """Save the file published under this key. Return False if there is none.

        `save_path` defaults to the file's name in the folder for temporary files.
        """
        name = self.store_get(key)
        if name in ("NULL", "CLEARED", "") or name.startswith(("ERROR", "CONNECTION_ERROR")):
            return False
        return self.fetch_artifact(name, save_path or os.path.join(tempfile.gettempdir(), os.path.basename(name)))

    def _put_file(self, filepath: str, folder: str, success_text: str) -> str:
        path = Path(os.path.abspath(filepath))
        if not path.is_file():
            return f"ERROR: File not found at: {filepath}"

        def put(client: Client) -> str:
            with path.open("rb") as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
            client._wait(client._async._put(digest, path, f"{folder}{path.name}"))
            return success_text

        return self._text_answer(put)

    # -- helpers -----------------------------------------------------------------------------------
    def _client(self) -> Client:
        return _open(self._address)

    def _text_answer(self, request: Callable[[Client], str]) -> str:
        """Return the answer of `request`. An error becomes a text."""
        try:
            return request(self._client())
        except (MasterUnreachable, ConnectionLost) as error:
            return f"CONNECTION_ERROR: {error}"
        except TitanError as error:
            return f"ERROR: {error}"

    def _answer_or(self, request: Callable[[Client], T], default: T) -> T:
        """Return the answer of `request`, or `default` after an error."""
        try:
            return request(self._client())
        except TitanError:
            return default


def _ready(services: list[ServiceStatus]) -> dict[str, str]:
    """Return RUN/JOB -> HOST:PORT of the services that are READY."""
    return {f"{s.run}/{s.job}": s.address for s in services if s.address and s.state == "READY"}


def _address() -> str | None:
    """Return the configured address, or None to use the default of `titan.Client`.

    In a job that is a service, TITAN_PORT is its own port and is ignored here.
    """
    host, port = os.environ.get("TITAN_HOST"), os.environ.get("TITAN_PORT")
    if host:
        return f"{host}:{port or DEFAULT_PORT}"
    return f"127.0.0.1:{port}" if port and "TITAN_JOB" not in os.environ else None


def _split(args: str) -> list[str]:
    """Split like a shell, or at spaces if the quotes are unbalanced.

    Existing programs write apostrophes unescaped.
    """
    try:
        return shlex.split(args)
    except ValueError:
        return args.split()


def _text(answer: object) -> str:
    if answer is None:
        return "NULL"
    return answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)


def _state_of(job: JobStatus) -> str:
    if job.state == "CANCELLED" and job.cause == Cause.REJECTED.name:
        return "REJECTED"
    return _STATES.get(job.state, job.state)


async def _on_master(client: Client, staged: StagedDag, archived: set[str]) -> StagedDag:
    """Return the DAG with its files on the master.

    `archived` are the names ``NAME.zip/PATH`` of files inside folders on the master.
    """
    names = {}
    for name in staged.unresolved:
        names[name] = (await client._async._resolve(name.partition("/")[0] if name in archived else name)).hash
    templates = []
    for template in staged.spec.templates:
        name = perm_name(template.file_hash)
        if name in archived:
            _, _, entry = name.partition("/")
            template = msgspec.structs.replace(template, file=entry, file_hash="", archive=names[name])  # noqa: PLW2901
        templates.append(template)
    staged = replace(staged, spec=msgspec.structs.replace(staged.spec, templates=templates)).resolve(names)
    await client._async._upload(staged)
    return staged


# -- one connection for all ------------------------------------------------------------------------
_lock = threading.Lock()
_clients: dict[tuple[int, str | None], Client] = {}


def _open(address: str | None) -> Client:
    """Return the client of this process.

    A forked process opens its own. Raises MasterUnreachable.
    """
    with _lock:
        key = (os.getpid(), address)
        if key not in _clients:
            client = Client(address, patience_s=PATIENCE_S)
            client.open()
            _clients[key] = client
        return _clients[key]


@atexit.register
def _close() -> None:
    for (pid, _), client in list(_clients.items()):
        if pid == os.getpid():
            client.close()
    _clients.clear()
