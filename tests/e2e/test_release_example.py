"""The release example: its pipeline, its webhook receiver, and its output after an approval and
after a rejection."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import Cluster, cluster, free_port
from support.waiting import until

RELEASE = Path(__file__).parents[2] / "examples" / "release"


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "w1", options=("--webhook-allow", "127.0.0.1")) as made:
        yield made


@pytest.fixture
def pipeline(tmp_path: Path) -> tuple[Path, int]:
    """Return a copy of the pipeline whose webhook uses a free port."""
    folder, port = tmp_path / "release", free_port()
    shutil.copytree(RELEASE, folder)
    path = folder / "pipeline.yaml"
    text = path.read_text()
    assert text.count("127.0.0.1:8099") == 1
    path.write_text(text.replace("127.0.0.1:8099", f"127.0.0.1:{port}"))
    return path, port


@pytest.mark.parametrize("answer", ["approve", "reject"])
def test_the_receiver_says_how_to_decide(c: Cluster, pipeline: tuple[Path, int], tmp_path: Path, answer: str) -> None:
    path, port = pipeline
    said = tmp_path / "receiver.out"
    with said.open("wb") as out:
        receiver = subprocess.Popen(
            [sys.executable, str(path.parent / "receiver.py"), str(c.home / "webhook.secret"), str(port)], stdout=out
        )
    try:
        until(lambda: "listening" in said.read_text(), "the receiver listens")
        run = c.cli("submit", str(path)).stdout.strip()
        told = until(lambda: re.search(rf"titan ({answer} --token \S+)", said.read_text()), "the receiver hears")
        assert "Publish it?" in said.read_text()
        assert told is not None
        assert c.cli(*told[1].split(), "--by", "ann").returncode == 0
        assert c.cli("wait", run).returncode == (0 if answer == "approve" else 1)
    finally:
        receiver.terminate()
        receiver.wait(10)
    good = answer == "approve"
    assert c.states(run) == {
        "build": "COMPLETED",
        "check": "COMPLETED",
        "notes": "COMPLETED",
        "ship": "COMPLETED" if good else "CANCELLED",
        "publish": "COMPLETED" if good else "CANCELLED",
        "alarm": "CANCELLED",
    }
    if good:
        assert c.output(f"{run}/publish") == b"good\nrelease\ntoday\n"


def test_a_release_that_is_wrong_raises_the_alarm_and_is_resumed_when_it_is_right(c: Cluster, pipeline: tuple[Path, int]) -> None:
    path, _ = pipeline
    path.write_text(path.read_text().replace('"3"]', '"4"]'))
    (path.parent / "notes.md").unlink()
    run = c.cli("submit", str(path)).stdout.strip()
    c.client.run(run).wait(timeout=30)
    assert c.states(run)["check"] == "DEAD" and c.client.job(f"{run}/check")[0].attempt == 1
    assert list(c.client.logs(f"{run}/alarm")) == [(2, b"the release stops at check\n")]
    assert sorted(dead.job.id for dead in c.client.dead_jobs(run)) == ["check", "notes"]
    assert (c.client.retry_dead(f"{run}/check").revived, c.states(run)["ship"]) == (2, "WAITING")


def test_the_receiver_refuses_requests_with_a_wrong_signature(pipeline: tuple[Path, int], tmp_path: Path) -> None:
    import urllib.error
    import urllib.request

    path, port = pipeline
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef\n")
    said = tmp_path / "receiver.out"
    with said.open("wb") as out:
        receiver = subprocess.Popen([sys.executable, str(path.parent / "receiver.py"), str(secret), str(port)], stdout=out)
    try:
        until(lambda: "listening" in said.read_text(), "the receiver listens")
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/gate", data=b"{}", headers={"x-titan-signature": "sha256=00"})
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=10)
        refused.value.close()
    finally:
        receiver.terminate()
        receiver.wait(10)
