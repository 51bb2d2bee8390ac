"""Errors of `titan context` that need no worker."""

from __future__ import annotations

import pytest

from titan.cli import context


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["get"], "get KEY"),
        (["get", "a", "b"], "get KEY"),
        (["progress"], "progress FRACTION [MESSAGE]"),
        (["status"], "status TEXT"),
        (["result"], "result JSON|-"),
        (["value"], "value JOB"),
        (["publish", "key"], "publish KEY PATH"),
        (["fetch", "key"], "fetch KEY PATH"),
        (["submit"], "submit FILE|-"),
        (["submit-saved"], "submit-saved NAME [PREFIX]"),
        (["attempt", "1"], "attempt"),
        (["set", "key"], "set KEY VALUE [--ttl SECONDS]"),
        (["incr"], "incr KEY [N]"),
    ],
)
def test_a_wrong_number_of_arguments_names_the_usage(arguments: list[str], usage: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *values = arguments

    assert context.main(arguments) == 2

    error = f"context {name}: wrong number of arguments ({len(values)}): use `titan context {usage}`"
    assert error in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "values", "flags"),
    [
        ("--shared publish k p", "k p", ["--shared"]),
        ("publish --shared k p", "k p", ["--shared"]),
        ("publish k p --shared --json", "k p", ["--json", "--shared"]),
        ("set k --shared", "k --shared", []),
        ("set k v --shared", "k v", ["--shared"]),
        ("submit f --json", "f", ["--json"]),
        ("store rpush k --json", "rpush k --json", []),
    ],
)
def test_flags_are_read_before_and_behind_the_arguments(
    line: str, values: str, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[str], list[str]]] = []
    name = next(word for word in line.split() if not word.startswith("-"))

    def command(values: list[str], flags: list[str]) -> int:
        seen.append((values, flags))
        return 0

    monkeypatch.setitem(context._COMMANDS, name, command)

    assert context.main(line.split()) == 0
    assert seen == [(values.split(), flags)]
