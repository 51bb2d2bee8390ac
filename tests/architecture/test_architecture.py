"""Rules of the design about the code: events, public names, unpickling, and output of the
commands."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import titan

SOURCE = Path(titan.__file__).parent
TAGS = """
    master_started run_submitted jobs_queued jobs_delayed jobs_released jobs_dispatched jobs_started jobs_completed jobs_failed
    jobs_lost jobs_died jobs_cancelled jobs_skipped run_cancelled run_finished worker_joined worker_drained worker_lost worker_left
    leases_ending leases_ended worker_connected worker_heard leases_recalled slots_lent worker_suspected
    run_restored jobs_revived dead_purged gates_opened token_issued webhook_ended gates_decided
    run_opened jobs_added run_sealed run_dropped run_archived roots_released
    run_expired schedule_added schedule_changed schedule_removed schedule_fired schedule_waited schedule_skipped
    worker_asked burst_requested burst_retired burst_ended workers_forgotten scale_reviewed
    services_reported services_stopped service_replaced services_retired jobs_held store_changed
    run_grown pipeline_saved pipeline_removed
    artifact_published artifact_removed
    progress_reported status_reported
    term_raised clock_set_back worker_set_aside worker_probed worker_taken_back
    worker_facts_changed settings_changed jobs_bound secret_changed cache_missed jobs_reused results_cached cache_dropped
"""


def imports_of(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module.split(".")[0])
    return names


IN_REACH_OF_USERS = {
    "isolated/runner.py": {"pickle", "cloudpickle"},
    "isolated/warden.py": set[str](),
    "isolated/orders.py": {"marshal"},
}
"""Modules of the worker's package that run in processes with users' code, or beside them. The
worker itself uses the other half of each protocol."""
THEIRS_ALONE = {"take_orders", "Arguments", "Runner", "Channel"}
EXECUTES = {"marshal", "pickle", "cloudpickle", "dill", "shelve"}


@pytest.mark.parametrize("path", sorted((SOURCE / "worker").rglob("*.py")), ids=lambda p: p.name)
def test_the_worker_reads_nothing_that_could_execute(path: Path) -> None:
    """Users' code can reach runners and wardens, so the worker reads only plain fields from
    them."""
    tree = ast.parse(path.read_text())
    name = str(path.relative_to(SOURCE / "worker"))
    assert set(imports_of(tree)) & EXECUTES <= IN_REACH_OF_USERS.get(name, set())
    if name not in IN_REACH_OF_USERS:
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert names & THEIRS_ALONE == set()


def test_the_public_names_are_these() -> None:
    assert sorted(titan.__all__) == [
        "AsyncClient",
        "AsyncRun",
        "CallFuture",
        "Client",
        "DAG",
        "Gate",
        "Job",
        "Run",
        "TaskCall",
        "__version__",
        "register_by_value",
        "task",
    ]
    for name in titan.__all__:
        assert getattr(titan, name) is not None


def test_every_event_is_known_by_a_name_that_never_changes() -> None:
    """Journals on disk contain these names."""
    from titan.core.apply.apply import _WRITERS

    tags = {kind.__struct_config__.tag for kind in _WRITERS}  # type: ignore[attr-defined]
    assert tags == set(TAGS.split())


def test_every_durable_event_says_when_it_was_decided() -> None:
    """A replay up to a time needs the time of each event."""
    from titan.core.apply.apply import _WRITERS
    from titan.core.events.events import VOLATILE

    assert [kind for kind in _WRITERS if kind not in VOLATILE and "at" not in kind.__struct_fields__] == []  # type: ignore[attr-defined]


def test_the_commands_print_text_of_others_as_plain_text_only() -> None:
    """`print` goes through `cli.terminal`. Functions that bypass it are listed here, and the
    docstring of terminal gives the reason."""
    past: dict[str, set[str]] = {}
    for path in sorted((SOURCE / "cli").glob("*.py")):
        tree = ast.parse(path.read_text())
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]:
            for node in ast.walk(function):
                stream = isinstance(node, ast.Attribute) and node.attr == "buffer" and "stdin" not in ast.unparse(node)
                raw = isinstance(node, ast.Call) and ast.unparse(node.func) in (
                    "Raw",
                    "Console",
                    "os.write",
                    "sys.__stdout__.write",
                )
                if stream or raw:
                    past.setdefault(path.stem, set()).add(function.name)
    past["follow"].discard("progress")
    assert past == {
        "ask": {"_print_status", "result"},
        "context": {"_value", "_execute"},  # in a job: its output
        "files": {"write"},  # of `-o -`: the content of files that the user named
        "follow": {"submit", "_follow_live"},
        "output": {"write_piece"},
        "run_logs": {"_print"},
        "serve": {"_report_ready"},  # to a pipe of its parent
        "store": {"_ask"},
        "table": {"print_table"},  # colours around escaped cells
        "top": {"_whole_screen"},  # control sequences of our own; all cells are escaped
    }


@pytest.mark.parametrize("path", sorted((SOURCE / "core").glob("apply*.py")), ids=lambda p: p.name)
def test_an_event_does_the_same_whatever_is_set_today(path: Path) -> None:
    """`State.settings` belongs to this process. `apply` reads only `State.in_force`, which is
    journaled."""
    assert "state.settings" not in [ast.unparse(node) for node in ast.walk(ast.parse(path.read_text()))]
