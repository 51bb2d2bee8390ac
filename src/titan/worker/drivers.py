"""Drivers: from a job template to the command line that runs it. Which one is chosen by what is to be run.

| what | driver | runs |
| --- | --- | --- |
| `x.py` | python | a fork of a warm interpreter: the worker's own, or the one that `python` names |
| `x.py`, `driver: process` | process | that interpreter, started anew |
| `x.jar` | process | java -jar |
| `x.sh` | process | the script by its first line, or /bin/sh |
| another file | process | the file itself |
| `command` | process | /bin/sh -c, the arguments as $1, $2, ... |
| `argv` | process | as it is |
"""

from __future__ import annotations

import sys

from titan.worker.machine import Assignment


def warm_script(it: Assignment) -> tuple[str, str] | None:
    """(path, what names the content) of a Python script that a fork of the warm interpreter may run."""
    template = it.template
    if not template.file.endswith(".py") or template.driver == "process":
        return None
    plain = f"./{template.file}" if template.file.startswith("-") else template.file
    return plain, template.file_hash or f"{template.archive}/{template.file}"


def command_line(it: Assignment, cwd: str, python: str = sys.executable) -> list[str]:
    """`python` is the interpreter of a Python script."""
    template, args = it.template, it.args
    if template.argv:
        return [*template.argv, *args]
    if template.command:
        return ["/bin/sh", "-c", template.command, it.job, *args]
    path = f"./{template.file}"
    # As a person would type it, unless it would be taken for an option.
    plain = path if template.file.startswith("-") else template.file
    if path.endswith(".py"):
        return [python, plain, *args]
    if path.endswith(".jar"):
        return ["java", "-jar", plain, *args]
    if path.endswith(".sh") and not _has_interpreter(f"{cwd}/{template.file}"):
        return ["/bin/sh", plain, *args]
    return [path, *args]


def _has_interpreter(path: str) -> bool:
    try:
        with open(path, "rb") as script:
            return script.read(2) == b"#!"
    except OSError:
        return True
