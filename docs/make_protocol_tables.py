"""Fill the tables of docs/protocol.md from the messages and the table of routes, so that they
cannot differ.

python docs/make_protocol_tables.py           # rewrites the tables between their marks
python docs/make_protocol_tables.py --check   # exit code 1 if they are out of date
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
from tables import main, table

from titan.gateway.routes import ROUTES, Party
from titan.protocol import messages as msg
from titan.protocol.opcodes import OPCODES

PAGE = Path(__file__).parent / "protocol.md"
TO_WORKERS = (154, 160, 163, 164, 167, 171, 172, 174, 182)
"""Opcodes of the features' range that are listed with the messages of workers."""
FROM_JOBS = (212, 213)
"""Opcodes of the files' range that are listed with the messages of jobs."""
GROUPS = {
    "BOTH": range(1, 16),
    "CLIENTS": (*range(16, 64), *[opcode for opcode in (*range(128, 184), *range(216, 256)) if opcode not in TO_WORKERS]),
    "WORKERS": (*range(64, 128), *TO_WORKERS),
    "JOBS": (*range(184, 200), *FROM_JOBS),
    "FILES": [opcode for opcode in range(200, 216) if opcode not in FROM_JOBS],
}
SENDERS = {Party.MASTER: "master", Party.CLIENT: "client", Party.WORKER: "worker", Party.JOB: "job", Party.TO_JOB: "worker to job"}


def type_name(kind: Any) -> str:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (list, tuple):
        return f"[{type_name(args[0])}]"
    if origin is dict:
        return f"{{{type_name(args[0])}: {type_name(args[1])}}}"
    if args:
        return " or ".join(type_name(a) for a in args)
    return "nil" if kind is type(None) else str(kind.__name__)


def fields_of(kind: type, *, skip_request: bool) -> str:
    hints = typing.get_type_hints(kind)
    parts = []
    for field in msgspec.structs.fields(kind):
        if skip_request and field.name == "request":
            continue
        text = f"{field.name} {type_name(hints[field.name])}"
        if field.default is not msgspec.NODEFAULT:
            text += f" = {_shown(field.default)}"
        elif field.default_factory is not msgspec.NODEFAULT:
            text += " = {}" if field.default_factory is dict else " = []"
        parts.append(f"`{text}`")
    return ", ".join(parts)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '""' if value == "" else "[]" if value == () else str(value)


def words(kind: type) -> str:
    own = kind.__dict__.get("__doc__") or ""
    return " ".join(own.split())


def message_table(opcodes: Collection[int]) -> str:
    rows = [
        (str(opcode), kind.__name__, senders_of(kind), fields_of(kind, skip_request=True), words(kind))
        for opcode, kind in OPCODES.items()
        if opcode in opcodes
    ]
    return table(("opcode", "message", "sent by", "fields after the request id", ""), rows)


def senders_of(kind: type) -> str:
    """Return the senders of a message as the routing table has them. A message that changes
    something is marked with a star."""
    route = ROUTES[kind]
    said = ", ".join(name for party, name in SENDERS.items() if party in route.senders)
    return f"{said} *" if route.changes else said


def row_table() -> str:
    found = [(kind.__name__, fields_of(kind, skip_request=False), words(kind)) for kind in rows()]
    return table(("row", "fields", ""), found)


def rows() -> list[type]:
    """Return every struct that is part of a message, or of another such struct."""
    found: dict[type, None] = {}
    waiting: list[Any] = list(OPCODES.values())
    while waiting:
        kind = waiting.pop(0)
        waiting += typing.get_args(kind)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
            found[kind] = None
            waiting += typing.get_type_hints(kind).values()
    return [kind for kind in found if not issubclass(kind, msg.Message)]


def tables() -> dict[str, str]:
    return {name: message_table(opcodes) for name, opcodes in GROUPS.items()} | {"ROWS": row_table()}


if __name__ == "__main__":
    sys.exit(main(PAGE, tables()))
