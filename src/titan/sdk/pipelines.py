"""Pipelines that the master keeps under a name."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from titan.model.graph import resolve
from titan.protocol import messages as msg
from titan.sdk import submission
from titan.sdk.client_parts import Watcher
from titan.sdk.job import DAG
from titan.sdk.run import AsyncRun, Run
from titan.sdk.waiting import Waiting


@dataclass(frozen=True, slots=True)
class SavedPipeline:
    """A saved pipeline, as `titan save --list` shows it.

    - `jobs`: number of jobs.
    - `saved_at`: seconds since the epoch.
    """

    name: str
    dag: str
    version: str
    jobs: int
    saved_at: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class AsyncPipelines:
    """Saved pipelines: `AsyncClient.pipelines`."""

    def __init__(self, client: Watcher) -> None:
        self._client = client

    async def save(self, name: str, dag: DAG, *, replace: bool = False) -> None:
        """Save the DAG with its present files under a name.

        The limits are 20,000 jobs and 1,000 pipelines. Raises InvalidGraph, and Conflict for a name
        in use, unless `replace`.
        """
        async with self._client._staged(dag) as staged:
            await self._client._connection.call(lambda n: msg.SavePipeline(n, name, staged.spec, replace))

    async def list(self) -> list[SavedPipeline]:
        """Return all saved pipelines, by name."""
        pipelines: list[SavedPipeline] = []
        while True:
            after = pipelines[-1].name if pipelines else ""
            answer = await self._client._connection.call(lambda n, at=after: msg.ListPipelines(n, at))  # type: ignore[misc]
            assert isinstance(answer, msg.Pipelines)
            pipelines += [SavedPipeline(r.name, r.dag, r.version, r.jobs, r.saved_at) for r in answer.pipelines]
            if not answer.pipelines:
                return pipelines

    async def get(self, name: str) -> msg.Pipeline:
        """Return the pipeline with its DAG, in columns. Raises NotFound."""
        answer = await self._client._connection.call(lambda n: msg.GetPipeline(n, name))
        assert isinstance(answer, msg.Pipeline)
        return answer

    async def remove(self, name: str) -> None:
        """Remove the pipeline. Its runs continue. Raises NotFound."""
        await self._client._connection.remove(lambda n: msg.RemovePipeline(n, name))

    async def run(self, name: str, *, agent_run_id: str = "", deadline: float | None = None, cache: bool = True) -> AsyncRun:
        """Submit a run of the pipeline. Raises NotFound.

        `agent_run_id` and `deadline` override those of the pipeline. `cache` False: no job reuses
        an earlier result.
        """
        spec = (await self.get(name)).dag
        deadline_s = spec.deadline_s if deadline is None else deadline
        spec = msgspec.structs.replace(spec, group=agent_run_id or spec.group, deadline_s=deadline_s, fresh=not cache)
        answer = await submission.submit(self._client._connection, spec, resolve(spec), None)
        return AsyncRun(self._client, answer.run, spec.name)


class Pipelines:
    """Saved pipelines: `Client.pipelines`. See `AsyncPipelines` for arguments and errors."""

    def __init__(self, client: Waiting, pipelines: AsyncPipelines) -> None:
        self._client = client
        self._async = pipelines

    def save(self, name: str, dag: DAG, *, replace: bool = False) -> None:
        """Save the DAG with its present files under a name. See AsyncPipelines.save.

        >>> with Client() as client:                   # doctest: +SKIP
        ...     client.pipelines.save("nightly", load_pipeline("nightly.yaml"), replace=True)
        ...     client.pipelines.run("nightly", agent_run_id="agent-7").wait()
        """
        self._client._wait(self._async.save(name, dag, replace=replace))

    def list(self) -> list[SavedPipeline]:
        """Return all saved pipelines, by name."""
        return self._client._wait(self._async.list())

    def get(self, name: str) -> msg.Pipeline:
        """Return the pipeline with its DAG, in columns. Raises NotFound."""
        return self._client._wait(self._async.get(name))

    def remove(self, name: str) -> None:
        """Remove the pipeline. Its runs continue. Raises NotFound."""
        self._client._wait(self._async.remove(name))

    def run(self, name: str, *, agent_run_id: str = "", deadline: float | None = None, cache: bool = True) -> Run:
        """Submit a run of the pipeline. Raises NotFound."""
        run = self._async.run(name, agent_run_id=agent_run_id, deadline=deadline, cache=cache)
        return Run(self._client, self._client._wait(run))
