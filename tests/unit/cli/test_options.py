"""Options of all commands."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from titan.cli.group import _COMMANDS, titan


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(titan)
    waiting = [(name, titan.get_command(context, name)) for name in _COMMANDS]
    while waiting:
        name, command = waiting.pop()
        assert command is not None, name
        yield name, command
        waiting += [(f"{name} {sub}", found) for sub, found in getattr(command, "commands", {}).items()]


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda it: it if isinstance(it, str) else "")
def test_no_command_has_an_option_twice_and_each_option_has_a_help_text(name: str, command: click.Command) -> None:
    options = [option for option in command.params if isinstance(option, click.Option)]
    names = [spelled for option in options for spelled in option.opts]
    assert sorted(names) == sorted(set(names)), name
    silent = [option.name for option in options if not option.hidden and not option.help and option.name not in ("limit",)]
    assert (not command.hidden and not silent) or command.hidden, (name, silent)
