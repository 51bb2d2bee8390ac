"""Finally jobs with real processes: they run after failures, cancellation and a restart of the
master."""

from __future__ import annotations

from pathlib import Path

from support.cluster import FAST, cluster
from support.waiting import until
from titan import DAG, Job


def test_a_finally_job_runs_once_although_the_master_was_killed_after_the_failure(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    with cluster(tmp_path / "c", "w1", slots=2, settings=FAST) as c:
        bad = Job("bad", command="exit 3", retries=0, outputs=["log.txt"])
        slow = Job("slow", command=f"until test -e {go_on}; do sleep 0.05; done")
        after = Job("after", command="true", parents=[bad])
        show = f'echo "$TITAN_FAILED_JOB died"; ls; echo once >> {tmp_path}/count'
        last = Job("last", command=show, always=True, inputs=[{"from": "bad.log.txt", "optional": True}], parents=[slow, after])
        run = c.client.submit(DAG("d", [bad, slow, after, last]))
        until(lambda: c.states(run.id)["after"] == "CANCELLED", "the failure has had its effect")
        assert c.states(run.id)["last"] == "WAITING"
        c.kill_master()
        c.restart_master()
        assert "waits for the end of 1 of 3 parents: slow" in c.cli("why", f"{run.id}/last").stdout
        go_on.touch()
        assert run.wait(timeout=60).state == "FAILED"
        assert c.states(run.id) == {"bad": "DEAD", "slow": "COMPLETED", "after": "CANCELLED", "last": "COMPLETED"}
        assert c.printed(run, "last") == "bad died\n"
        assert (tmp_path / "count").read_text() == "once\n"


def test_an_always_job_runs_after_a_cancelled_job_and_not_after_a_cancelled_run(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", slots=2, settings=FAST) as c:
        jobs = [Job("long", command="sleep 600"), Job("last", command='echo "failed: $TITAN_FAILED_JOB"', always=True)]
        run = c.client.submit(DAG("d", jobs))
        c.cli("cancel", f"{run.id}/long")
        assert run.wait(timeout=60).state == "FAILED"
        assert c.printed(run, "last") == "failed: \n"
        other = c.client.submit(DAG("d", jobs))
        until(lambda: c.states(other.id)["long"] == "RUNNING", "the job runs")
        c.cli("cancel", other.id)
        assert other.wait(timeout=60).state == "CANCELLED"
        assert c.states(other.id) == {"long": "CANCELLED", "last": "CANCELLED"}
