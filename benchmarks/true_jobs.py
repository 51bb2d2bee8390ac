"""Ten thousand jobs of `true` in one DAG on two workers of one slot, compared with `xargs -P2 -n1
true`, in turn.

    python benchmarks/true_jobs.py [--jobs 10000] [--rounds 3]

Prints a line per round and the medians. On a shared machine the ratio says more than the rates.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from titan import DAG, Client, Job
from titan.cli.local_cluster import LocalCluster


def xargs(jobs: int) -> float:
    """Return the jobs per second."""
    lines = "\n".join(map(str, range(jobs))).encode()
    began = time.perf_counter()
    subprocess.run(["xargs", "-P2", "-n1", "true"], input=lines, check=True)
    return jobs / (time.perf_counter() - began)


def titan(client: Client, jobs: int) -> float:
    """Return the jobs per second, from the submission until the client knows that the run is
    over."""
    began = time.perf_counter()
    dag = DAG("true", [Job(f"job-{i}", command=["true"]) for i in range(jobs)])
    summary = client.submit(dag).wait()
    took = time.perf_counter() - began
    assert summary.ok, summary
    return jobs / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    rates: dict[str, list[float]] = {"titan": [], "xargs": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(Path(folder) / "home", workers=2, slots=1) as cluster,
        Client(cluster.address) as client,
    ):
        titan(client, min(500, asked.jobs))
        for turn in range(asked.rounds):
            rates["xargs"].append(xargs(asked.jobs))
            rates["titan"].append(titan(client, asked.jobs))
            print(f"round {turn + 1}: titan {rates['titan'][-1]:,.0f}/s, xargs -P2 -n1 true {rates['xargs'][-1]:,.0f}/s")
    ours, theirs = statistics.median(rates["titan"]), statistics.median(rates["xargs"])
    print(f"median: titan {ours:,.0f} jobs/s, xargs {theirs:,.0f} jobs/s, ratio {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
