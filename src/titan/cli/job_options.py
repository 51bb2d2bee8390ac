"""Options of `titan run` and `titan submit` for a single script or command, and the DAG that a
command line stands for."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from titan.cli.options import python_option
from titan.cli.pipeline_options import PipelineOptions, is_pipeline
from titan.cli.seconds import SECONDS
from titan.cli.terminal import one_line
from titan.errors import CallerError

if TYPE_CHECKING:
    from titan.sdk.job import DAG

F = TypeVar("F", bound=Callable[..., Any])
SCRIPTS = (".py", ".sh", ".jar")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
_OPTIONS = (
    click.option("--cwd", metavar="DIR", help="Folder on the worker in which the job runs.  [default: see above]"),
    click.option(
        "--env", multiple=True, metavar="NAME[=VALUE]",
        help="Variable in the job's environment; NAME alone copies the value that it has here.",
    ),
    click.option("--project", is_flag=True, help="Send this folder along, as .titanignore allows, and run in a copy of it."),
    click.option("--no-stdin", is_flag=True, help="Give the job no input.  [default: this command's, if it is piped]"),
    click.option(
        "--log-limit", metavar="SIZE",
        help="Output of each stream that is kept, such as 1GiB.  [default: all for `run`, else the worker's]",
    ),
    click.option("--name", default="", metavar="ID", help="Name of the job.  [default: that of the script or command]"),
    click.option("--timeout", type=SECONDS, metavar="DURATION", help="Kill an attempt after this time, such as 90s or 1h30m."),
    click.option("--priority", type=int, metavar="N", help="Queue order: a higher number goes first.  [default: 1]"),
    click.option("--retries", type=click.IntRange(0, 1000), metavar="N", help="Number of retries after a failure."),
    click.option("--requirement", multiple=True, metavar="TAG", help="Capability that the worker must have.  [default: GENERAL]"),
    click.option("--cpus", type=float, default=0.0, metavar="N", help="CPUs that the job reserves on its worker."),
    click.option("--memory", default="0", metavar="SIZE", help="Memory that the job reserves: bytes, or a size such as 4GiB."),
    click.option("--gpus", type=int, default=0, metavar="N", help="GPUs that the job reserves; CUDA_VISIBLE_DEVICES lists them."),
    click.option(
        "--limit", "limits", multiple=True, metavar="NAME=AMOUNT",
        help="Maximum use of an attempt, for example memory=512MiB, cpus=1.5 or processes=64.",
    ),
    click.option("--secret", "secrets", multiple=True, metavar="NAME", help="Secret to put into the job's environment."),
    python_option,
)  # fmt: skip
_TYPED = {"limits": "--limit", "secrets": "--secret"}
"""Options whose field has another name."""


@dataclass(frozen=True)
class JobOptions:
    """The options of a single script or command."""

    cwd: str | None = None
    env: tuple[str, ...] = ()
    project: bool = False
    no_stdin: bool = False
    log_limit: str | None = None
    name: str = ""
    timeout: float | None = None
    priority: int | None = None
    retries: int | None = None
    requirement: tuple[str, ...] = ()
    cpus: float = 0.0
    memory: str = "0"
    gpus: int = 0
    limits: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    python: str | None = None
    default_retries: int = 0
    """Retries if no option says how many."""
    default_log_limit: int = 0
    """Log limit if no option says how much; 0: the worker's."""
    stdin: str = ""
    """Path of the job's standard input; "": none."""
    base_env: tuple[tuple[str, str], ...] = ()
    """Environment that the options add to."""

    @property
    def may_repeat(self) -> bool:
        """True if the job may be started several times."""
        return bool(self.default_retries if self.retries is None else self.retries)

    @property
    def named(self) -> list[str]:
        """Return the options that were given, as they are typed."""
        return [
            _TYPED.get(name, f"--{name.replace('_', '-')}") for name in _NAMES if getattr(self, name) != getattr(JobOptions(), name)
        ]

    def check(self) -> None:
        """Raise CallerError or InvalidGraph if a job cannot have these options."""
        from titan.sdk.job import Job

        if self.project and self.cwd is not None:
            raise CallerError("--project runs the job in a copy of this folder, and --cwd in another one: leave one out")
        Job(self.name or "job", command="true", **self.job_fields())

    def job_fields(self) -> dict[str, Any]:
        """Return all fields of the Job except its file, command, args and python. Raises
        CallerError."""
        found: dict[str, Any] = {
            "requirement": self.requirement or ("GENERAL",),
            "cpus": self.cpus,
            "memory": self.memory,
            "gpus": self.gpus,
            "secrets": self.secrets,
            "env": {**dict(self.base_env), **dict(map(_variable, self.env))},
            "log_limit": self.default_log_limit if self.log_limit is None else self.log_limit,
            "limits": _limits(self.limits) or None,
            "retries": self.default_retries if self.retries is None else self.retries,
            "timeout": self.timeout,
        }
        if self.priority is not None:
            found["priority"] = self.priority
        if self.cwd is not None:
            found["cwd"] = Path(self.cwd).absolute()
        if self.stdin:
            found["stdin"] = self.stdin
        return found


_INNER = ("default_retries", "default_log_limit", "stdin", "base_env")
_NAMES = tuple(field.name for field in fields(JobOptions) if field.name not in _INNER)


def job_options(command: F) -> F:
    """Add the options that `JobOptions` has."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def take_job_options(options: dict[str, Any], *, retries: int, log_limit: int = 0) -> JobOptions:
    """Remove the job options from the arguments of a command, and return them. `retries` and
    `log_limit` are the defaults."""
    taken = {name: options.pop(name) for name in _NAMES}
    return JobOptions(**taken, default_retries=retries, default_log_limit=log_limit)


def callers_environment() -> tuple[tuple[str, str], ...]:
    """Return this process's environment, without variables of Titan and those that are no text."""
    return tuple((name, value) for name, value in os.environ.items() if not name.startswith("TITAN_") and _is_text(name + value))


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def dag_of(
    arguments: tuple[str, ...],
    options: JobOptions,
    pipeline: PipelineOptions,
    *,
    deadline: float | None,
    group: str = "",
    in_place: bool = False,
) -> DAG:
    """Return the DAG.

    `options` are for a script or command, `pipeline` for a pipeline file. `deadline` and `group`
    override those of the pipeline. `in_place`: a script or command runs in the caller's working
    directory and is not copied, which needs a worker on this machine. Raises CallerError,
    InvalidGraph.
    """
    return _with(_dag_of(arguments, options, pipeline, in_place=in_place), deadline, group)


def dags_of(
    arguments: tuple[str, ...], options: JobOptions, pipeline: PipelineOptions, *, deadline: float | None, group: str
) -> list[DAG]:
    """Return the DAGs: several for a file that holds several pipelines. See `dag_of`."""
    if not is_pipeline(arguments[0]):
        return [dag_of(arguments, options, pipeline, deadline=deadline, group=group)]
    from titan.sdk.pipeline import load_pipelines

    _check_pipeline(arguments, options)
    return [_with(dag, deadline, group) for dag in load_pipelines(arguments[0], params=pipeline.values())]


def _with(dag: DAG, deadline: float | None, group: str) -> DAG:
    from titan.sdk.job import DAG

    if not group and deadline is None:
        return dag
    deadline = dag.deadline if deadline is None else deadline
    group = group or dag.agent_run_id
    return DAG(dag.name, [*dag.jobs, *dag.calls], dag.version, dag.project, deadline, group, dag.source, dag.description)


def _check_pipeline(arguments: tuple[str, ...], options: JobOptions) -> None:
    """Raise CallerError for options and arguments that a pipeline file does not have."""
    first, *args = arguments
    if options.named:
        raise CallerError(f"{options.named[0]} applies only to a single script or command: set it for each job in {first}")
    if args:
        raise CallerError(f"a pipeline takes no arguments: remove {' '.join(args)!r}")


def _dag_of(arguments: tuple[str, ...], options: JobOptions, pipeline: PipelineOptions, *, in_place: bool) -> DAG:
    from titan.sdk.job import DAG, Job

    first, *args = arguments
    if not first.strip():
        raise CallerError("the command is empty: pass a pipeline, a script or a command")
    path = Path(first)
    if is_pipeline(first):
        from titan.sdk.pipeline import load_pipeline

        _check_pipeline(arguments, options)
        return load_pipeline(path, params=pipeline.values())
    pipeline.refuse(f"applies only to a pipeline, a .yaml file: {first[:80]} is none")
    if path.is_dir():
        raise CallerError(f"{first} is a folder: pass a pipeline, a script or a command")
    options.check()
    project = Path.cwd() if options.project else None
    if in_place and options.cwd is None:
        options = replace(options, cwd=str(Path.cwd()))
    name = options.name or _NOT_IN_NAMES.sub("-", path.name).strip("-.")[:100] or "job"
    if path.is_file() and (path.suffix in SCRIPTS or "/" in first):
        if in_place:
            job = Job(name, command=[*_launcher(first, options), *args], **options.job_fields())
        else:
            job = Job(name, file=path, args=args, python=options.python, **options.job_fields())
        return DAG(path.name, [job], project=project, source=project or path)
    if path.suffix in SCRIPTS and not shutil.which(first):
        raise CallerError(f"file {one_line(first)} does not exist: check the path")
    if options.python is not None:
        raise CallerError(f"--python is for a .py file: {first} would be run as a command")
    command: str | list[str] = list(arguments)
    if not shutil.which(first):
        _refuse_typos(first, path)
        if not args and any(c.isspace() for c in first):
            command = first  # a line, or several, for a shell
            name = options.name or _NOT_IN_NAMES.sub("-", first.split()[0]).strip("-.")[:100] or "job"
        elif in_place:
            raise CallerError(f"there is no file or command {first!r} here: check the name, or its folder in PATH")
    job = Job(name, command=command, **options.job_fields())
    return DAG(_name_of(arguments), [job], project=project, source=project or "")


def _launcher(script: str, options: JobOptions) -> list[str]:
    """Return the command line of a script that runs from its own path, without a copy."""
    path = Path(script)
    plain = f"./{script}" if script.startswith("-") else script
    if path.suffix == ".py":
        return [_interpreter(options.python) if options.python else sys.executable, plain]
    if path.suffix == ".jar":
        return ["java", "-jar", plain]
    if path.suffix == ".sh":
        with path.open("rb") as file:
            if file.read(2) != b"#!":
                return ["/bin/sh", plain]
    return [plain if "/" in plain else f"./{plain}"]


def _interpreter(python: str) -> str:
    from titan.worker.processes.interpreters import NoPython, executable_of

    try:
        return executable_of(os.path.abspath(python))[0]
    except NoPython as e:
        raise CallerError(str(e)) from None


def _name_of(arguments: tuple[str, ...]) -> str:
    text = " ".join(" ".join(arguments).split())
    return "".join(c if c.isprintable() else "?" for c in text)[:200] or "command"


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator and name not in os.environ:
        raise CallerError(f"--env {text}: there is no variable {name} here: write {name}=VALUE")
    return name, value if separator else os.environ[name]


def _limits(texts: tuple[str, ...]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise CallerError(f"--limit {text}: write NAME=AMOUNT, for example memory=512MiB")
    return {name: amount for name, _, amount in (text.partition("=") for text in texts)}


def _refuse_typos(first: str, path: Path) -> None:
    """Raise an error if `first` looks like a typo of an option, a file or a shell command.

    Any other unknown command passes, because the worker may have it.
    """
    if first.startswith("-"):
        ctx = click.get_current_context()
        known = [name for parameter in ctx.command.params for name in parameter.opts if name.startswith("--")]
        near = difflib.get_close_matches(first.partition("=")[0], known, 3)
        raise click.NoSuchOption(first.partition("=")[0], possibilities=near, ctx=ctx)
    if path.is_file():
        raise CallerError(f"{first} is a file, not a command: to run it, write ./{first}")
