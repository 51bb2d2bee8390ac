"""The dead letter queue with real processes: list, purge and retry, also after a restart and for
archived runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster
from support.waiting import until
from titan import DAG, Job
from titan.core.events.events import DeadPurged, JobsRevived, RunArchived, RunRestored
from titan.errors import Conflict, NotFound


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "w1", settings=QUIET) as made:
        yield made


def broken(folder: Path) -> DAG:
    """Return a DAG in which fix fails until `folder`/fixed exists. `after` and `last` wait for
    fix."""
    fix = f"echo trying; echo oops >&2; test -e {folder}/fixed"
    return DAG(
        "broken",
        [
            Job("good", command="true"),
            Job("fix", command=fix, retries=1, parents=["good"]),
            Job("after", command=f"echo ran >> {folder}/ran", parents=["fix"]),
            Job("last", command="true", parents=["after"]),
        ],
    )


def failed_run(c: Cluster, folder: Path) -> str:
    run = c.client.submit(broken(folder))
    assert run.wait(timeout=30).state == "FAILED"
    return run.id


def archived(c: Cluster) -> list[str]:
    return [event.run for event in c.events() if isinstance(event, RunArchived)]


def test_show_prints_the_reason_the_story_and_the_output_of_each_attempt(c: Cluster, tmp_path: Path) -> None:
    run = failed_run(c, tmp_path)
    listed = c.json("dlq")
    assert [(dead["run"], dead["job"]["id"]) for dead in listed] == [(run, "fix")]
    assert c.json("dlq", run) == c.json("dlq", "list", run) == listed
    shown = c.json("dlq", "show", f"{run}/fix")
    assert shown["state"] == "DEAD" and shown["exit_code"] == 1
    assert [(one["attempt"], one["stdout"], one["stderr"]) for one in shown["attempts"]] == [
        (1, "trying\n", "oops\n"),
        (2, "trying\n", "oops\n"),
    ]
    assert any("EXITED with code 1" in line for line in shown["story"])
    text = c.cli("dlq", "show", f"{run}/fix").stdout
    assert "is DEAD after 2 attempts" in text and "attempt 2, stderr:\n  oops\n" in text and "titan dlq retry" in text
    alive = c.cli("dlq", "show", f"{run}/good")
    assert alive.returncode == 2 and "is COMPLETED, not DEAD" in alive.stderr
    assert c.cli("dlq", "show", run).returncode == 2


def test_a_retry_resumes_the_run_with_its_children_after_a_restart_too(c: Cluster, tmp_path: Path) -> None:
    run = failed_run(c, tmp_path)
    assert list(c.states(run).values()) == ["COMPLETED", "DEAD", "CANCELLED", "CANCELLED"]
    c.restart_master()
    # The job still fails: it gets all its retries again, and is DEAD again.
    assert c.json("dlq", "retry", f"{run}/fix", "--by", "ann") == {"run": run, "retried": 1, "revived": 2}
    assert c.client.run(run).wait(timeout=30).state == "FAILED"
    assert c.client.job(f"{run}/fix")[0].attempt == 4
    (tmp_path / "fixed").touch()
    done = c.cli("dlq", "retry", run)
    assert done.stdout == "retried: 1 job; revived: 2 jobs cancelled because of it\n", done
    assert c.client.run(run).wait(timeout=30).state == "COMPLETED"
    assert list(c.states(run).values()) == ["COMPLETED"] * 4
    assert (tmp_path / "ran").read_text() == "ran\n"
    _, story = c.client.job(f"{run}/fix")
    assert any("taken off the dead letter queue by ann" in line for line in story)
    assert c.client.dead_jobs() == []
    c.restart_master()
    assert c.client.status(run).state == "COMPLETED"
    with pytest.raises(Conflict, match="has no dead job that could run again"):
        c.client.retry_dead(run)
    with pytest.raises(Conflict, match="fix is COMPLETED, not DEAD"):
        c.client.retry_dead(f"{run}/fix")


def test_a_retry_at_the_moment_of_a_kill_is_done_once(c: Cluster, tmp_path: Path) -> None:
    import threading

    from titan import Client

    run = failed_run(c, tmp_path)
    (tmp_path / "fixed").touch()
    with Client(c.address) as other:
        told = threading.Thread(target=lambda: other.retry_dead(run))
        told.start()
        c.restart_master()
        told.join(30)
    assert c.client.run(run).wait(timeout=30).ok
    assert len([e for e in c.events() if isinstance(e, JobsRevived)]) == 1
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_purged_job_is_off_the_queue_and_stays_dead(c: Cluster, tmp_path: Path) -> None:
    run = failed_run(c, tmp_path)
    assert c.cli("dlq", "purge", f"{run}/fix").stdout == "1 job purged\n"
    assert c.cli("dlq").stdout == "no dead jobs\n"
    assert c.client.purge_dead(run) == 0
    c.restart_master()
    assert c.client.dead_jobs() == [] and c.states(run)["fix"] == "DEAD"
    assert c.json("status", f"{run}/fix")["state"] == "DEAD"
    # A purged job can still be retried by its name.
    (tmp_path / "fixed").touch()
    c.client.retry_dead(f"{run}/fix")
    assert c.client.run(run).wait(timeout=30).ok
    failed_run(c, tmp_path / "other")
    failed_run(c, tmp_path / "other")
    assert c.json("dlq", "purge", "--all") == {"target": "", "purged": 2}
    assert c.cli("dlq", "purge").returncode == 2


def test_an_archived_run_resumes_after_a_retry(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings={**QUIET, "keep_runs": 1}) as c:
        run = failed_run(c, tmp_path)
        other = failed_run(c, tmp_path)
        for _ in range(2):
            c.client.submit(DAG("d", [Job("a", command="true")])).wait(timeout=30)
        until(lambda: {run, other} <= set(archived(c)), "the runs leave")
        c.restart_master()
        shown = c.json("dlq", "show", f"{run}/fix")
        assert [one["stderr"] for one in shown["attempts"]] == ["oops\n", "oops\n"]
        with pytest.raises(Conflict, match="after is CANCELLED, not DEAD"):
            c.client.retry_dead(f"{run}/after")
        with pytest.raises(NotFound):
            c.client.retry_dead("000000000000")
        (tmp_path / "fixed").touch()
        done = c.client.retry_dead(f"{run}/fix")
        assert (done.retried, done.revived) == (1, 2)
        assert c.client.run(run).wait(timeout=30).ok
        assert [dead.run for dead in c.client.dead_jobs()] == [other]
        assert [r.run for r in c.client.runs(limit=100)].count(run) == 1
        assert c.client.purge_dead(other) == 1
        assert c.client.dead_jobs() == []
        # Both runs are archived again, with their present states.
        for _ in range(3):
            c.client.submit(DAG("d", [Job("a", command="true")])).wait(timeout=30)
        until(lambda: archived(c).count(run) == archived(c).count(other) == 2, "the runs leave again")
        c.restart_master()
        assert c.client.status(run).state == "COMPLETED" and c.client.status(other).state == "FAILED"
        assert c.client.dead_jobs() == [] and c.states(other)["fix"] == "DEAD"
        assert len([e for e in c.events() if isinstance(e, RunRestored)]) == 2
        assert len([e for e in c.events() if isinstance(e, DeadPurged)]) == 1
        assert (tmp_path / "ran").read_text() == "ran\n"
