"""Requests of jobs to the master, through their workers and under their leases."""

from __future__ import annotations

from support.core import dag
from support.handlers import SocketlessMaster, answers, refuses
from titan.model.dag import JobTemplate
from titan.model.states import Outcome
from titan.protocol import messages as msg


@answers(msg.ReadValue)
@refuses(msg.ReadValue)
def test_a_job_reads_the_values_of_earlier_jobs_of_its_run(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("reader", slots=4, offers="READER")
    alike = JobTemplate(command="true", requirement="READER", retries=0)
    run = client.submit(dag(dict.fromkeys("abcd", ""), dict.fromkeys("abcd", alike)))
    leases = {job: worker.start(run, job) for job in "abcd"}
    worker.finish(leases["a"], value=b"j1")
    worker.finish(leases["b"], Outcome.EXITED, 3)
    assert worker.ask(msg.ReadValue(0, leases["c"], "a"), msg.ValueRead).value == b"j1"
    worker.refused(msg.ReadValue(0, leases["c"], "b"), "conflict", "b is DEAD and has no value")
    worker.refused(msg.ReadValue(0, leases["c"], "d"), "conflict", "d is RUNNING: its value can be read by jobs that depend")
    worker.refused(msg.ReadValue(0, leases["c"], "x"), "not_found", f"run {run} has no job 'x'")
    worker.refused(msg.ReadValue(0, leases["a"], "b"), "conflict", "this attempt is over, or was taken from its worker")
    other = master.worker("other")
    other.refused(msg.ReadValue(0, leases["c"], "a"), "conflict", "this attempt is over, or was taken from its worker")
