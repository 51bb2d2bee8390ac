"""The group of all commands. The module of a command is imported only when it is used."""

from __future__ import annotations

import importlib
import sys
from typing import Any, NoReturn

import click

from titan._version import __version__
from titan.cli.exits import EXIT_INTERRUPTED, exit_code, print_error
from titan.cli.terminal import make_plain
from titan.errors import TitanError

_COMMANDS = {
    "up": "titan.cli.up",
    "run": "titan.cli.run_command",
    "submit": "titan.cli.run",
    "wait": "titan.cli.run",
    "attach": "titan.cli.run",
    "linger": "titan.cli.sharing",
    "add": "titan.cli.add",
    "status": "titan.cli.ask",
    "logs": "titan.cli.ask",
    "cancel": "titan.cli.ask",
    "result": "titan.cli.ask",
    "runs": "titan.cli.ask",
    "workers": "titan.cli.workers",
    "scale": "titan.cli.scale",
    "dlq": "titan.cli.dlq",
    "gates": "titan.cli.gates",
    "approve": "titan.cli.gates",
    "reject": "titan.cli.gates",
    "why": "titan.cli.why",
    "services": "titan.cli.services",
    "stop": "titan.cli.services",
    "replace": "titan.cli.services",
    "master": "titan.cli.serve",
    "worker": "titan.cli.serve",
    "journal": "titan.cli.journal",
    "history": "titan.cli.history",
    "schedule": "titan.cli.schedule",
    "store": "titan.cli.store",
    "artifacts": "titan.cli.artifacts",
    "artifact": "titan.cli.artifacts",
    "context": "titan.cli.context_command",
    "replay": "titan.cli.replay",
    "simulate": "titan.cli.simulate",
    "save": "titan.cli.save",
    "secret": "titan.cli.secret",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(module), cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as e:
            import difflib

            near = difflib.get_close_matches(args[0], _COMMANDS, 1) if args else []
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
