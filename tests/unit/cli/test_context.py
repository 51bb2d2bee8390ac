"""`titan context`: errors that need no worker."""

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
