"""`titan simulate` compared with real runs. The jobs only sleep, because a busy machine hardly
delays such jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster

NAP_S = 0.3
LEAST_S = 0.9 * NAP_S
"""Minimum of the recorded duration of a job. The start is recorded a moment after it happened, and
later on a busy machine."""
NAPS = 12
SLACK_S = 0.8
"""Seconds that a busy machine may add to a whole run."""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("simulate") / "c", "w1", slots=2) as made:
        yield made


@pytest.fixture(scope="module")
def naps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("naps") / "naps.yaml"
    path.write_text(
        f"name: naps\nproject: false\njobs:\n"
        f"  - {{id: first, command: 'sleep {NAP_S}'}}\n"
        f"  - {{id: nap, command: 'sleep {NAP_S}', foreach: {NAPS}, depends_on: [first]}}\n"
        f"  - {{id: last, command: 'exec sleep {NAP_S}', depends_on: [nap]}}\n"
    )
    return path


def test_durations_recorded_on_two_slots_predict_other_clusters(c: Cluster, naps: Path) -> None:
    ran = json.loads(c.cli("run", "--json", str(naps)).stdout)
    span = max(j["finished_at"] for j in ran["jobs"]) - min(j["submitted_at"] for j in ran["jobs"])
    told = c.json("simulate", str(naps), "--workers", "1:2", "--workers", "0:1")
    about = told["durations"]
    assert (about["recorded"], about["assumed"], about["runs"]) == (NAPS + 2, 0, [ran["run"]])
    (same,) = told["predictions"]
    assert same["state"] == "COMPLETED" and same["tally"] == {"COMPLETED": NAPS + 2}
    assert same["makespan"] == pytest.approx(span, rel=0.2)
    assert len(same["jobs"]) == NAPS + 2 and all(j["end"] >= j["start"] + LEAST_S for j in same["jobs"])

    compared = c.json("simulate", str(naps), "--workers", "1..6:2")
    spans = [p["makespan"] for p in compared["predictions"]]
    for workers, predicted in enumerate(spans, 1):
        rounds = -(-NAPS // (2 * workers))
        assert (2 + rounds) * LEAST_S <= predicted <= (2 + rounds) * NAP_S + SLACK_S, workers
    assert compared["predictions"][-1]["limited_by"] == "dependencies"


def test_a_larger_array_learns_from_a_smaller_one(c: Cluster, naps: Path, tmp_path: Path) -> None:
    larger = tmp_path / "larger.yaml"
    larger.write_text(naps.read_text().replace(f"foreach: {NAPS}", "foreach: 1000"))
    c.cli("run", str(naps))
    told = c.json("simulate", str(larger), "--workers", "10:10")
    assert (told["durations"]["recorded"], told["durations"]["alike"]) == (NAPS + 2, 1000 - NAPS)
    assert 12 * LEAST_S <= told["predictions"][0]["makespan"] <= 12 * NAP_S + 4 * SLACK_S


def test_durations_can_be_given_in_a_file(c: Cluster, naps: Path, tmp_path: Path) -> None:
    alone = {"TITAN_MASTER": ""}
    file = tmp_path / "durations.yaml"
    file.write_text("first: 10\n'nap[*]': 5\n'nap[0]': [1, 1, 2]\n")
    told = c.json("simulate", str(naps), "--workers", "12:1", "--durations", str(file), "--default-duration", "7", env=alone)
    about = told["durations"]
    assert (about["from_file"], about["assumed_jobs"], about["runs"]) == (NAPS + 1, ["last"], [])
    (prediction,) = told["predictions"]
    assert prediction["attempts"] == NAPS + 2 + 2, "one job fails twice"
    assert prediction["makespan"] == pytest.approx(10 + 5.5 + 7, abs=0.7)
    text = c.cli("simulate", str(naps), "--durations", str(file), env=alone)
    assert text.returncode == 0
    assert "1 ASSUMED to take 1 s (--default-duration): last" in text.stdout
    assert "limited by slots" in text.stdout and "critical path" in text.stdout


def test_durations_are_read_from_a_home_without_a_master(c: Cluster, naps: Path, tmp_path: Path) -> None:
    alone = {"TITAN_MASTER": ""}
    ran = c.cli("run", "--home", str(tmp_path / "h"), "--workers", "1", "--slots", "4", "--json", str(naps), env=alone)
    run = json.loads(ran.stdout)["run"]
    told = c.json("simulate", str(naps), "--from-home", str(tmp_path / "h"), "--workers", "1:4", env=alone)
    assert told["durations"]["runs"] == [run] and told["durations"]["shared_cpus"] > 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--workers", "x"), "write N, N:SLOTS"),
        (("--workers", "0"), "a cluster without workers"),
        (("--workers", "5..2"), "write N, N:SLOTS"),
        (("--workers", "1..3", "--workers", "1..2"), "only one --workers may have a range"),
        (("--workers", "1:0"), "1 to 65,536 slots"),
        (("--workers", "1:1:G P U"), "--workers"),
        (("--each", "cpus=many"), "write cpus=8"),
        (("--cpus", "-1"), "0 to 65,536"),
        (("--default-duration", "-2"), "give a number of seconds or a duration"),
        (("--gate-wait", "nan"), "give a number of seconds or a duration"),
        (("--run", "nosuchrun"), "there is no run"),
        (("--durations", "nosuchfile.json"), "cannot be read"),
    ],
)
def test_bad_input_is_refused_with_the_problem(c: Cluster, naps: Path, args: tuple[str, ...], says: str) -> None:
    done = c.cli("simulate", str(naps), *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


@pytest.mark.parametrize(
    "content", ["- 1", "{nap: soon}", "{nap: -1}", "{nap: []}", "{nap: {cpu: 1}}", "{nap: .nan}", "{nap: true}", "{", "7"]
)
def test_a_bad_file_of_durations_is_refused_by_name(c: Cluster, naps: Path, tmp_path: Path, content: str) -> None:
    for name in ("d.yaml", "d.json"):
        (tmp_path / name).write_text(content)
        done = c.cli("simulate", str(naps), "--durations", str(tmp_path / name))
        assert done.returncode == 2 and str(tmp_path / name) in done.stderr
