"""Workers do not prefetch long jobs. With two workers, no job waits behind a job of several seconds
while a slot is free."""

from __future__ import annotations

import time
from pathlib import Path

from support.cluster import cluster
from titan import DAG, Job

COUNT = 1000
LONG = 137
SLEEP_S = 5.0


def test_no_script_of_a_thousand_waits_behind_the_long_one(tmp_path: Path) -> None:
    with cluster(tmp_path, "w1", "w2", slots=1) as c:
        command = f'[ "$1" = {LONG} ] && exec sleep {SLEEP_S:g}; true'
        run = c.client.submit(DAG("d", [Job("job", command=command, foreach=COUNT)]))
        assert run.wait(timeout=120).ok
        jobs = {job.id: job for job in run.status().jobs}
    long = jobs.pop(f"job[{LONG}]")
    assert long.started_at is not None and long.finished_at is not None and long.finished_at - long.started_at >= SLEEP_S
    last = max(job.finished_at or 0.0 for job in jobs.values())
    assert last < long.finished_at, "all other jobs are done before the long job"
    elsewhere = [job for job in jobs.values() if (job.started_at or 0.0) > long.started_at]
    assert {job.worker for job in elsewhere} == {"w1", "w2"} - {long.worker}


def test_no_call_of_a_thousand_waits_behind_the_long_one(tmp_path: Path) -> None:
    def work(i: int) -> float:
        if i == LONG:
            time.sleep(SLEEP_S)
        return time.monotonic()

    with cluster(tmp_path, "w1", "w2", slots=1) as c:
        ends = list(c.client.map(work, range(COUNT), chunksize=1))
    long = ends.pop(LONG)
    late = [i for i, at in enumerate(ends) if at >= long - 0.5 * SLEEP_S]
    assert not late, f"{len(late)} waited: {late[:5]}"
    assert max(ends) < long - 0.5 * SLEEP_S, "all other calls are done long before the long call"
