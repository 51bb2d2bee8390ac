"""Options that choose the values of a pipeline's parameters, and their list in `--help FILE`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from titan.errors import CallerError, InvalidPipeline

if TYPE_CHECKING:
    from titan.sdk.params import Param

F = TypeVar("F", bound=Callable[..., Any])
_ARGUMENTS = "titan.arguments"
"""Key of the context's `meta` for the words of the command line."""


@dataclass(frozen=True)
class PipelineOptions:
    """The options of a pipeline file."""

    params: tuple[str, ...] = ()

    @property
    def named(self) -> list[str]:
        """Return the options that were given, as they are typed."""
        return ["--param"] if self.params else []

    def values(self) -> dict[str, str]:
        """Return the values of parameters, by name. Raises CallerError."""
        found: dict[str, str] = {}
        for text in self.params:
            name, separator, value = text.partition("=")
            if not separator or not name:
                raise CallerError(f"--param {text[:80]}: write --param NAME=VALUE")
            if name in found:
                raise CallerError(f"--param {name[:80]} is given twice: leave one out")
            found[name] = value
        return found

    def refuse(self, why: str) -> None:
        """Raise CallerError if an option was given. `why` says where the option belongs."""
        if self.named:
            raise CallerError(f"{self.named[0]} {why}")


def pipeline_options(command: F) -> F:
    """Add the options that `PipelineOptions` has."""
    return click.option(
        "--param",
        "params",
        multiple=True,
        metavar="NAME=VALUE",
        help="Value of a parameter of the pipeline, repeatable; `--help FILE` lists them.",
    )(command)


def take_pipeline_options(options: dict[str, Any]) -> PipelineOptions:
    """Remove the pipeline's options from the arguments of a command, and return them."""
    return PipelineOptions(options.pop("params"))


def is_pipeline(first: str) -> bool:
    """Return whether a word of the command line names a pipeline file."""
    return first.endswith((".yaml", ".yml"))


class PipelineCommand(click.Command):
    """Command whose `--help FILE` also lists the parameters of the pipeline file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = tuple(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        file = next((word for word in ctx.meta.get(_ARGUMENTS, ()) if is_pipeline(word)), None)
        if file is not None:
            _write_params(file, formatter)
        super().format_options(ctx, formatter)


def _write_params(file: str, formatter: click.HelpFormatter) -> None:
    from titan.sdk.pipeline import load_params

    with formatter.section(f"Parameters of {file}"):
        try:
            params = load_params(file)
        except InvalidPipeline as error:
            formatter.write_text(str(error))
            return
        if params:
            formatter.write_dl([(f"--param {param.name}={param.type.upper()}", _about(param)) for param in params])
        else:
            formatter.write_text("none")


def _about(param: Param) -> str:
    choices = f"One of {', '.join(param.choices)}." if param.choices else ""
    default = "[required]" if param.default is None else f"[default: {param.default or 'empty'}]"
    return "  ".join(filter(None, (param.help, choices, default)))
