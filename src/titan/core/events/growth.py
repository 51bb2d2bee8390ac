"""Events about jobs added to running runs, and about saved pipelines. See `events` for the rules of
all events."""

from __future__ import annotations

from titan.core.events.base import Fact
from titan.model.dag import DagSpec, JobTemplate


class RunGrown(Fact, frozen=True, tag="run_grown"):
    """Jobs were added to a run, all or none. Job i of the columns has number `first_job + i`.

    `parents` are positions in the run; a parent may be an earlier job of the run. `before` lists
    earlier jobs that must also wait for new jobs: (number of the earlier job, positions of the new
    jobs). `by` is the job that added the new jobs, 0 for a user. `depth` and `key` are as in
    `Growth`.
    """

    run: str
    by: int
    depth: int
    key: str
    templates: list[JobTemplate]
    ids: list[str]
    template_of: list[int]
    args: list[tuple[str, ...]]
    parents: list[tuple[int, ...]]
    before: list[tuple[int, tuple[int, ...]]]
    first_job: int
    at: float
    payloads: list[bytes] = []
    actor: str = ""


class PipelineSaved(Fact, frozen=True, tag="pipeline_saved"):
    """A DAG was saved under a name. It replaces an earlier DAG of that name."""

    name: str
    dag: DagSpec
    at: float
    actor: str = ""


class PipelineRemoved(Fact, frozen=True, tag="pipeline_removed"):
    """A saved pipeline was removed."""

    name: str
    at: float
    actor: str = ""
