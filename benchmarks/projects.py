"""Copies of a project: two runs of 20 jobs over a project of 50 MB. Measures the bytes that the
worker's job folders take afterwards, and the time per job.

    python -m benchmarks.projects [FOLDER]

FOLDER: a folder on the file system to measure. The default is the folder of temporary files.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from titan import DAG, Client, Job
from titan.cli.local_cluster import LocalCluster

FILES, FILE_BYTES, JOBS, RUNS = 200, 250_000, 20, 2


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as base:
        project = Path(base, "project")
        for n in range(FILES):
            path = project / f"d{n % 10}" / f"f{n}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(FILE_BYTES))
        home = Path(base, "home")
        with LocalCluster(home, slots=2) as cluster, Client(cluster.address) as client:
            jobs = Path(home, "workers", "w1", "titan_workspace", "jobs")
            for n in range(RUNS):
                dag = DAG("d", [Job(f"j{k}", command="true") for k in range(JOBS)], project=project)
                run = client.submit(dag)
                started = time.perf_counter()
                state = run.wait(timeout=600).state
                seconds = time.perf_counter() - started
                print(f"run {n + 1}: {state}, {seconds / JOBS * 1000:.0f} ms per job, with 2 slots")
            time.sleep(2.0)
            print(f"job folders: {taken(jobs) / 1e6:,.1f} MB; workspace: {taken(jobs.parent) / 1e6:,.1f} MB")


def taken(folder: Path) -> int:
    """Return the bytes of the blocks of all files. Clones are counted fully."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


if __name__ == "__main__":
    main()
