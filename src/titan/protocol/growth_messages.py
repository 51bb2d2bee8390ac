"""Messages about runs that grow, and about pipelines that are kept by name."""

from __future__ import annotations

import msgspec

from titan.model.dag import DagSpec
from titan.protocol.base import Message
from titan.protocol.ranges import Column, Count, Lease, Measured, Moment, Name, Row


class Grow(Message, frozen=True):
    """Add jobs to a run that runs, all or none: from a worker to the run of the attempt it holds
    under `lease`, else to `run`.

    Parents in `dag` are ids of its jobs or of jobs of the run. `before`: ids of jobs that have not
    begun to wait for a worker, and wait for the addition too from now on; `before_children`: so do
    those that depend on the job that asks. `key` as in Submit, within the job that asks.
    """

    lease: Lease
    run: Name
    key: Name
    dag: DagSpec
    before: Row[Name] = ()
    before_children: bool = False


class Grown(Message, frozen=True):
    """`jobs` were added."""

    run: Name
    jobs: Count


class SavePipeline(Message, frozen=True):
    """Keep a DAG by a name. `replace`: one of that name may be there already."""

    name: Name
    dag: DagSpec
    replace: bool = False


class Saved(Message, frozen=True):
    """A pipeline is kept by that name, or was removed."""

    name: Name


class RemovePipeline(Message, frozen=True):
    name: Name


class ListPipelines(Message, frozen=True):
    """Those whose names come after `after`, at most `limit`."""

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
