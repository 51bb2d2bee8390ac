"""Options of `titan run` and `titan submit` for a single script or command, and the DAG that a
command line stands for."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from titan.errors import CallerError

if TYPE_CHECKING:
    from titan.sdk.job import DAG

F = TypeVar("F", bound=Callable[..., Any])
SCRIPTS = (".py", ".sh", ".jar")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
_OPTIONS: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("--cwd",), {"metavar": "DIR", "help": "Folder on the worker in which it runs.  [default: see above]"}),
    (("--env", "env"), {"multiple": True, "metavar": "NAME[=VALUE]", "help": "Variable of its environment; NAME takes yours."}),
    (("--name", "name"), {"default": "", "metavar": "ID", "help": "Name of the job.  [default: of the script or command]"}),
    (("--timeout",), {"type": float, "metavar": "SECONDS", "help": "Kill an attempt after this time."}),
    (("--priority",), {"type": int, "metavar": "N", "help": "Queue order: a higher number goes first.  [default: 1]"}),
    (("--retries",), {"type": click.IntRange(0, 1000), "metavar": "N", "help": "Retries after a failure."}),
    (("--requirement",), {"multiple": True, "metavar": "TAG", "help": "Capability of its worker.  [default: GENERAL]"}),
    (("--cpus",), {"type": float, "default": 0.0, "metavar": "N", "help": "CPUs that it takes up on its worker."}),
    (("--memory",), {"default": "0", "metavar": "SIZE", "help": "Memory that it takes up, in bytes or as 4GiB."}),
    (("--gpus",), {"type": int, "default": 0, "metavar": "N", "help": "GPUs that it takes up; CUDA_VISIBLE_DEVICES lists them."}),
    (("--limit", "limits"), {"multiple": True, "metavar": "NAME=AMOUNT", "help": "Hard limit, as memory=512MiB, cpus=1.5."}),
    (("--secret", "secrets"), {"multiple": True, "metavar": "NAME", "help": "Secret that its environment has."}),
    (("--python",), {"metavar": "PATH", "help": "Interpreter or virtual environment of a .py file.  [default: the worker's]"}),
)  # fmt: skip


@dataclass(frozen=True)
class JobOptions:
    """The options of a single script or command."""

    cwd: str | None = None
    env: tuple[str, ...] = ()
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

    @property
    def named(self) -> list[str]:
        """Return the options that were given, as they are typed."""
        typed = {flags[-1].lstrip("-"): flags[0] for flags, _ in _OPTIONS}
        return [option for field, option in typed.items() if getattr(self, field) != getattr(JobOptions(), field)]

    def fields(self) -> dict[str, Any]:
        """Return the fields of the Job, but for what it runs. Raises CallerError."""
        found: dict[str, Any] = {
            "requirement": self.requirement or ("GENERAL",),
            "cpus": self.cpus,
            "memory": self.memory,
            "gpus": self.gpus,
            "secrets": self.secrets,
            "env": dict(map(_variable, self.env)),
            "limits": _pairs("--limit", self.limits, "memory=512MiB") or None,
            "retries": self.default_retries if self.retries is None else self.retries,
            "timeout": self.timeout,
        }
        if self.priority is not None:
            found["priority"] = self.priority
        if self.cwd is not None:
            found["cwd"] = Path(self.cwd).absolute()
        return found


def job_options(command: F) -> F:
    """Add the options that `JobOptions` holds."""
    for flags, facts in reversed(_OPTIONS):
        command = click.option(*flags, **facts)(command)
    return command


def take_job_options(options: dict[str, Any], *, retries: int) -> JobOptions:
    """Remove the job options from the arguments of a command, and return them. `retries` is the
    default."""
    return JobOptions(
        **{flags[-1].lstrip("-"): options.pop(flags[-1].lstrip("-")) for flags, _ in _OPTIONS}, default_retries=retries
    )


def dag_of(
    arguments: tuple[str, ...], options: JobOptions, *, deadline: float | None, group: str = "", in_place: bool = False
) -> Any:
    """Return the DAG, and the folder in which a private cluster has its home.

    `deadline` and `group` override those of the pipeline. `in_place`: a script or command runs in
    the caller's working directory and is not copied, which needs a worker on this machine. Raises
    CallerError, InvalidGraph.
    """
    from titan.sdk.job import DAG

    dag, base_folder = _dag_of(arguments, options, in_place=in_place)
    if group or deadline is not None:
        deadline = dag.deadline if deadline is None else deadline
        dag = DAG(dag.name, [*dag.jobs, *dag.calls], dag.version, dag.project, deadline, group or dag.agent_run_id)
    return dag, base_folder


def is_pipeline(first: str) -> bool:
    return first.endswith((".yaml", ".yml"))


def _dag_of(arguments: tuple[str, ...], options: JobOptions, *, in_place: bool) -> tuple[DAG, Path]:
    from titan.sdk.job import DAG, Job

    first, *args = arguments
    path = Path(first)
    if is_pipeline(first):
        from titan.sdk.pipeline import load_pipeline

        if options.named:
            raise CallerError(f"{options.named[0]} is for a single script or command: in {first} write it with each job")
        if args:
            raise CallerError(f"a pipeline takes no arguments: remove {' '.join(args)!r}")
        return load_pipeline(path), path.resolve().parent
    if path.is_dir():
        raise CallerError(f"{first} is a folder: pass a pipeline, a script or a command")
    if in_place and options.cwd is None:
        options = replace(options, cwd=str(Path.cwd()))
    name = options.name or _NOT_IN_NAMES.sub("-", path.name).strip("-.")[:100] or "job"
    if path.is_file() and (path.suffix in SCRIPTS or "/" in first):
        if in_place:
            job = Job(name, command=[*_launcher(first, options), *args], **options.fields())
        else:
            job = Job(name, file=path, args=args, python=options.python, **options.fields())
        return DAG(path.name, [job]), path.resolve().parent
    if path.suffix in SCRIPTS and not shutil.which(first):
        raise CallerError(f"file {first} does not exist")
    if options.python is not None:
        raise CallerError(f"--python is for a .py file: {first} would be run as a command")
    if not shutil.which(first):
        _refuse_typos(first, path)
    job = Job(name, command=list(arguments), **options.fields())
    return DAG(_name_of(arguments), [job]), Path.cwd()


def _launcher(script: str, options: JobOptions) -> list[str]:
    """Return the command line of a script that runs where it lies."""
    path = Path(script)
    plain = script if "/" in script else f"./{script}" if script.startswith("-") or path.suffix not in SCRIPTS else script
    if path.suffix == ".py":
        from titan.worker.processes.interpreters import executable_of

        python = executable_of(str(Path(options.python).absolute()))[0] if options.python else sys.executable
        return [python, plain]
    if path.suffix == ".jar":
        return ["java", "-jar", plain]
    with path.open("rb") as file:
        has_interpreter = file.read(2) == b"#!"
    if path.suffix == ".sh" and not has_interpreter:
        return ["/bin/sh", plain]
    return [plain if "/" in plain else f"./{plain}"]


def _name_of(arguments: tuple[str, ...]) -> str:
    text = " ".join(" ".join(arguments).split())
    return "".join(c if c.isprintable() else "?" for c in text)[:200] or "command"


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator and name not in os.environ:
        raise CallerError(f"--env {text}: there is no variable {name} here: write {name}=VALUE")
    return name, value if separator else os.environ[name]


def _pairs(option: str, texts: tuple[str, ...], example: str) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise CallerError(f"{option} {text}: write NAME=AMOUNT, for example {example}")
    return {name: amount for name, _, amount in (text.partition("=") for text in texts)}


def _refuse_typos(first: str, path: Path) -> None:
    """Raise an error if `first` looks like a typo of an option, a file or a shell command.

    Any other unknown command passes, because the worker may have it.
    """
    if first.startswith("-"):
        raise click.NoSuchOption(first, ctx=click.get_current_context())
    if path.is_file():
        raise CallerError(f"{first} is a file, not a command: to run it, write ./{first}")
    if any(c.isspace() for c in first):
        raise CallerError(f"there is no command named {first!r}: remove the quotes, or use: titan run -- sh -c {first!r}")
