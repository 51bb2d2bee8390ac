"""The comparison and the core's benchmark run and print the documented results. The figures are not
checked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.compare import report
from benchmarks.compare.peers import NAMES, load
from benchmarks.compare.runner import Cell, clean, rounded
from benchmarks.compare.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[2]


def test_the_quick_form_measures_the_peers_that_need_nothing_installed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.compare", "--quick", "--peers", "titan", "ppe", "xargs"]
    options = ["--workloads", "functions", "latency", "scripts", "true", "--out", str(tmp_path), "--json"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    cells = json.loads(done.stdout)["cells"]
    assert {name: list(peers) for name, peers in cells.items()} == {
        "functions": ["titan", "ppe"],
        "latency": ["titan", "ppe"],
        "scripts": ["titan", "xargs"],
        "true": ["titan", "xargs"],
    }
    for name, peers in cells.items():
        for cell in peers.values():
            assert cell["error"] == "" and cell["count"] == WORKLOADS[name].quick
            assert all(len(found) == 1 and found[0] > 0 for found in cell["figures"].values())
    (page,) = tmp_path.glob("*-compare.md")
    text = page.read_text()
    for peer in ("Titan", "ProcessPoolExecutor(2)", "xargs -P2 -n1"):
        assert f"| {peer} |" in text
    assert "did not work" not in text and str(ROOT) not in text and str(tmp_path) not in text


def test_the_cores_benchmark_runs() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/core.py", "--quick"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    for heading in ("A job's life", "Completion and the next dispatch", "Resident memory of a queued job"):
        assert heading in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_every_peer_says_whether_it_is_here_and_what_it_does(name: str) -> None:
    peer = load(name)
    assert peer.title and isinstance(peer.absent(), str)
    assert [each for each in WORKLOADS.values() if peer.offers(each.work)]


def test_titan_offers_every_workload() -> None:
    assert all(load("titan").offers(each.work) for each in WORKLOADS.values())


def test_the_page_tells_medians_ratios_failures_and_who_was_absent() -> None:
    cells = {
        "functions": {"titan": Cell(900, {"rate": [80.0, 100.0, 90.0]}), "ppe": Cell(100, {"rate": [30.0, 20.0, 40.0]})},
        "latency": {"titan": Cell(5, {"p50": [2.0], "p99": [9.0]}), "ppe": Cell(error="it | broke")},
    }
    found = report.Findings("2026-11-24", 3, {"cores": "2"}, {"titan": "1", "ppe": "2"}, {"ray": "ray is not installed"}, cells)
    page = report.markdown(found, "plot.png")
    assert "| Titan | 90.0 | 80.0 to 100 | 900 |  |" in page
    assert "| ProcessPoolExecutor(2) | 30.0 | 20.0 to 40.0 | 100 | 3.00 |" in page
    assert "| no-op functions, one task each, calls/s | 90.0 | 30.0 |" in page
    assert "| latency | ProcessPoolExecutor(2) | it / broke |" in page
    assert "| Ray | absent: ray is not installed |" in page


def test_where_less_is_better_the_ratio_is_turned_round() -> None:
    p50 = WORKLOADS["latency"].metrics[0]
    assert report.times_as_fast(p50, 2.0, 8.0) == 4.0


def test_a_message_for_the_report_names_no_path() -> None:
    assert clean("OSError: /tmp/tb-1/x.sock: no\nmore") == "OSError: a path: no"
    assert clean("1/2 of http://a.b/c") == "1/2 of http://a.b/c"


@pytest.mark.parametrize(("count", "shown"), [(0.2, 1), (7.9, 7), (64, 64), (648, 640), (99_999, 99_000)])
def test_counts_have_two_digits(count: float, shown: int) -> None:
    assert rounded(count) == shown
