"""The names of the Titan SDK (`titan_sdk`), so that programs written for it run after one import is
changed.

    from titan.compat import TitanClient, TitanJob

What differs from `titan.Client` is kept as those programs expect it: answers are text or a truth
value, a master that cannot be reached is an answer that begins with ``CONNECTION_ERROR``, and a job
is asked for by its id alone, with or without ``DAG-`` in front. New programs have more of
`titan.Client`.
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
"""Where files that were uploaded lie among the master's perm_files/."""
KNOWN_S = 30 * 86_400
"""So long a job is found by its id alone."""
SERVICES = ("SERVICE", "DEPLOY_PAYLOAD")
_STATES = {
    "DEAD": "FAILED",
    "FAILED": "RETRYING",
    **dict.fromkeys(("WAITING", "QUEUED", "DELAYED"), "PENDING"),
    "DISPATCHED": "RUNNING",
}
SEARCHED_RUNS = 200
"""So many runs are looked through for a job that was not submitted from here, the newest first."""
PATIENCE_S = 20.0


class TitanJob:
    """One job. `filename`: a script or binary here, or one that `deploy_script` has put on the
    master; with `is_archive` ``NAME.zip/PATH``, a file of a folder that `upload_project_folder` has
    put there. `delay` is in milliseconds.

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
            raise FileNotFoundError(f"there is no file {self.filename!r}: give its path from here, or an absolute one")

    def as_job(self, parents: Sequence[str]) -> Job:
        """Raises InvalidGraph."""
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
    """`TitanClient()`: the master is at TITAN_HOST and TITAN_PORT, else where `titan.Client` looks.
    Cheap to make: those of a process share one connection."""

    def __init__(self, host: str | None = None, port: int | None = None) -> None:
        self._address = f"{host or TITAN_HOST}:{port or TITAN_PORT}" if host or port else _address()

    # -- submitting --------------------------------------------------------------------------------
    def submit_job(self, job: TitanJob) -> str:
        """Runs a single job; as `submit_dag`."""
        return self.submit_dag(job.id, [job])

    def submit_dag(self, name: str, jobs: Iterable[TitanJob], agent_run_id: str | None = None) -> str:
        """``SUBMITTED: RUN``, or ``ERROR: ...``. A parent that is none of `jobs` has to be
        COMPLETED by now."""
        listed = list(jobs)
        return self._said(lambda client: self._submit(client, name, listed, agent_run_id or ""))

    def submit_yaml(
        self, yaml_path: str, agent_run_id: str | None = None, wait: bool = False, poll_interval: float = 2, timeout: float = 300
    ) -> str | bool:
        """Submits a pipeline file. With `wait` until all of it is over; False if that takes longer
        than `timeout` seconds.

        `poll_interval` is not needed: changes are pushed. Raises FileNotFoundError,
        InvalidPipeline.
        """
        from titan.sdk.pipeline import load_pipeline

        if not os.path.exists(yaml_path):
            raise FileNotFoundError(f"there is no pipeline {yaml_path!r}")
        dag = load_pipeline(yaml_path)
        if agent_run_id:
            dag = DAG(dag.name, [*dag.jobs, *dag.calls], dag.version, dag.project, dag.deadline, agent_run_id)

        def submit(client: Client) -> str:
            run = client.submit(dag)
            self._remember(client, run.id, [job.id for job in dag.jobs])
            return f"SUBMITTED: {run.id}"

        answer = self._said(submit)
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
                return f"ERROR: job {parent!r}, which others depend on, is none of these and {state}"
        made = [job.as_job([parent for parent in job.parents if parent in ids]) for job in jobs]
        staged = stage(DAG(name, made, agent_run_id=group))
        try:
            staged = client._wait(_on_master(client, staged, {job.filename for job in jobs if job.is_archive}))
            answer = client._wait(submission.submit(client._async._connection, staged.spec, staged.parents, None))
        finally:
            staged.close()
        self._remember(client, answer.run, list(ids))
        return f"SUBMITTED: {answer.run}"

    @staticmethod
    def _remember(client: Client, run: str, ids: list[str]) -> None:
        """Which run a job was in last."""
        with client.store.pipeline() as pipe:
            for name in ids:
                pipe.execute("SET", f"compat:job:{name}", run, "EX", KNOWN_S)

    # -- asking ------------------------------------------------------------------------------------
    def get_job_status(self, job_id: str) -> str:
        """PENDING, RUNNING, RETRYING, PAUSED, COMPLETED (of a service: it is READY), FAILED,
        REJECTED, CANCELLED or UNKNOWN."""
        return self._said(lambda client: self._state(client, job_id))

    def fetch_logs(self, job_id: str) -> str:
        """What the job has printed so far, stdout before stderr."""

        def read(client: Client) -> str:
            target = self._target(client, job_id)
            if not target:
                return f"ERROR: there is no job {job_id!r}"
            parts: dict[int, list[bytes]] = {1: [], 2: []}
            for stream, data in client.logs(target):
                parts[stream].append(data)
            return b"".join([*parts[1], *parts[2]]).decode(errors="replace")

        return self._said(read)

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
        """RUN/JOB of the newest job of that id, "" if there is none."""
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
        """Keeps a text for all. "OK"."""
        return self._said(lambda client: _text(client.store.execute("SET", key, str(value))))

    def store_get(self, key: str) -> str:
        """ "NULL" if there is none."""
        return self._said(lambda client: _text(client.store.execute("GET", key)))

    def store_sadd(self, key: str, member: object) -> int:
        """1 if it is new, else 0."""
        answer = self._said(lambda client: _text(client.store.execute("SADD", key, str(member))))
        return int(answer) if answer.isdigit() else 0

    def store_smembers(self, key: str) -> list[str]:
        nobody: list[str] = []
        return self._asked(lambda client: sorted(_text(one) for one in client.store.smembers(key)), nobody)

    # -- services ----------------------------------------------------------------------------------
    def stop_service(self, service_id: str) -> str:
        """``STOPPED: DAG-ID``, or ``ERROR: ...``. Raises ValueError for no id."""
        if not service_id:
            raise ValueError("stop_service: name a service")
        name = f"DAG-{service_id.removeprefix('DAG-')}"

        def stop(client: Client) -> str:
            target = self._target(client, name)
            if not target or not any(f"{s.run}/{s.job}" == target for s in client.services(target.split("/")[0])):
                return f"ERROR: service {name} not found"
            client.stop(target)
            return f"STOPPED: {name}"

        return self._said(stop)

    def get_service_address(self, service_id: str) -> tuple[str, int] | None:
        """(host, port) of a service that is READY."""
        name = service_id.removeprefix("DAG-")
        ready = self._ready()
        found = [address for target, address in ready.items() if target.partition("/")[2] == name]
        if not found:
            return None
        host, _, port = found[-1].rpartition(":")
        return host, int(port)

    def get_service_url(self, service_id: str, scheme: str = "http") -> str | None:
        address = self.get_service_address(service_id)
        return None if address is None else f"{scheme}://{address[0]}:{address[1]}"

    def list_services(self) -> list[str]:
        """The ids of those that are READY."""
        ready = self._ready()
        return [f"DAG-{target.partition('/')[2]}" for target in ready]

    def _ready(self) -> dict[str, str]:
        none: dict[str, str] = {}
        return self._asked(lambda client: _ready(client.services()), none)

    # -- files -------------------------------------------------------------------------------------
    def upload_file(self, filepath: str) -> str:
        """``UPLOAD_SUCCESS``, or ``ERROR: ...``: the master has the file by its name."""
        return self._put_file(filepath, UPLOADS, "UPLOAD_SUCCESS")

    def deploy_script(self, filepath: str) -> str:
        """``DEPLOY_SUCCESS``, or ``ERROR: ...``: `TitanJob(filename=NAME)` finds it on the master."""
        return self._put_file(filepath, "", "DEPLOY_SUCCESS")

    def upload_project_folder(self, folder_path: str, project_name: str | None = None) -> str:
        """``UPLOAD_SUCCESS``: `TitanJob(filename="NAME.zip/entry.py", is_archive=True)` finds it on
        the master."""
        folder = Path(os.path.abspath(folder_path))
        if not folder.is_dir():
            return f"ERROR: Folder not found at: {folder_path}"

        def upload(client: Client) -> str:
            with tempfile.TemporaryDirectory(prefix="titan-") as scratch:
                packed = build_archive(folder, Path(scratch))
                client._wait(client._async._put(packed.sha256, packed.path, f"{project_name or folder.name}.zip"))
            return "UPLOAD_SUCCESS"

        return self._said(upload)

    def fetch_artifact(self, filename: str, save_path: str | None = None) -> bool:
        """Saves a file that was uploaded; False if there is none."""

        def fetch(client: Client) -> str:
            for name in (f"{UPLOADS}{filename}", filename):
                try:
                    found = client._wait(client._async._resolve(name))
                    break
                except NotFound:
                    continue
            else:
                return f"ERROR: there is no file {filename!r}"
            content = client._wait(uploads.fetch(client._async._connection, found.hash, found.size))
            Path(save_path or filename).write_bytes(content)
            return "OK"

        return self._said(fetch) == "OK"

    def publish_artifact(self, key: str, filename: str) -> bool:
        """Uploads a file, which `get_artifact` finds by this key."""
        return self.upload_file(filename) == "UPLOAD_SUCCESS" and self.store_put(key, os.path.basename(filename)) == "OK"

    def get_artifact(self, key: str, save_path: str | None = None) -> bool:
        """Saves the file that was published by this key, by default under its name in the folder
        for temporary files."""
        name = self.store_get(key)
        if name in ("NULL", "CLEARED", "") or name.startswith(("ERROR", "CONNECTION_ERROR")):
            return False
        return self.fetch_artifact(name, save_path or os.path.join(tempfile.gettempdir(), os.path.basename(name)))

    def _put_file(self, filepath: str, folder: str, done: str) -> str:
        path = Path(os.path.abspath(filepath))
        if not path.is_file():
            return f"ERROR: File not found at: {filepath}"

        def put(client: Client) -> str:
            with path.open("rb") as source:
                digest = hashlib.file_digest(source, "sha256").hexdigest()
            client._wait(client._async._put(digest, path, f"{folder}{path.name}"))
            return done

        return self._said(put)

    # -- within ------------------------------------------------------------------------------------
    def _client(self) -> Client:
        return _open(self._address)

    def _said(self, do: Callable[[Client], str]) -> str:
        """What is to be answered: errors are text here."""
        try:
            return do(self._client())
        except (MasterUnreachable, ConnectionLost) as error:
            return f"CONNECTION_ERROR: {error}"
        except TitanError as error:
            return f"ERROR: {error}"

    def _asked(self, do: Callable[[Client], T], otherwise: T) -> T:
        try:
            return do(self._client())
        except TitanError:
            return otherwise


def _ready(services: list[ServiceStatus]) -> dict[str, str]:
    """RUN/JOB -> HOST:PORT of those that are READY."""
    return {f"{s.run}/{s.job}": s.address for s in services if s.address and s.state == "READY"}


def _address() -> str | None:
    """None: where `titan.Client` looks. In a job that is a service TITAN_PORT is its own."""
    host, port = os.environ.get("TITAN_HOST"), os.environ.get("TITAN_PORT")
    if host:
        return f"{host}:{port or DEFAULT_PORT}"
    return f"127.0.0.1:{port}" if port and "TITAN_JOB" not in os.environ else None


def _split(args: str) -> list[str]:
    """As a shell would; where that cannot be, at spaces: those programs write apostrophes as they
    are."""
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
    """The DAG with its files on the master; `archived` are the ``NAME.zip/PATH`` that are files of
    a folder there."""
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
    """Of this process: one that was forked has its own. Raises MasterUnreachable."""
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
