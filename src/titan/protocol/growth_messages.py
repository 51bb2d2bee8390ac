"""Messages about jobs that are added to runs, and about saved pipelines."""

from __future__ import annotations

import msgspec

from titan.model.dag import DagSpec
from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Lease, Measured, Moment, Name, Row


class Grow(Message, frozen=True):
    """Add jobs to a run that is not over, all or none.

    A worker adds to the run of its attempt `lease`, a client to `run`. Parents in `dag` are ids of
    jobs in `dag` or in the run. `before`: ids of jobs in the run that must also wait for the new
    jobs; those jobs must still be WAITING. `before_children`: the children of the requesting job
    must also wait. `key` is as in Submit, but unique only within the requesting job.
    """

    lease: Lease
    run: Name
    key: Name
    dag: DagSpec
    before: Row[Name] = ()
    before_children: bool = False


class Grown(Message, frozen=True):
    """Number of jobs that were added to the run."""

    run: Name
    jobs: Count


class SavePipeline(Message, frozen=True):
    """Save a DAG under a name. `replace`: replace a pipeline that has this name."""

    name: Name
    dag: DagSpec
    replace: bool = False


class Saved(Message, frozen=True):
    """The pipeline of this name was saved or removed."""

    name: Name


class RemovePipeline(Message, frozen=True):
    name: Name


class ListPipelines(Message, frozen=True):
    """List at most `limit` pipelines, by name, whose names sort after `after`."""

    after: Name = ""
    limit: Count = 1000


class PipelineRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    name: Name
    dag: Name
    version: Name
    jobs: Count
    saved_at: Measured


class Pipelines(Message, frozen=True):
    pipelines: Column[PipelineRow]


class GetPipeline(Message, frozen=True):
    name: Name


class Pipeline(Message, frozen=True):
    name: Name
    dag: DagSpec
    saved_at: Moment
