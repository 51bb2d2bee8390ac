"""Each row of the routing table with a handler has tests in this folder: that the message is
accepted, that it is refused, and that its actor is recorded if it changes anything.

The decorators of `support.handlers` name the rows that a test covers, and fail a test that does not
cover them.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from support.handlers import SocketlessMaster, answers, records, refuses
from titan.core.events import events as ev
from titan.gateway.routes import ROUTES, Route
from titan.protocol import messages as msg

ROWS = [route for route in ROUTES.values() if route.handler]
NO_ACTOR = {
    msg.AddJobs: "the actor is recorded with the run's OpenRun",
    msg.Stop: "nothing is journaled: the master ends",
    msg.StoreCommands: "TitanStore records changes without their actors, as Redis does",
    msg.StoreStream: "as StoreCommands",
    msg.NameContent: "names are files in perm_files/, outside of the journal",
}
"""Rows that change something but record no actor, with the reason."""


def _modules() -> list[ModuleType]:
    found = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path.name == Path(__file__).name:
            continue
        spec = importlib.util.spec_from_file_location(f"rows_of_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found.append(module)
    return found


def _rows(how: str) -> Counter[type[msg.Message]]:
    tests = [it for module in _modules() for name, it in vars(module).items() if name.startswith("test_")]
    return Counter(row for test in tests for row in getattr(test, how, ()))


ANSWERED, REFUSED, RECORDED = _rows("answered_rows"), _rows("refused_rows"), _rows("recorded_rows")


@pytest.mark.parametrize("route", ROWS, ids=lambda route: route.message.__name__)
def test_each_row_has_a_test_that_it_is_accepted_and_one_that_it_is_refused(route: Route) -> None:
    assert ANSWERED[route.message], f"no test answers a {route.message.__name__}"
    assert REFUSED[route.message], f"no test refuses a {route.message.__name__}"


@pytest.mark.parametrize("route", [route for route in ROWS if route.changes], ids=lambda route: route.message.__name__)
def test_each_row_that_changes_the_state_has_a_test_of_its_recorded_actor(route: Route) -> None:
    assert bool(RECORDED[route.message]) != (route.message in NO_ACTOR), NO_ACTOR.get(route.message, "no test looks at its actor")


def test_tests_name_only_existing_rows() -> None:
    mine = {route.message for route in ROWS}
    assert {*ANSWERED, *REFUSED} == mine
    assert RECORDED.keys() | NO_ACTOR.keys() == {route.message for route in ROWS if route.changes}


def test_a_test_that_is_not_about_the_rows_that_it_names_fails(tmp_path: Path) -> None:
    def nothing(master: SocketlessMaster) -> None:
        master.client().ask(msg.ListRuns(0), msg.Runs)

    with SocketlessMaster(tmp_path) as master:
        answers(msg.ListRuns)(nothing)(master)
        for tag in (answers(msg.Ping), refuses(msg.ListRuns), records(msg.ListRuns, ev.RunSubmitted)):
            with pytest.raises(AssertionError):
                tag(nothing)(master)
