"""Endpoints that change the cluster. The master records who sent the request with each change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from litestar import Controller, Request
from litestar.datastructures import State
from litestar.params import Body

from titan.dashboard.access import Identity
from titan.dashboard.clients import Clients
from titan.dashboard.guards import operators_only
from titan.dashboard.models import Done
from titan.dashboard.routing import delete, post
from titan.errors import CallerError
from titan.sdk.client import AsyncClient
from titan.sdk.decisions import Decision, Retried
from titan.sdk.scaling import Told
from titan.sdk.schedules import ScheduleStatus

Sender = Request[Identity, str, State]
MAX_COMMENT = 4096


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Decision about a gate. `comment`: the reason, at most 4,096 characters."""

    approve: bool
    comment: str = ""


@dataclass(frozen=True, slots=True)
class NewRun:
    """Id of a run that was submitted."""

    run: str


class Acting(Controller):
    path = "/"
    tags = ["change"]
    guards = [operators_only]

    @post("/runs/{run:str}/cancel", status_code=200, summary="Cancel a run")
    async def cancel(self, request: Sender, clients: Clients, run: str) -> Done:
        return Done(await (await _client(request, clients)).cancel(run))

    @post("/runs/{run:str}/jobs/{job:str}/cancel", status_code=200, summary="Cancel a job and its dependents")
    async def cancel_job(self, request: Sender, clients: Clients, run: str, job: str) -> Done:
        return Done(await (await _client(request, clients)).cancel(f"{run}/{job}"))

    @post("/runs/{run:str}/rerun", summary="Submit the DAG of a run again, with the files that it had")
    async def rerun(self, request: Sender, clients: Clients, run: str) -> NewRun:
        return NewRun((await (await _client(request, clients)).rerun(run)).id)

    @post("/runs/{run:str}/jobs/{job:str}/rerun", summary="Submit a job and its dependents again as a new run")
    async def rerun_job(self, request: Sender, clients: Clients, run: str, job: str) -> NewRun:
        return NewRun((await (await _client(request, clients)).rerun(f"{run}/{job}")).id)

    @post("/runs/{run:str}/retry", status_code=200, summary="Run all dead jobs of a run again")
    async def retry(self, request: Sender, clients: Clients, run: str) -> Retried:
        return await (await _client(request, clients)).retry_dead(run, by=request.user.actor)

    @post("/runs/{run:str}/jobs/{job:str}/retry", status_code=200, summary="Run a dead job again")
    async def retry_job(self, request: Sender, clients: Clients, run: str, job: str) -> Retried:
        return await (await _client(request, clients)).retry_dead(f"{run}/{job}", by=request.user.actor)

    @post("/runs/{run:str}/purge", status_code=200, summary="Remove all dead jobs of a run from the dead letter queue")
    async def purge(self, request: Sender, clients: Clients, run: str) -> Done:
        return Done(await (await _client(request, clients)).purge_dead(run))

    @post("/runs/{run:str}/jobs/{job:str}/purge", status_code=200, summary="Remove a job from the dead letter queue")
    async def purge_job(self, request: Sender, clients: Clients, run: str, job: str) -> Done:
        return Done(await (await _client(request, clients)).purge_dead(f"{run}/{job}"))

    @post("/runs/{run:str}/jobs/{job:str}/decide", status_code=200, summary="Approve or reject a gate")
    async def decide(
        self, request: Sender, clients: Clients, run: str, job: str, data: Annotated[GateDecision, Body()]
    ) -> Decision:
        if len(data.comment) > MAX_COMMENT:
            raise CallerError(f"comment: has {len(data.comment):,} characters, at most {MAX_COMMENT:,} are kept")
        client = await _client(request, clients)
        decide = client.approve if data.approve else client.reject
        return await decide(f"{run}/{job}", by=request.user.actor, comment=data.comment)

    @post("/runs/{run:str}/jobs/{job:str}/stop", status_code=200, summary="Stop a service")
    async def stop_service(self, request: Sender, clients: Clients, run: str, job: str) -> Done:
        return Done(await (await _client(request, clients)).stop(f"{run}/{job}"))

    @post("/schedules/{name:str}/pause", status_code=200, summary="Pause a schedule")
    async def pause(self, request: Sender, clients: Clients, name: str) -> ScheduleStatus:
        return await (await _client(request, clients)).schedules.pause(name)

    @post("/schedules/{name:str}/resume", status_code=200, summary="Resume a schedule")
    async def resume(self, request: Sender, clients: Clients, name: str) -> ScheduleStatus:
        return await (await _client(request, clients)).schedules.resume(name)

    @post("/schedules/{name:str}/run", summary="Start a run of a schedule now")
    async def run_schedule(self, request: Sender, clients: Clients, name: str) -> NewRun:
        return NewRun((await (await _client(request, clients)).schedules.run(name)).id)

    @delete("/schedules/{name:str}", summary="Remove a schedule; its runs continue")
    async def remove_schedule(self, request: Sender, clients: Clients, name: str) -> None:
        await (await _client(request, clients)).schedules.remove(name)

    @post("/workers/{name:str}/drain", status_code=200, summary="Drain a worker: it finishes its jobs and leaves")
    async def drain(self, request: Sender, clients: Clients, name: str) -> Told:
        return await (await _client(request, clients)).drain_worker(name)

    @post("/pipelines/{name:str}/run", summary="Start a run of a saved pipeline")
    async def run_pipeline(self, request: Sender, clients: Clients, name: str) -> NewRun:
        return NewRun((await (await _client(request, clients)).pipelines.run(name)).id)


async def _client(request: Request[Any, Any, Any], clients: Clients) -> AsyncClient:
    return await clients.of(request.user.actor)
