"""`titan replay` beside a running master. A replay of the journal up to a moment gives the same
answers as the master gave at that moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster
from support.waiting import until
from titan import DAG, Gate, Job
from titan.journal.files import list_snapshots

KEPT = {"run", "dag", "state", "count", "tally", "submitted_at", "finished_at"}


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Provide a cluster whose master takes a snapshot every few records, keeps one finished run in
    memory, and keeps its whole journal."""
    settings = {**QUIET, "snapshot_bytes": 2048, "keep_runs": 1, "keep_journal": 1}
    with cluster(tmp_path_factory.mktemp("replay") / "c", "w1", settings=settings) as made:
        yield made


def home(c: Cluster) -> tuple[str, str]:
    return "--home", str(c.home)


def runs_of(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{key: row[key] for key in KEPT} for row in rows]


def test_a_replay_shows_the_same_as_the_master_at_that_moment(c: Cluster) -> None:
    first = c.client.submit(DAG("first", [Job("a", command="true"), Job("bad", command="exit 3", retries=0)]))
    assert not first.wait().ok
    c.cli("store", "set", "colour", "red")
    then = c.json("replay", "--at", "end", *home(c))
    shown = c.json("status")
    assert runs_of(then["runs"]) == runs_of(shown["runs"])
    assert [(w["name"], w["state"], w["slots"], w["held"]) for w in then["workers"]] == [("w1", "ALIVE", 2, 0)]
    assert [d["job"]["id"] for d in then["dead"]] == ["bad"]
    assert then["counts"]["store_keys"] == 1
    whole = c.json("status", first.id)
    assert c.json("replay", "--at", "end", first.id, *home(c))["jobs"] == whole["jobs"]
    story = c.json("replay", "--at", "end", f"{first.id}/bad", *home(c))["story"]
    assert story == c.json("status", f"{first.id}/bad")["story"]

    second = c.client.submit(
        DAG("second", [Gate("ship", "ship it?"), *(Job(f"j{i}", command="true", parents=["ship"]) for i in range(40))])
    )
    until(c.client.gates, "the gate is open")
    c.client.approve(f"{second.id}/ship", by="ann")
    assert second.wait().ok
    c.client.store.execute("SET", "colour", "blue")
    until(lambda: not c.json("replay", "--at", "end", *home(c))["dead"], "the first run has left the master's memory")
    until(lambda: list_snapshots(c.store), "there is a snapshot")
    for at in (str(then["seq"]), str(then["at"])):
        again = c.json("replay", "--at", at, *home(c))
        assert {key: again[key] for key in ("seq", "runs", "dead", "queue", "counts")} == {
            key: then[key] for key in ("seq", "runs", "dead", "queue", "counts")
        }
    assert c.json("replay", "--at", str(then["at"]), first.id, *home(c))["jobs"] == whole["jobs"]
    text = c.cli("replay", "--at", str(then["at"]), *home(c)).stdout
    assert "FAILED" in text and "1 in the dead letter queue" in text and "1 keys in the store" in text
    gone = c.cli("replay", "--at", "end", first.id, *home(c))
    assert gone.returncode == 2 and "titan status" in gone.stderr


def test_events_of_a_job_are_shown_with_names_instead_of_numbers(c: Cluster) -> None:
    run = c.client.submit(DAG("names", [Job("a", command="true"), Job("b", command="true", parents=["a"])]))
    assert run.wait().ok
    told = [json.loads(line) for line in c.cli("replay", "--events", f"{run.id}/b", "--json", *home(c)).stdout.splitlines()]
    assert [line["event"] for line in told if line["event"] != "JobsStarted"] == [
        "RunSubmitted", "JobsQueued", "JobsDispatched", "JobsCompleted", "RunFinished"
    ]  # fmt: skip
    assert told[1]["jobs"] == [f"{run.id}/b"] and told[2]["worker"] == "w1"
    seqs = [line["seq"] for line in told]
    assert seqs == sorted(seqs)
    between = c.cli("replay", "--events", "--from", str(seqs[1]), "--to", str(seqs[2]), *home(c)).stdout.splitlines()
    assert [int(line.split()[0]) for line in between] == list(range(seqs[1], seqs[2] + 1))
    assert f"jobs={run.id}/b" in between[0]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("--at", "garbage"), 2, "write a time"),
        (("--at", "0"), 2, "sequences begin at 1"),
        (("--at", "99999999"), 2, "the journal ends at sequence"),
        (("--at", "2999-01-01"), 2, "is in the future"),
        (("--at", "2001-01-01"), 2, "there was no cluster at 2001"),
        (("--at", "25:61"), 2, "write a time"),
        (("--at", "nan"), 2, "write a time"),
        (("--at", "1", "--events"), 2, "pass either --at TIME|SEQ, or --events"),
        ((), 2, "pass either --at TIME|SEQ, or --events"),
        (("--at", "1", "--from", "2"), 2, "pass either --at TIME|SEQ, or --events"),
        (("--at", "end", "nosuchrun"), 2, "was not in the master's memory"),
    ],
)
def test_an_impossible_request_is_refused_with_the_reason(c: Cluster, args: tuple[str, ...], code: int, says: str) -> None:
    done = c.cli("replay", *args, *home(c))
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_a_folder_that_is_no_home_of_a_master_is_refused(c: Cluster, tmp_path: Path) -> None:
    done = c.cli("replay", "--at", "1", "--home", str(tmp_path))
    assert done.returncode == 2 and "is not the home of a master" in done.stderr
    (tmp_path / "store").mkdir()
    done = c.cli("replay", "--at", "1", "--home", str(tmp_path))
    assert done.returncode == 2 and "no master has started there yet" in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "store"], "nothing was written"
