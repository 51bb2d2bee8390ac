"""Real times of the census compared with predictions. The census runs on 1, 2 and 4 workers of one
slot, in turn. Then each time is predicted from each of the recordings.

    python benchmarks/simulate.py [--rounds 5] [--workers 1 2 4] [--others 0.1] [--patience 600]

Other processes of the machine would distort the comparison. So a run is discarded and repeated if
they used more than the share `--others` of the CPUs meanwhile. The repetitions end after
`--patience` seconds. All runs of the census are on private clusters in one home.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

CENSUS = Path(__file__).parents[1] / "examples" / "census"
TITAN = (sys.executable, "-m", "titan")
ENV = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}


class Real(NamedTuple):
    run: str
    makespan_s: float
    cpu_s: float
    others: float
    """Share of the machine's CPUs that other processes used during the run."""


def busy_s() -> float:
    """Return the CPU seconds that the machine has spent on all processes."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(fields[:8]) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(until: float, others: float) -> None:
    while time.monotonic() < until:
        before = busy_s()
        time.sleep(0.3)
        if (busy_s() - before) / 0.3 / (os.cpu_count() or 1) <= others:
            return


def run_census(folder: Path, workers: int) -> Real:
    began, before = time.monotonic(), busy_s()
    command = [*TITAN, "run", "--workers", str(workers), "--slots", "1", "--json", "pipeline.yaml"]
    process = subprocess.Popen(command, cwd=folder, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    told = json.loads(process.stdout.read())
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0 and told["state"] == "COMPLETED", told["state"]
    passed = time.monotonic() - began
    others = max(0.0, busy_s() - before - used.ru_utime - used.ru_stime) / passed / (os.cpu_count() or 1)
    jobs = told["jobs"]
    span = max(job["finished_at"] for job in jobs) - min(job["submitted_at"] for job in jobs)
    return Real(told["run"], span, sum(job["cpu_s"] for job in jobs), others)


def predict(folder: Path, workers: Sequence[int], runs: Sequence[str]) -> dict[int, float]:
    given = [word for run in runs for word in ("--run", run)]
    spans = {}
    for count in workers:
        command = [*TITAN, "simulate", "pipeline.yaml", "--from-home", ".titan", "--workers", f"{count}:1", "--json", *given]
        told: dict[str, Any] = json.loads(subprocess.run(command, cwd=folder, env=ENV, stdout=subprocess.PIPE, check=True).stdout)
        spans[count] = told["predictions"][0]["makespan"]
    return spans


def measure(folder: Path, workers: Sequence[int], rounds: int, most_others: float, patience_s: float) -> dict[int, list[Real]]:
    kept: dict[int, list[Real]] = {count: [] for count in workers}
    left_out = 0
    until = time.monotonic() + patience_s
    while min(len(reals) for reals in kept.values()) < rounds and time.monotonic() < until:
        count = min(workers, key=lambda n: len(kept[n]))
        wait_for_quiet(until, most_others)
        real = run_census(folder, count)
        quiet = real.others <= most_others
        left_out += not quiet
        if quiet:
            kept[count].append(real)
        verdict = "kept" if quiet else "left out"
        print(
            f"{count} workers: {real.makespan_s:.2f} s, {real.cpu_s:.2f} s of CPU in jobs, others {real.others:.0%}: {verdict}",
            file=sys.stderr,
            flush=True,
        )
    print(f"{left_out} runs left out, as others used more than {most_others:.0%} of the CPUs meanwhile", file=sys.stderr)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--others", type=float, default=0.1)
    parser.add_argument("--patience", type=float, default=600.0)
    asked = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="titan-simulate-"))
    try:
        folder = scratch / "census"
        shutil.copytree(CENSUS, folder, ignore=shutil.ignore_patterns(".titan"))
        kept = measure(folder, asked.workers, asked.rounds, asked.others, asked.patience)
        report(folder, kept)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def report(folder: Path, kept: dict[int, list[Real]]) -> None:
    measured = [count for count, reals in kept.items() if reals]
    predicted = {count: predict(folder, measured, [real.run for real in kept[count]]) for count in measured}
    print("| workers | real, s: median (each) | " + " | ".join(f"predicted from {n}" for n in measured) + " |")
    print("| --- | --- |" + " --- |" * len(measured))
    for count in measured:
        spans = sorted(real.makespan_s for real in kept[count])
        real = median(spans)
        each = ", ".join(f"{span:.2f}" for span in spans)
        columns = [f"{predicted[n][count]:.2f} ({predicted[n][count] / real - 1:+.0%})" for n in measured]
        print(f"| {count} | {real:.2f} ({each}) | " + " | ".join(columns) + " |")


if __name__ == "__main__":
    main()
