"""`titan save`: saved pipelines, which run by name."""

from __future__ import annotations

import json
import time

import click

from titan.cli.job_options import JobOptions, dag_of
from titan.cli.options import json_option, master_option, python_option
from titan.cli.pipeline_options import PipelineCommand, PipelineOptions, pipeline_options
from titan.cli.session import open_client
from titan.cli.table import print_table, wide_option


@click.command(cls=PipelineCommand)
@click.argument("name", required=False)
@click.argument("file", required=False, metavar="PIPELINE|SCRIPT")
@click.option("--replace", is_flag=True, help="Replace an existing pipeline of this name.")
@click.option("--list", "list_", is_flag=True, help="List the saved pipelines.")
@click.option("--remove", is_flag=True, help="Remove the pipeline NAME. Its runs go on.")
@pipeline_options
@python_option
@master_option
@wide_option
@json_option
def save(
    name: str | None,
    file: str | None,
    replace: bool,
    list_: bool,
    remove: bool,
    params: tuple[str, ...],
    python: str | None,
    master: str | None,
    as_json: bool,
) -> None:
    """Save a pipeline or script under a name. Its files are saved as they are now. Run it by `titan
    run NAME`, or by `pipeline: NAME` in another pipeline."""
    if list_:
        if name or file or remove:
            raise click.UsageError("--list takes no NAME, no FILE and no --remove: titan save --list")
        _list(master, as_json=as_json)
        return
    if name is None or (file is None) is not remove:
        raise click.UsageError("use titan save NAME FILE, titan save --remove NAME, or titan save --list")
    if remove:
        with open_client(master) as client:
            client.pipelines.remove(name)
        print(json.dumps({"name": name, "removed": True}) if as_json else f"pipeline {name} is removed")
        return
    assert file is not None
    dag = dag_of((file,), JobOptions(default_retries=3, python=python), PipelineOptions(params), deadline=None)
    with open_client(master) as client:
        client.pipelines.save(name, dag, replace=replace)
    print(json.dumps({"name": name, "jobs": dag.size}) if as_json else f"pipeline {name} is saved: titan run {name}")


def _list(master: str | None, *, as_json: bool) -> None:
    with open_client(master) as client:
        found = client.pipelines.list()
    if as_json:
        print(json.dumps([p.to_dict() for p in found]))
    elif not found:
        print("no pipeline is saved: titan save NAME FILE")
    else:
        rows = [
            (
                p.name,
                p.dag,
                p.version,
                str(p.jobs),
                time.strftime("%F %T", time.localtime(p.saved_at)),
            )
            for p in found
        ]
        print_table(("NAME", "DAG", "VERSION", "JOBS", "SAVED"), rows)
