"""`TitanClient`. The behaviour that programs of the Titan SDK expect is kept where it differs from
`titan.Client`:

- Answers are texts or booleans.
- An unreachable master gives an answer that begins with ``CONNECTION_ERROR``.
- A job is found by its id alone, with or without the prefix ``DAG-``.
- The jobs of a run share a working directory on each machine.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec

from titan.compat import approvals, where
from titan.compat.job import GATE_PREFIX, TitanJob, gate_id, plain_id, plain_parents
from titan.compat.titan_yaml_parser import load_dag
from titan.content.archive import build_archive
from titan.errors import CallerError, ConnectionLost, MasterUnreachable, NotFound, TitanError
from titan.host.temporary_folder import temporary_folder
from titan.sdk import submission, uploads
from titan.sdk.client import Client
from titan.sdk.failure_fields import GATE_SUFFIX
from titan.sdk.fields import perm_name
from titan.sdk.job import DAG
from titan.sdk.run import submitted_here
from titan.sdk.services import ServiceStatus
from titan.sdk.staging import StagedDag, stage
from titan.sdk.status import JobStatus

T = TypeVar("T")
UPLOADS = "uploads/"
"""Folder of uploaded files inside the master's perm_files/."""
JOB_RUN_TTL_S = 30 * 86_400
"""Seconds for which the store remembers the newest run of a job id."""
_STATES = {
    "DEAD": "FAILED",
    "FAILED": "RETRYING",
    **dict.fromkeys(("WAITING", "QUEUED", "DELAYED", "DISPATCHED"), "PENDING"),
}
_OVER = ("COMPLETED", "FAILED", "REJECTED", "CANCELLED", "SKIPPED")
SEARCHED_RUNS = 200
"""Newest runs to search for a job that was not submitted through this module."""
PATIENCE_S = 20.0
POLL_S = 0.05
"""Shortest interval at which `submit_yaml` looks at the jobs of a run with services."""


class Accepted(str):
    """The text ``DAG_ACCEPTED``, with the id of the run in `run`."""

    __slots__ = ("run",)
    run: str

    def __new__(cls, run: str) -> Accepted:
        accepted = super().__new__(cls, "DAG_ACCEPTED")
        accepted.run = run
        return accepted


class TitanClient:
    """Client of a master, cheap to create.

    - `host`, `port`: address of the master; default: TITAN_HOST and TITAN_PORT, which a program may
      set at any time, else the address that `titan.Client` uses.
    - `shared_cwd`: scripts run in the folder that the jobs of a run share on a machine, and files
      of a project folder in the folder that holds them. False: each job has a folder of its own.

    All clients of a process share one connection per address.
    """

    def __init__(self, host: str | None = None, port: int | None = None, *, shared_cwd: bool = True) -> None:
        self._host, self._port = host, port
        self._shared_cwd = shared_cwd

    # -- submitting --------------------------------------------------------------------------------
    def submit_job(self, job: TitanJob) -> str:
        """Submit a single job. The answer is that of `submit_dag`."""
        return self.submit_dag(job.id, [job])

    def submit_dag(self, name: str, jobs: Iterable[TitanJob], agent_run_id: str | None = None) -> str:
        """Submit jobs and return ``DAG_ACCEPTED``, or ``ERROR: ...``. See `Accepted`.

        A parent that is not among `jobs` must be COMPLETED already. After a job with a
        `hitl_message`, the gate ``hitl-gate-JOB`` waits for a decision.
        """
        all_jobs = list(jobs)
        return self._text_answer(lambda client: self._submit(client, name, all_jobs, agent_run_id or ""))

    def submit_yaml(
        self, yaml_path: str, agent_run_id: str | None = None, wait: bool = False, poll_interval: float = 2, timeout: float = 300
    ) -> str | bool:
        """Submit a pipeline file of Titan or of the Titan SDK, see `load_dag`.

        With `wait`, wait until its jobs are over and its services READY. Return False if that takes
        longer than `timeout` seconds. The end of a run is noticed at once. While services run,
        their jobs are looked at every `poll_interval` seconds. Unknown keys cause the warning
        `UnknownKey`. Raises FileNotFoundError, InvalidPipeline.
        """
        dag = load_dag(yaml_path, shared_cwd=self._shared_cwd)
        if agent_run_id:
            dag = DAG(dag.name, [*dag.jobs, *dag.calls], dag.version, dag.project, dag.deadline, agent_run_id)
        answer = self._text_answer(lambda client: self._send(client, dag, set()))
        if not wait or not isinstance(answer, Accepted):
            return answer
        interval = max(poll_interval, POLL_S) if any(job.service for job in dag.jobs) else timeout
        over = self._text_answer(lambda client: "OVER" if self._wait_for(client, answer.run, interval, timeout) else "")
        return answer if over == "OVER" else over or False

    def _wait_for(self, client: Client, run: str, interval: float, timeout: float) -> bool:
        """Return whether each job is over, or is a READY service, within `timeout` seconds."""
        end = time.monotonic() + timeout
        while True:
            try:
                client.run(run).wait(max(0.0, min(interval, end - time.monotonic())))
                return True
            except TimeoutError:
                ready = _ready(client.services(run))
            if all(state_of(job) in _OVER or f"{run}/{job.id}" in ready for job in client.status(run).jobs):
                return True
            if time.monotonic() >= end:
                return False

    def _submit(self, client: Client, name: str, jobs: list[TitanJob], group: str) -> str:
        ids = {plain_id(job.id) for job in jobs}
        gated = {plain_id(job.id) for job in jobs if job.has_gate}
        parents = [plain_parents(job.parents, gated) for job in jobs]
        missing = dict.fromkeys(parent for some in parents for parent in some if parent not in ids)
        for parent in missing:
            state = self._state(client, parent)
            if state != "COMPLETED":
                return f"ERROR: parent {parent!r} is not among the submitted jobs and is {state}, not COMPLETED"
        converted = [
            job.as_job([parent for parent in some if parent in ids], shared_cwd=self._shared_cwd)
            for job, some in zip(jobs, parents, strict=True)
        ]
        return self._send(client, DAG(name, converted, agent_run_id=group), {job.filename for job in jobs if job.is_archive})

    def _send(self, client: Client, dag: DAG, archived: set[str]) -> Accepted:
        staged = stage(dag, gate_id=gate_id)
        try:
            staged = client._wait(_on_master(client, staged, archived))
            answer = client._wait(submission.submit(client._async._connection, staged.spec, staged.parents, None))
        finally:
            staged.close()
        submitted_here(answer.run)
        gates = [gate_id(job.id) for job in dag.jobs if job.hitl_message is not None]
        self._remember(client, answer.run, [*[job.id for job in dag.jobs], *gates])
        return Accepted(answer.run)

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
        return state_of(job)

    @staticmethod
    def _target(client: Client, job_id: str) -> str:
        """Return RUN/JOB of the newest job with that id; "" if there is none."""
        names = list(dict.fromkeys((plain_id(job_id), job_id)))
        for name in names:
            run = client.store.execute("GET", f"compat:job:{name}")
            if isinstance(run, bytes) and _has(client, f"{run.decode()}/{name}"):
                return f"{run.decode()}/{name}"
        if names[0].startswith(GATE_PREFIX):  # of a run that `titan.Client` submitted
            names.append(names[0].removeprefix(GATE_PREFIX) + GATE_SUFFIX)
        for summary in client.runs(SEARCHED_RUNS):
            for name in names:
                if _has(client, f"{summary.run}/{name}"):
                    return f"{summary.run}/{name}"
        return ""

    # -- the store ---------------------------------------------------------------------------------
    def store_put(self, key: str, value: object) -> str:
        """Set a key of the shared store to a text. Return "OK".

        ``titan:hitl:status:GATE`` set to APPROVED or REJECTED decides the gate.
        """

        def put(client: Client) -> str:
            gate = approvals.gate_of(key)
            decides = str(value) in (approvals.APPROVED, approvals.REJECTED)
            if gate and decides and (target := self._target(client, gate)):
                approvals.decide(client, target, str(value))
            return _text(client.store.execute("SET", key, str(value)))

        return self._text_answer(put)

    def store_get(self, key: str) -> str:
        """Return the text of a key; "NULL" if it does not exist."""

        def get(client: Client) -> str:
            found: str | None = None
            if gate := approvals.gate_of(key):
                target = self._target(client, gate)
                found = approvals.status_of(client.job(target)[0]) if target else None
            elif gate := approvals.gate_of(key, approvals.MESSAGE):
                target = self._target(client, gate)
                found = approvals.message_of(client, target) if target else None
            return _text(client.store.execute("GET", key)) if found is None else found

        return self._text_answer(get)

    def store_sadd(self, key: str, member: object) -> int:
        """Add a member to a set. Return 1 if it is new, else 0."""
        answer = self._text_answer(lambda client: _text(client.store.execute("SADD", key, str(member))))
        return int(answer) if answer.isdigit() else 0

    def store_smembers(self, key: str) -> list[str]:
        """Return the members of a set. Those of ``titan:hitl:queue`` are the gates that wait."""
        no_members: list[str] = []

        def members(client: Client) -> list[str]:
            found = {_text(member) for member in client.store.smembers(key)}
            return sorted(found.union(approvals.waiting(client)) if key == approvals.QUEUE else found)

        return self._answer_or(members, no_members)

    # -- services ----------------------------------------------------------------------------------
    def stop_service(self, service_id: str) -> str:
        """Stop a service.

        Return ``STOPPED: DAG-ID``, or ``ERROR: ...``. Raises ValueError for an empty id.
        """
        if not service_id:
            raise ValueError("stop_service: the service id is empty: give the id of a service")
        name = f"DAG-{plain_id(service_id)}"

        def stop(client: Client) -> str:
            target = self._target(client, name)
            if not target or not any(f"{s.run}/{s.job}" == target for s in client.services(target.split("/")[0])):
                return f"ERROR: service {name} not found"
            client.stop(target)
            return f"STOPPED: {name}"

        return self._text_answer(stop)

    def get_service_address(self, service_id: str) -> tuple[str, int] | None:
        """Return (host, port) of a service that is READY, else None."""
        name = plain_id(service_id)
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
            with temporary_folder() as scratch:
                packed = build_archive(folder, scratch)
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
        return _open(where.find(self._host, self._port))

    def _send_request(self, op_code: int, payload: str) -> NoReturn:
        """Raises CallerError: the packets of the Titan SDK are not kept."""
        raise CallerError(
            f"titan.compat sends no packets of the Titan SDK (operation 0x{op_code:02x}): call a method of TitanClient or "
            "titan.Client, see docs/migrating-from-titan.md"
        )

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


def _text(answer: object) -> str:
    if answer is None:
        return "NULL"
    return answer.decode(errors="replace") if isinstance(answer, bytes) else str(answer)


def _has(client: Client, target: str) -> bool:
    try:
        client.job(target)
    except NotFound:
        return False
    return True


def state_of(job: JobStatus) -> str:
    """Return the state of a job as the Titan SDK names it."""
    if approvals.is_rejected(job):
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
