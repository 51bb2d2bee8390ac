"""The disk space of the master, of workers that answer, and of those that do not."""

from __future__ import annotations

import pytest

from support.handlers import SocketlessMaster, WorkerSpeaker, answers, needing, refuses
from titan.errors import ProtocolError
from titan.master import disk_usage
from titan.master.handlers import disk
from titan.model.disk import SHARED_FOLDERS
from titan.protocol import messages as msg
from titan.protocol.codec import error_of

MIB = 1 << 20


def measured(worker: WorkerSpeaker, request: int, *runs: msg.WorkerRunRow, shared: str = "", home: str = "/w") -> None:
    """The worker answers: 1 MiB of job folders, 2 MiB of shared folders."""
    places = [msg.PlaceRow("job folders", MIB), msg.PlaceRow(SHARED_FOLDERS, 2 * MIB)]
    worker.say(msg.DiskMeasured(request, home, places, list(runs), 5 * MIB, 9 * MIB, True, shared or worker.name))


def rows(usage: msg.DiskUsage) -> dict[str, msg.NodeDiskRow]:
    return {row.worker: row for row in usage.nodes}


@answers(msg.GetDisk, msg.DiskMeasured)
def test_the_master_and_its_workers_are_measured(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("measured")
    run = client.submit(needing("NOBODY", "a"))
    asked = client.say(msg.GetDisk(0))
    request = worker.heard(msg.MeasureDisk)
    assert request.request >= 1 << 40, "a request of the worker could have the same number"
    measured(worker, request.request, msg.WorkerRunRow(run, MIB, 2 * MIB), msg.WorkerRunRow("gone", MIB, 0))
    usage = client.heard(msg.DiskUsage, asked.request)
    found = rows(usage)
    assert usage.nodes[0].worker == "" and {"journal", "content"} <= {row.place for row in found[""].places}
    assert found[""].total >= found[""].free > 0
    assert (found["measured"].home, found["measured"].free, found["measured"].problem) == ("/w", 5 * MIB, "")
    assert usage.runs[:2] == [msg.RunDiskRow(run, "d", 3 * MIB, ["measured"]), msg.RunDiskRow("gone", "", MIB, ["measured"])]
    worker.hang_up()


@refuses(msg.GetDisk, msg.DiskMeasured, msg.Error)
def test_only_clients_may_request_and_only_workers_may_report_a_measurement(master: SocketlessMaster) -> None:
    worker = master.worker("curious")
    worker.refused(msg.GetDisk(0), "protocol", "a worker must not send a GetDisk to the master")
    stranger = msg.DiskMeasured(0, "", [], [], 0, 0, True, "")
    master.client().refused(stranger, "protocol", "a client must not send a DiskMeasured to the master")
    master.client().refused(error_of(0, ProtocolError("no")), "protocol", "a client must not send a Error to the master")
    worker.hang_up()


def test_a_shared_folder_of_several_workers_counts_once(master: SocketlessMaster) -> None:
    client, workers = master.client(), [master.worker(f"shares{n}") for n in range(2)]
    asked = client.say(msg.GetDisk(0))
    for worker in workers:
        request = worker.heard(msg.MeasureDisk).request
        measured(worker, request, msg.WorkerRunRow("between", MIB, 2 * MIB), shared="one folder")
    usage = client.heard(msg.DiskUsage, asked.request)
    sizes = [sum(place.bytes for place in rows(usage)[worker.name].places) for worker in workers]
    assert sizes == [3 * MIB, MIB]
    assert usage.runs[0] == msg.RunDiskRow("between", "", 4 * MIB, ["shares0", "shares1"])
    for worker in workers:
        worker.hang_up()


@answers(msg.Error)
def test_a_worker_that_does_not_know_the_request_is_named(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("old")
    asked = client.say(msg.GetDisk(0))
    request = worker.heard(msg.MeasureDisk).request
    worker.say(error_of(request, ProtocolError("opcode 163 is unknown here; the peer may be newer")))
    usage = client.heard(msg.DiskUsage, asked.request)
    assert rows(usage)["old"].problem == "an earlier Titan that cannot measure: upgrade it"
    assert not [m for m, _ in worker.got if isinstance(m, msg.Error)], "the worker gets no error for its error"
    worker.hang_up()


def test_workers_that_are_away_or_leave_meanwhile_are_named(master: SocketlessMaster) -> None:
    client, away, leaves = master.client(), master.worker("away"), master.worker("leaves")
    away.hang_up()
    asked = client.say(msg.GetDisk(0))
    leaves.heard(msg.MeasureDisk)
    leaves.hang_up()
    found = rows(client.heard(msg.DiskUsage, asked.request))
    assert found["away"].problem == "SUSPECT: its disk is unknown while it is away"
    assert found["leaves"].problem == "its connection broke: try again"


def test_a_silent_worker_delays_the_answer_for_a_bounded_time(master: SocketlessMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "ANSWER_S", 0.2)
    client, other, worker = master.client(), master.client(), master.worker("silent")
    asked, also = client.say(msg.GetDisk(0)), other.say(msg.GetDisk(0))
    for speaker, request in ((client, asked), (other, also)):
        usage = speaker.heard(msg.DiskUsage, request.request)
        assert rows(usage)["silent"].problem.startswith("no answer within")
    late = [m.request for m, _ in worker.got if isinstance(m, msg.MeasureDisk)]
    assert len(late) == 1, "both get the answer of one measurement"
    measured(worker, late[0])
    master.settled()
    worker.hang_up()


def test_a_measurement_that_fails_is_an_error(master: SocketlessMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/home/logs")

    monkeypatch.setattr(disk_usage, "measure", fails)
    error = master.client().refused(msg.GetDisk(0), "environment", "the disk space cannot be measured: PermissionError")
    assert not error.retryable
