"""No-op Python scripts, each with a sandbox and logs, on two workers of one slot, compared with
`xargs -P2 -n1 python`, in turn.

python benchmarks/scripts.py [--jobs 2000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from titan import DAG, Client, Job
from titan.cli.local_cluster import LocalCluster


def xargs(script: Path, jobs: int) -> float:
    """Return the scripts per second, with the same interpreter as the workers."""
    lines = f"{script}\n".encode() * jobs
    began = time.perf_counter()
    subprocess.run(["xargs", "-P2", "-n1", sys.executable], input=lines, check=True)
    return jobs / (time.perf_counter() - began)


def titan(client: Client, script: Path, jobs: int) -> float:
    began = time.perf_counter()
    summary = client.submit(DAG("scripts", [Job(f"job-{i}", file=script) for i in range(jobs)])).wait()
    took = time.perf_counter() - began
    assert summary.ok, summary
    return jobs / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    ours, theirs = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(Path(folder) / "home", workers=2, slots=1) as cluster,
        Client(cluster.address) as client,
    ):
        script = Path(folder) / "noop.py"
        script.write_text("")
        titan(client, script, 200)
        for turn in range(asked.rounds):
            theirs.append(xargs(script, asked.jobs // 4))
            ours.append(titan(client, script, asked.jobs))
            print(f"round {turn + 1}: titan {ours[-1]:,.0f}/s, xargs -P2 -n1 python {theirs[-1]:,.0f}/s")
    a, b = statistics.median(ours), statistics.median(theirs)
    print(f"median: titan {a:,.0f} scripts/s, xargs {b:,.0f} scripts/s, ratio {a / b:.1f}")


if __name__ == "__main__":
    main()
