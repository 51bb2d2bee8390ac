"""Writes docs/store.md, the list of the store's commands, from titan.store.table, so that the two cannot differ.

python docs/make_store_doc.py           # rewrites what stands between the marks
python docs/make_store_doc.py --check   # exit code 1 if it is not up to date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from titan.store.command import Command
from titan.store.differences import NOT_SUPPORTED
from titan.store.table import COMMANDS

PAGE = Path(__file__).parent / "store.md"


def every() -> list[Command]:
    """Commands and subcommands that can be called, by group and name."""
    found = [one for command in COMMANDS.values() for one in (command, *command.sub.values())]
    return [one for one in found if one.run is not None]


def commands() -> str:
    lines: list[str] = []
    group = ""
    for one in every():
        if one.group != group:
            group = one.group
            lines += ["", f"### {group.capitalize()}", "", "| command | | differs from Redis |", "| --- | --- | --- |"]
        name = one.name.decode().upper().replace("|", " ")
        lines.append(f"| {name} | {_cell(one.summary)} | {_cell(one.differs)} |")
    return "\n".join(lines[1:])


def not_supported() -> str:
    rows = [f"| {what} | {_cell(names)} |" for what, names in NOT_SUPPORTED.items()]
    return "\n".join(["| | |", "| --- | --- |", *rows])


def counts() -> str:
    found = every()
    return f"{len(found)} commands and subcommands, {sum(bool(one.differs) for one in found)} of them with a difference."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def filled(page: str) -> str:
    for mark, text in (("COUNTS", counts()), ("COMMANDS", commands()), ("NOT SUPPORTED", not_supported())):
        page, found = re.subn(
            rf"(<!-- {mark} -->\n).*?(<!-- end -->)",
            lambda m, text=text: f"{m[1]}{text}\n{m[2]}",
            page,
            flags=re.DOTALL,  # type: ignore[misc]
        )
        assert found == 1, mark
    return page


def main() -> int:
    before = PAGE.read_text()
    after = filled(before)
    if "--check" in sys.argv:
        return int(before != after)
    PAGE.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
