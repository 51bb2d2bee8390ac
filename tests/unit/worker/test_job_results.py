"""Results in the texts of an attempt, as its driver gets them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from titan.model.dag import JobTemplate
from titan.worker.drivers.addresses import with_addresses, with_results
from titan.worker.state_machine.messages import Assignment

HOSTILE = """it's "$(touch hacked)"; `touch hacked` ${HOME} \\ *
-n ${service:db} ${a.result} $$"""


def assigned(command: str = "x", args: tuple[str, ...] = (), **more: Any) -> Assignment:
    template = JobTemplate(command=command, fills_results=True, env=(("V", "<${a.result}> $${a.result}"),))
    return Assignment(1, "r", "b", 1, template, args, results=(("a.result", HOSTILE), ("b.result.k", "2")), **more)


def test_arguments_and_variables_hold_the_text_itself() -> None:
    found = with_results(assigned(args=("${b.result.k}", "--x=${a.result}${a.result}", "$${b.result.k}", "${c.result}")))
    assert found.args == ("2", f"--x={HOSTILE}{HOSTILE}", "${b.result.k}", "${c.result}")
    assert found.template.env == (("V", f"<{HOSTILE}> ${{a.result}}"),)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_shell_never_runs_a_result(shell: str, tmp_path: Path) -> None:
    found = with_results(assigned('printf %s "${a.result}"; printf "|%s" ${b.result.k}'))
    made = subprocess.run(
        [shell, "-c", found.template.command],
        env=dict(found.template.env),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout == HOSTILE + "|2"


def test_a_result_is_not_searched_for_addresses_of_services() -> None:
    found = with_results(with_addresses(assigned(args=("${service:db} ${a.result}",), services=(("db", "h:1"),))))
    assert found.args == (f"h:1 {HOSTILE}",)


def test_a_job_without_placeholders_stays_as_it_is() -> None:
    plain = Assignment(1, "r", "b", 1, JobTemplate(command="echo ${a.result}"), ("${a.result}",))
    assert with_results(plain) is plain
