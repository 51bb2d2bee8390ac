"""Results of other jobs in the texts of a job: ``${JOB.result}`` and ``${JOB.result.KEY}``.

The texts are the arguments, the environment and the command. A text is put in as it is, any other
value as JSON. In a command for the shell the placeholder becomes a variable of the environment, so
that no result is read as a part of the command. ``$${`` in front of such a placeholder is a literal
``${``.

A placeholder names a parent. Other texts of this form in a command are left to the shell, where
``${OUT:-a.result}`` has a meaning of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from titan.errors import InvalidGraph
from titan.model.conditions import BadCondition, Reference, part_of, reference_in, result_of
from titan.model.dag import MAX_ARGS_BYTES, SERVICE, JobTemplate

_PLACEHOLDER = re.compile(r"(\$?)\$\{((?:[^{}]|\$\{[^{}]*\})*\.result(?:\.(?:[^{}]|\$\{[^{}]*\})*)?)\}")
_OF_SHELLS = re.compile(r"[A-Za-z_]\w*:?[-+=?]")


def has_placeholder(text: str) -> bool:
    """Return True if the text has a placeholder, or one after an additional ``$``."""
    return ".result" in text and _PLACEHOLDER.search(text) is not None


def words_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield (job, placeholder) of each placeholder. The job of an array may depend on the item.

    >>> list(words_in("${a.result.x} $${b.result} ${c[${index}].result}"))
    [('a', '${a.result.x}'), ('c[${index}]', '${c[${index}].result}')]
    """
    for found in _PLACEHOLDER.finditer(text) if ".result" in text else ():
        job = re.split(r"\.result(?=\.|$)", found[2], maxsplit=1)[0]
        if not found[1] and ("${" in job or reference_in(found[2]) is not None):
            yield job, found[0]


def may_be_of_shell(placeholder: str) -> bool:
    """Return True if a shell gives the placeholder a meaning, as in ``${OUT:-a.result}``."""
    return _OF_SHELLS.match(placeholder.removeprefix("${")) is not None


def put_results(text: str, text_of: Callable[[Reference], str | None]) -> str:
    """Return the text with values in place of the placeholders.

    `text_of` returns None for a placeholder that stays.

    >>> put_results("x=${a.result} $${a.result} ${b.result}", {Reference("a", ()): "1"}.get)
    'x=1 ${a.result} ${b.result}'
    """

    def put(found: re.Match[str]) -> str:
        reference = reference_in(found[2])
        if reference is None or reference.keys is None:
            return found[0]
        if found[1]:
            return found[0][1:]
        value = text_of(reference)
        return found[0] if value is None else value

    return _PLACEHOLDER.sub(put, text) if ".result" in text else text


def renamed_results(text: str, names: Mapping[str, str]) -> str:
    """Return the text with placeholders of other jobs: `names` maps old ids to new ones."""

    def put(found: re.Match[str]) -> str:
        reference = reference_in(found[2])
        if found[1] or reference is None or reference.job not in names:
            return found[0]
        return f"${{{reference._replace(job=names[reference.job])}}}"

    return _PLACEHOLDER.sub(put, text) if ".result" in text else text


def references_of(template: JobTemplate, args: Sequence[str], parents: Mapping[str, object]) -> list[Reference]:
    """Return the results of parents that the texts of a job name."""
    found: dict[Reference, None] = {}

    def note(reference: Reference) -> None:
        if reference.job in parents:
            found[reference] = None

    for text in _texts(template, args):
        put_results(text, note)
    return list(found)


def _texts(template: JobTemplate, args: Sequence[str]) -> Sequence[str]:
    return (template.command, *template.argv, *args, *[text for _, text in template.env])


def text_of_result(reference: Reference, value: bytes) -> str:
    """Return the text that is put in for a result of a COMPLETED job. Raises BadCondition."""
    found = part_of(result_of(reference.job, "COMPLETED", value), reference)
    text = found if isinstance(found, str) else msgspec.json.encode(found).decode()
    if "\0" in text:
        raise BadCondition(f"{reference} holds a NUL character, which no argument can hold")
    return text


def size_problem(template: JobTemplate, args: Sequence[str], values: Mapping[Reference, str]) -> str:
    """Return why a process cannot get the texts with these values; "" if it can."""
    arguments = sum(len(put_results(text, values.get).encode()) for text in (*template.argv, *args))
    variables = [len(name) + len(put_results(text, values.get).encode()) + 2 for name, text in template.env]
    size = max(arguments, *variables, 0)
    if size <= MAX_ARGS_BYTES:
        return ""
    what = "the arguments take" if size == arguments else "a variable of env takes"
    fix = "read the results by context.value_of, or pass a file"
    return f"with the results of other jobs {what} {size:,} bytes; the limit is {MAX_ARGS_BYTES:,}: {fix}"


def check_results(
    job: str, template: JobTemplate, args: Sequence[str], parents: Sequence[int], parent: Callable[[int], tuple[str, JobTemplate]]
) -> None:
    """Raise InvalidGraph unless the placeholders of a job name only parents that are no services.

    `parent(position)` returns the id and template of a parent.
    """
    if not template.fills_results:
        return
    known = dict(parent(p) for p in parents)
    for text in _texts(template, args):
        for name, placeholder in words_in(text):
            if name in known and known[name].kind == SERVICE:
                raise InvalidGraph(f"job {job!r}: {placeholder}: {name!r} is a service, which has no result: name another job", job)
            if name not in known and not (text == template.command and may_be_of_shell(placeholder)):
                raise InvalidGraph(f"job {job!r}: {placeholder}: {name!r} is not a job that this one depends on", job)
