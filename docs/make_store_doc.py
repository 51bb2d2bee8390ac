"""Fill the list of the store's commands in docs/store.md from titan.store.table, so that the two
cannot differ.

python docs/make_store_doc.py           # rewrites the parts between the marks
python docs/make_store_doc.py --check   # exit code 1 if they are out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

from tables import main, table

from titan.store.command import Command
from titan.store.differences import NOT_SUPPORTED
from titan.store.table import COMMANDS

PAGE = Path(__file__).parent / "store.md"


def every() -> list[Command]:
    """Return the commands and subcommands that can be called, by group and name."""
    found = [one for command in COMMANDS.values() for one in (command, *command.sub.values())]
    return [one for one in found if one.run is not None]


def commands() -> str:
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for one in every():
        name = one.name.decode().upper().replace("|", " ")
        groups.setdefault(one.group, []).append((name, _cell(one.summary), _cell(one.differs)))
    parts = [f"### {group.capitalize()}\n\n{table(('command', '', 'differs from Redis'), rows)}" for group, rows in groups.items()]
    return "\n\n".join(parts)


def not_supported() -> str:
    return table(("", ""), [(what, _cell(names)) for what, names in NOT_SUPPORTED.items()])


def counts() -> str:
    found = every()
    return f"{len(found)} commands and subcommands, {sum(bool(one.differs) for one in found)} of them with a difference."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(PAGE, {"COUNTS": counts(), "COMMANDS": commands(), "NOT SUPPORTED": not_supported()}))
