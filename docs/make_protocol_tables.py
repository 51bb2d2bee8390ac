"""Fills the message tables of docs/protocol.md from titan.protocol.messages, so that the two cannot differ.

python docs/make_protocol_tables.py           # rewrites the tables between their marks
python docs/make_protocol_tables.py --check   # exit code 1 if they are not up to date
"""

from __future__ import annotations

import re
import sys
import typing
from pathlib import Path
from typing import Any

import msgspec

from titan.protocol import messages as msg
from titan.protocol.opcodes import OPCODES

PAGE = Path(__file__).parent / "protocol.md"
TO_WORKERS = (154, 160, 171, 182)
"""Of the features' range."""
FROM_JOBS = (212, 213)
"""Of the files' range."""
GROUPS = {
    "BOTH": range(1, 16),
    "CLIENTS": (*range(16, 64), *[opcode for opcode in (*range(128, 184), *range(216, 256)) if opcode not in TO_WORKERS]),
    "WORKERS": (*range(64, 128), *TO_WORKERS),
    "JOBS": (*range(184, 200), *FROM_JOBS),
    "FILES": [opcode for opcode in range(200, 216) if opcode not in FROM_JOBS],
}
ROWS = (
    msg.JobRow,
    msg.RunRow,
    msg.WorkerRow,
    msg.DeadRow,
    msg.GateRow,
    msg.ScheduleRow,
    msg.ScaleRow,
    msg.ServiceRow,
    msg.PipelineRow,
    msg.SecretRow,
)
ROWS = (msg.JobRow, msg.RunRow, msg.WorkerRow, msg.DeadRow, msg.GateRow, msg.ScheduleRow, msg.ScaleRow, msg.ServiceRow)
ROWS += (msg.ArtifactRow, msg.StoredFile)


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


def message_table(opcodes: range) -> str:
    lines = ["| opcode | message | fields after the request id | |", "| --- | --- | --- | --- |"]
    for opcode, kind in OPCODES.items():
        if opcode in opcodes:
            lines.append(f"| {opcode} | {kind.__name__} | {fields_of(kind, skip_request=True)} | {words(kind)} |")
    return "\n".join(lines)


def row_table() -> str:
    lines = ["| row | fields | |", "| --- | --- | --- |"]
    lines += [f"| {kind.__name__} | {fields_of(kind, skip_request=False)} | {words(kind)} |" for kind in ROWS]
    return "\n".join(lines)


def fill(page: str) -> str:
    tables = {name: message_table(opcodes) for name, opcodes in GROUPS.items()} | {"ROWS": row_table()}
    for name, table in tables.items():
        block = f"<!-- {name} -->\n{table}\n<!-- end -->"
        page, count = re.subn(rf"@{name}@|<!-- {name} -->.*?<!-- end -->", lambda _, block=block: block, page, flags=re.DOTALL)
        assert count == 1, name
    return page


def main() -> int:
    page = PAGE.read_text()
    filled = fill(page)
    if "--check" in sys.argv:
        return int(filled != page)
    PAGE.write_text(filled)
    return 0


if __name__ == "__main__":
    sys.exit(main())
