"""Reading endpoints of the API: what `titan status`, `titan why` and the listing commands show."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from litestar import Controller, Request
from litestar.datastructures import State
from litestar.openapi import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream

from titan import __version__
from titan.dashboard.access import Access, Identity
from titan.dashboard.clients import Clients
from titan.dashboard.models import Attempts, Graph, JobDetails, Jobs, Run, Runs, Session, cursor, graph_of, run_of
from titan.dashboard.routing import RESPONSES, get
from titan.sdk.artifacts import ArtifactInfo
from titan.sdk.client import AsyncClient
from titan.sdk.decisions import OpenGate
from titan.sdk.disk import DiskStatus
from titan.sdk.scaling import ScaleStatus
from titan.sdk.schedules import ScheduleStatus
from titan.sdk.secret_values import SecretStatus
from titan.sdk.services import ServiceStatus
from titan.sdk.status import DeadJob, WorkerStatus
from titan.sdk.why import Why

MOST = 1000
Limit = Annotated[int, Parameter(ge=1, le=MOST, description="Number of items, at most.")]
Cursor = Annotated[str | None, Parameter(pattern=r"^\d{1,12}$", description="`next` of the page before.")]
RunCursor = Annotated[str | None, Parameter(pattern=r"^[0-9a-z]{1,32}$", description="`next` of the page before.")]
Text = Annotated[str, Parameter(max_length=1024)]
States = Annotated[
    list[Literal["RUNNING", "COMPLETED", "FAILED", "CANCELLED"]] | None,
    Parameter(description="Only runs in one of these states. May be repeated."),
]
Since = Annotated[float, Parameter(ge=0, le=253_402_300_799, description="Seconds since the epoch.")]

OutputStream = Literal["stdout", "stderr"]
AttemptNumber = Annotated[int | None, Parameter(ge=1, le=1_000_000, description="Number of the attempt; default: the newest.")]


class Reading(Controller):
    """Every answer has an ETag; a request with If-None-Match gets 304 if nothing changed."""

    path = "/"
    tags = ["read"]

    @get("/session", summary="Who is signed in")
    async def session(self, request: Request[Identity, str, State], access: Access, clients: Clients) -> Session:
        identity = request.user
        csrf = access.csrf_token(identity) if identity.session else ""
        return Session(identity.actor, identity.role, csrf, clients.reader.address, __version__)

    @get("/runs", summary="Runs, the newest first, including those of the history")
    async def runs(
        self,
        clients: Clients,
        limit: Limit = 100,
        after: RunCursor = None,
        dag: Text = "",
        agent_run_id: Text = "",
        since: Since = 0.0,
        states: States = None,
    ) -> Runs:
        found = await clients.reader.runs(limit + 1, after or "", dag=dag, since=since, states=states or (), group=agent_run_id)
        items = [run_of(summary) for summary in found[:limit]]
        return Runs(items, items[-1].run if len(found) > limit else None)

    @get("/runs/{run:str}", summary="A run without its jobs")
    async def run(self, clients: Clients, run: str) -> Run:
        return run_of((await clients.reader.job_page(run, 0, 1)).run)

    @get("/runs/{run:str}/jobs", summary="Jobs of a run, in the order of the DAG")
    async def jobs(self, clients: Clients, run: str, limit: Limit = 100, after: Cursor = None) -> Jobs:
        page = await clients.reader.job_page(run, int(after or 0), limit)
        return Jobs(page.jobs, cursor(page.next), page.run.count)

    @get("/runs/{run:str}/graph", summary="Jobs of a run with their parents and templates")
    async def graph(self, clients: Clients, run: str, limit: Limit = 1000, after: Cursor = None) -> Graph:
        return graph_of(await clients.reader.graph_page(run, int(after or 0), limit))

    @get("/runs/{run:str}/attempts", summary="Attempts of a run, by job and then by time")
    async def attempts(self, clients: Clients, run: str, limit: Limit = 1000, after: Cursor = None) -> Attempts:
        page = await clients.reader.attempt_page(run, int(after or 0), limit)
        return Attempts(page.attempts, cursor(page.next))

    @get("/runs/{run:str}/jobs/{job:str}", summary="A job with its story and attempts")
    async def job(self, clients: Clients, run: str, job: str) -> JobDetails:
        status, story = await clients.reader.job(f"{run}/{job}")
        return JobDetails(run, status, story, await clients.reader.attempts(f"{run}/{job}"))

    @get("/runs/{run:str}/jobs/{job:str}/why", summary="Why a job does not run")
    async def why(self, clients: Clients, run: str, job: str) -> Why:
        return await clients.reader.why(f"{run}/{job}")

    @get(
        "/runs/{run:str}/jobs/{job:str}/output",
        summary="Output of an attempt, byte for byte",
        media_type="text/plain",
        responses=RESPONSES | {200: ResponseSpec(bytes, media_type="text/plain", description="The bytes of one stream.")},
    )
    async def output(
        self, clients: Clients, run: str, job: str, stream: OutputStream = "stdout", attempt: AttemptNumber = None
    ) -> Stream:
        wanted = 1 if stream == "stdout" else 2
        headers = {"Content-Disposition": f'attachment; filename="{run}-{job}-{stream}.txt"'}
        output = _bytes(clients.reader, f"{run}/{job}", attempt, wanted)
        first = await anext(output, b"")  # raises before the answer begins
        return Stream(_chained(first, output), media_type="text/plain", headers=headers)

    @get("/workers", summary="Workers")
    async def workers(self, clients: Clients) -> list[WorkerStatus]:
        return await clients.reader.workers()

    @get("/services", summary="Services that are not over")
    async def services(self, clients: Clients, run: Text = "", limit: Limit = 1000) -> list[ServiceStatus]:
        return await clients.reader.services(run, limit)

    @get("/gates", summary="Gates that wait for a decision, the oldest first")
    async def gates(self, clients: Clients, run: Text = "", limit: Limit = 1000) -> list[OpenGate]:
        return await clients.reader.gates(run, limit)

    @get("/dlq", summary="Dead letter queue, the newest first")
    async def dlq(self, clients: Clients, run: Text = "", limit: Limit = 1000) -> list[DeadJob]:
        return await clients.reader.dead_jobs(run, limit)

    @get("/schedules", summary="Schedules, by name")
    async def schedules(self, clients: Clients) -> list[ScheduleStatus]:
        return await clients.reader.schedules.list()

    @get("/secrets", summary="Names of secrets")
    async def secrets(self, clients: Clients) -> list[SecretStatus]:
        return await clients.reader.secrets.list()

    @get("/artifacts", summary="Published files: `RUN/` lists those of a run")
    async def artifacts(self, clients: Clients, prefix: Text = "", limit: Limit = 1000) -> list[ArtifactInfo]:
        return await clients.reader.artifacts(prefix, limit)

    @get("/scale", summary="Burst workers and the last decisions")
    async def scale(self, clients: Clients) -> list[ScaleStatus]:
        return await clients.reader.scale()

    @get("/disk", summary="Disk space; takes up to 15 s")
    async def disk(self, clients: Clients) -> DiskStatus:
        return await clients.reader.disk()


async def _bytes(client: AsyncClient, target: str, attempt: int | None, stream: int) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(client.log_pieces(target, attempt=attempt)) as pieces:
        async for piece in pieces:
            if piece.stream == stream:
                yield piece.data


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for data in rest:
        yield data
