"""While the journal's disk is nearly full, requests that make the journal grow are refused. Other
requests are served."""

from __future__ import annotations

import pytest

from support.handlers import SocketlessMaster, needing
from titan.master.core_loop import CoreLoop
from titan.model.dag import JobTemplate
from titan.model.timing import Timing
from titan.protocol import messages as msg

SPEC = needing("NOBODY", "b")


def test_a_full_disk_refuses_requests_that_add_data(master: SocketlessMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    client = master.client()
    run = client.submit(needing("NOBODY", "a"))
    client.ask(msg.AddSchedule(0, "", "s", SPEC, Timing(cron="0 0 1 1 *")), msg.Scheduled)
    monkeypatch.setattr(CoreLoop, "low_space", True)
    for message in (
        msg.Submit(0, "", SPEC),
        msg.OpenRun(0, "", "d", "1", [JobTemplate(command="true")], 1),
        msg.Grow(0, 0, run, "k", SPEC),
        msg.SavePipeline(0, "p", SPEC),
        msg.AddSchedule(0, "", "t", SPEC, Timing(cron="0 0 1 1 *")),
        msg.RunSchedule(0, "", "s"),
    ):
        error = client.refused(message, "environment", "the disk under the master's journal is nearly full: free space there")
        assert not error.retryable
    assert client.ask(msg.Cancel(0, run), msg.Cancelled).jobs == 1
