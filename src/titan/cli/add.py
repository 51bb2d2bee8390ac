"""`titan add`: add jobs to an open run."""

from __future__ import annotations

import json

import click

from titan.cli.options import json_option, master_option
from titan.cli.pipeline_options import PipelineCommand, PipelineOptions, pipeline_options
from titan.cli.session import open_client
from titan.cli.targets import find_target
from titan.sdk.pipeline import load_addition


@click.command(cls=PipelineCommand)
@click.argument("run")
@click.argument("file", metavar="PIPELINE|-")
@click.option("--before", multiple=True, metavar="JOB", help="A job of the run that then waits for them; not ready yet.")
@pipeline_options
@master_option
@json_option
def add(run: str, file: str, before: tuple[str, ...], params: tuple[str, ...], master: str | None, as_json: bool) -> None:
    """Add the jobs of a pipeline to an open run, all or none. They may depend on jobs of the run.
    `-` reads the pipeline from stdin."""
    dag = load_addition(file, params=PipelineOptions(params).values())
    with open_client(master) as client:
        run = find_target(client, run)
        count = client.run(run).add(*dag.jobs, before=before, project=dag.project)
    print(json.dumps({"run": run, "jobs": count}) if as_json else f"{count:,} jobs are added to {run}")
