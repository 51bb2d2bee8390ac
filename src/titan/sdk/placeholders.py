"""Placeholders ``${...}`` in the texts of a pipeline's jobs: which key knows which.

`params` has replaced its own before. `args`, `depends_on` and `inputs` of arrays know the item,
`args`, `env` and `command` know services and results of other jobs. Everything else in braces would
reach the job as it was written, so it is an error. A command is for a shell, which has variables of
its own: only placeholders that no shell can mean are errors there. ``$${`` is a literal ``${``.

Works on the nodes of the file. The checks of `arrays` and of staging follow.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Final

from titan.sdk.yaml_nodes import Entries, Node, Scalar, Source, with_scalars

_BRACES = re.compile(r"\$(\$?)\{([^{}]*)\}")
_OF_ITEMS = re.compile(r"(item|matrix|index)(\..*)?")
_LATER = re.compile(r"service:.*|port|[A-Za-z0-9_][A-Za-z0-9_.:@+=,\[\]-]*\.result(\..*)?")
"""Placeholders that are replaced when the job starts. An escaped one is left to that code."""
_MANY: Final = ("foreach", "matrix", "expand")
_CHECKED_LATER: Final = ("id", "depends_on", "inputs", "expand", "if")
_OF_SHELLS: Final = ("health",)
_KNOWN: Final = ("item", "index", "matrix", "params", "service")


def checked(source: Source, job: Entries) -> Entries:
    """Return the job with ``$${`` replaced. Raises InvalidPipeline for an unknown placeholder."""
    if "${" not in source.text:
        return job
    text = _Checker(source, job)
    return Entries(job.line, {key: (line, text.node(key, node)) for key, (line, node) in job.entries.items()}, job.size)


def checked_text(source: Source, key: str, node: Node) -> Node:
    """Return a value of the root with ``$${`` replaced.

    Raises InvalidPipeline for a placeholder.
    """
    if not isinstance(node, Scalar) or "${" not in node.text:
        return node
    for found in _BRACES.finditer(node.text):
        if not found[1]:
            raise source.fault(node.line, key, _unknown(found[2], key, many=False))
    return Scalar(node.line, node.text.replace("$${", "${"), plain=False)


class _Checker:
    def __init__(self, source: Source, job: Entries) -> None:
        self._source = source
        self._many = any(key in job.entries for key in _MANY)
        self._variables = _variables(job.entries)

    def node(self, key: str, node: Node) -> Node:
        if key in _CHECKED_LATER or key in _OF_SHELLS:
            return node
        return with_scalars(node, lambda scalar: self._scalar(key, scalar) if "${" in scalar.text else scalar)

    def _scalar(self, key: str, node: Scalar) -> Scalar:
        with self._source.part:
            for found in _BRACES.finditer(node.text):
                if not found[1] and (problem := self._problem(key, found[2])):
                    raise self._source.fault(node.line, key, problem)
        text = node.text
        if not (key == "args" and self._many):  # `arrays` does it there
            text = _BRACES.sub(lambda found: self._unescaped(key, found), text)
        return Scalar(node.line, text, plain=node.plain and text == node.text)

    def _unescaped(self, key: str, found: re.Match[str]) -> str:
        escaped = found[1] and not _LATER.fullmatch(found[2])
        if key == "command":
            escaped = escaped and (_OF_ITEMS.fullmatch(found[2]) is not None or found[2].startswith("params."))
        return found[0][1:] if escaped else found[0]

    def _problem(self, key: str, name: str) -> str:
        """Return the problem with a placeholder, "" for none."""
        if key in ("args", "env", "command") and _LATER.fullmatch(name):
            return ""
        item = _OF_ITEMS.fullmatch(name)
        if key == "command":
            if item is None or not self._many or (not item[2] and item[1] in self._variables):
                return ""
            return f"${{{name}}} is not replaced in a command: add args: ['${{{name}}}'] and write \"$1\""
        if item is not None and key == "args":
            return "" if self._many else f"${{{name}}}: the job is no array: add foreach or matrix"
        if item is not None:
            return f"${{{name}}} is replaced only in args and depends_on: pass it to the job in args"
        return _unknown(name, key, many=self._many)


def _unknown(name: str, key: str, *, many: bool) -> str:
    shown = f"${{{name[:60]}}}"
    head = re.split(r"[.:]", name, maxsplit=1)[0]
    near = difflib.get_close_matches(head[:40], _KNOWN, 1, cutoff=0.7)
    if near:
        right = f"did you mean ${{{near[0]}{name[len(head) :][:60]}}}?"
    elif re.fullmatch(r"[A-Za-z_]\w*", name) and key in ("args", "env"):
        right = f"no shell reads {key}: use ${name} in a command"
    else:
        right = "use ${params.NAME}" + (", ${item} or ${index} in args" if many else "")
    return f"{shown} is not replaced here: {right}, or write ${shown} for the text itself"


def _variables(job: Mapping[str, tuple[int, Node]]) -> set[str]:
    """Return the variables `item` and `index`, as far as the command sets them itself."""
    node = job["command"][1] if "command" in job else None
    text = node.text if isinstance(node, Scalar) else ""
    names = set(re.findall(r"\b(item|index|matrix)=", text))
    return names | set(re.findall(r"\b(?:for|select|read|export|local|declare)\b[^\n;]*?\b(item|index|matrix)\b", text))
