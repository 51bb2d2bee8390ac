"""Events about runs that grow, and pipelines that are kept by name. See `events` for the rules that
hold for all."""

from __future__ import annotations

from titan.core.events.base import Fact
from titan.model.dag import DagSpec, JobTemplate


class RunGrown(Fact, frozen=True, tag="run_grown"):
    """A run has more jobs: job i of the columns is number `first_job + i`. All of them are there,
    or none.

    `parents` are positions in the run, those of jobs that were there before included. `before`:
    (number, positions) of jobs that wait for these too from now on. `by` is the job that added
    them, 0 a user; `depth` and `key` as in Growth.
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
    """A DAG can be run by its name from now on; one of that name that was there before is no more."""

    name: str
    dag: DagSpec
    at: float
    actor: str = ""


class PipelineRemoved(Fact, frozen=True, tag="pipeline_removed"):
    name: str
    at: float
    actor: str = ""
