"""The group of all commands. The module of a command is imported only when it is used."""

from __future__ import annotations

import importlib
import sys
from typing import Any, NoReturn

import click

from titan._version import __version__
from titan.cli.exits import EXIT_INTERRUPTED, exit_code, print_error
from titan.cli.terminal import make_plain
from titan.errors import CallerError, TitanError

_SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "run": ("run_command", "Run a pipeline, a script or a command, and follow it."),
        "submit": ("run", "Submit a pipeline, a script or a command, and return."),
        "attach": ("run", "Follow a run as `titan run` does."),
        "wait": ("run", "Follow a run until it is over."),
        "rerun": ("rerun", "Submit a run again."),
        "cancel": ("ask", "Cancel a run, a job, or all runs."),
        "add": ("add", "Add jobs to an open run."),
        "save": ("save", "Save a pipeline under a name, list or remove them."),
        "schedule": ("schedule", "Manage runs that start by the clock."),
        "simulate": ("simulate", "Predict a run without running it."),
    },
    "Write pipelines": {
        "init": ("pipeline_files", "Write a small pipeline to begin with."),
        "validate": ("pipeline_files", "Check pipeline files."),
        "graph": ("pipeline_files", "Print the graph of a pipeline."),
        "schema": ("pipeline_files", "Print the JSON Schema of pipelines."),
    },
    "Look": {
        "status": ("ask", "Show the cluster, a run or a job."),
        "runs": ("ask", "List the newest runs."),
        "top": ("top", "Show workers, queues and runs, live."),
        "ps": ("activity", "List the jobs that run now."),
        "logs": ("ask", "Print the output of a job or a run."),
        "result": ("ask", "Wait for a job and print its result."),
        "why": ("why", "Say why a job does not run."),
        "events": ("activity", "Print the events of the cluster."),
        "replay": ("replay", "Show the cluster at a moment of its past."),
    },
    "Decide": {
        "gates": ("gates", "List the gates that wait for a decision."),
        "approve": ("gates", "Approve a gate."),
        "reject": ("gates", "Reject a gate."),
        "dlq": ("dlq", "Manage the dead letter queue."),
    },
    "Services and data": {
        "services": ("services", "List the services."),
        "stop": ("services", "Stop a service."),
        "replace": ("services", "Restart a service, with another command if given."),
        "push": ("rerun", "Upload a file for later runs."),
        "files": ("files", "List or download the files that a job left."),
        "artifacts": ("artifacts", "List outputs and published files."),
        "artifact": ("artifacts", "Download, publish or remove a file."),
        "store": ("store", "Serve TitanStore alone, or send it a command."),
        "secret": ("secret", "Manage values that jobs get and nobody sees."),
        "context": ("context_command", "Talk to the master from inside a job."),
    },
    "Operate": {
        "up": ("up", "Run a master and workers on this machine."),
        "master": ("serve", "Run a master."),
        "worker": ("serve", "Run a worker."),
        "workers": ("workers", "List the workers, drain or stop one."),
        "dashboard": ("dashboard", "Serve the HTTP API."),
        "open": ("dashboard", "Print a link that signs a browser in to the API."),
        "token": ("dashboard", "Manage the API tokens of programs."),
        "disk": ("disk", "Show what takes disk space."),
        "scale": ("scale", "Show the scaling rules."),
        "journal": ("journal", "Check or repair a master's journal."),
        "history": ("history", "Check or rebuild a master's history."),
    },
}
"""Section -> command -> (module in titan.cli, one line of help). The help of the group imports no
command."""
_HIDDEN = {"linger": "linger"}
_COMMANDS = {name: f"titan.cli.{module}" for section in _SECTIONS.values() for name, (module, _) in section.items()}
_COMMANDS |= {name: f"titan.cli.{module}" for name, module in _HIDDEN.items()}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _COMMANDS if name not in _HIDDEN]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()], col_max=12)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        found = importlib.import_module(module)
        command: click.Command = getattr(found, f"{cmd_name}_", None) or getattr(found, cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as e:
            import difflib

            near = difflib.get_close_matches(args[0], self.list_commands(ctx), 1) if args else []
            if near and "Did you mean" not in e.message:
                raise click.UsageError(f"{e.message} Did you mean {near[0]!r}?", ctx) from None
            raise


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="titan")
def titan() -> None:
    """Titan runs scripts, binaries, functions and services as one durable graph on many machines.

    \b
    titan run pipeline.yaml     submit a pipeline and follow it, if need be on a private cluster
    titan up                    run a master and a worker on this machine
    titan status                show the cluster, a run or a job
    """


def run() -> NoReturn:
    """Run the command line and exit; see `titan.cli.main` for the exit codes."""
    as_json = "--json" in sys.argv
    make_plain()
    try:
        code: Any = titan.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as e:
        if as_json:
            print_error(CallerError(e.format_message()), as_json=True)
        else:
            e.show()
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except TitanError as e:
        print_error(e, as_json=as_json)
        sys.exit(exit_code(e))
