"""`titan validate`, `graph`, `schema` and `init`: pipeline files, without a master."""

from __future__ import annotations

import json
from pathlib import Path

import click

from titan.cli.exits import EXIT_FAILED
from titan.cli.options import json_option
from titan.cli.pipeline_options import PipelineCommand, PipelineOptions, pipeline_options
from titan.cli.terminal import one_line
from titan.model.names import shell_word


@click.command(cls=PipelineCommand)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@pipeline_options
@json_option
def validate(files: tuple[str, ...], params: tuple[str, ...], as_json: bool) -> None:
    """Check pipeline files, and print all problems as FILE:LINE: KEY: PROBLEM. Nothing is
    submitted.

    Exit code 0 if all files are valid, 1 if one is not, 2 if one cannot be read. A required
    parameter without --param gets some value of its type.
    """
    from titan.sdk.validation import validate as validate_file

    found = [validate_file(file, params=PipelineOptions(params).values()) for file in files]
    if as_json:
        rows = [
            {
                "file": result.file,
                "valid": result.ok,
                "pipelines": [{"name": dag.name, "jobs": dag.size} for dag in result.pipelines],
                "problems": [{"line": p.line, "key": p.key, "problem": p.problem} for p in result.problems],
            }
            for result in found
        ]
        print(json.dumps(rows))
    else:
        for result in found:
            for line in str(result).split("\n"):
                print(one_line(line))
    click.get_current_context().exit(0 if all(result.ok for result in found) else EXIT_FAILED)


@click.command(cls=PipelineCommand)
@click.argument("file", metavar="FILE")
@click.option("--format", "form", type=click.Choice(["text", "dot", "mermaid"]), default="text", help="Language.  [default: text]")
@pipeline_options
def graph(file: str, form: str, params: tuple[str, ...]) -> None:
    """Print the jobs of a pipeline with their order, as text or for a program that draws: `titan
    graph p.yaml --format dot | dot -Tsvg`. Nothing is submitted."""
    from titan.sdk.drawing import DRAWERS, graph_of
    from titan.sdk.pipeline import load_sample

    print(DRAWERS[form](graph_of(load_sample(file, params=PipelineOptions(params).values()))), end="")


@click.command()
def schema() -> None:
    """Print the JSON Schema of pipeline files, for editors that complete and check YAML."""
    from titan.sdk.schema import pipeline_schema

    print(json.dumps(pipeline_schema(), indent=2))


@click.command()
@click.argument("folder", default=".", metavar="[DIR]", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Write a small pipeline with a script, which `titan run` runs at once. Existing files stay as
    they are."""
    from titan.cli.starter import write_starter

    for path in write_starter(folder):
        print(f"wrote {path}")
    print(f"next: titan run {shell_word(str(folder / 'pipeline.yaml'))}")
