"""Results of jobs in the texts of other jobs with real processes: nothing is run by the shell, and
a restart of the master changes no text."""

from __future__ import annotations

from pathlib import Path

from support.cluster import FAST, cluster
from support.waiting import until

PIPELINE = """
name: fill
params: {go_on: ""}
jobs:
  - id: train
    command: |
      titan context result '{"accuracy": 0.5, "name": "x\\"; touch hacked; $(touch hacked) *", "parts": [1, "b"]}'
  - id: hold
    command: until test -e "$1"; do sleep 0.05; done
    args: ["${params.go_on}"]
  - id: show
    command: |
      printf '%s|' "${train.result.name}" ${train.result.accuracy} "$1" "$PARTS" "${OUT:-no.result}"
    args: ["--first=${train.result.parts.0}"]
    env: {PARTS: "${train.result.parts} $${train.result}"}
    depends_on: hold
  - id: bad
    command: echo never
    args: ["${train.result.acuracy}"]
    depends_on: hold
  - id: clean
    command: echo "accuracy=$1 of <$2>"
    args: ["${train.result.accuracy}", "${bad.result}"]
    always: true
"""


def test_a_restart_of_the_master_changes_no_text_and_the_shell_runs_none(tmp_path: Path) -> None:
    file, go_on = tmp_path / "fill.yaml", tmp_path / "go-on"
    file.write_text(PIPELINE)
    with cluster(tmp_path / "c", "w1", slots=2, settings=FAST) as c:
        run = c.cli("submit", str(file), "--param", f"go_on={go_on}").stdout.strip()
        until(lambda: c.states(run)["train"] == "COMPLETED", "train has set its result")
        c.kill_master()
        c.restart_master()
        go_on.touch()
        assert c.cli("wait", run).returncode == 1
        states = c.states(run)
        assert (states["show"], states["bad"], states["clean"]) == ("COMPLETED", "DEAD", "COMPLETED")
        texts = ['x"; touch hacked; $(touch hacked) *', "0.5", "--first=1", '[1,"b"] ${train.result}', "no.result"]
        assert c.printed(c.client.run(run), "show") == "".join(f"{text}|" for text in texts)
        assert not list(tmp_path.rglob("hacked"))
        assert c.printed(c.client.run(run), "clean") == "accuracy=0.5 of <>\n"
        dead = c.cli("dlq", "show", f"{run}/bad").stdout
        assert "${train.result.acuracy} cannot be put in: train.result has no 'acuracy': it has accuracy, name, parts" in dead
        assert c.cli("rerun", f"{run}/show").returncode == 2
