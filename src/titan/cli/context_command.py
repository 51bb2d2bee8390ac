"""`titan context` as one of the commands that `titan --help` lists; see `titan.cli.context`."""

from __future__ import annotations

import click

from titan.cli.context import main


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def context(words: tuple[str, ...]) -> None:
    """Report the progress, status or result of a job, from inside it. Also access the store of its
    run, its artifacts, and the results of its parents."""
    click.get_current_context().exit(main(list(words)))
