"""`titan.context` outside of a job, and with a broken connection to the store."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan import context
from titan.context import NotInJob
from titan.errors import ConnectionLost


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Provide the socket on which a worker would listen."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "context"))
    listening.listen()
    monkeypatch.setenv("TITAN_CONTEXT", str(tmp_path / "context"))
    monkeypatch.setenv("TITAN_LEASE", "7")
    monkeypatch.setenv("TITAN_CONTEXT_TOKEN", "ab")
    monkeypatch.setenv("TITAN_RUN", "r")
    monkeypatch.setenv("TITAN_ATTEMPT", "2")
    yield listening
    listening.close()


def test_outside_of_a_job_the_context_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TITAN_CONTEXT", "TITAN_LEASE", "TITAN_RUN"):
        monkeypatch.delenv(name, raising=False)
    assert not context.in_job()
    with pytest.raises(NotInJob, match="not a job of Titan"):
        context.store.get("k")
    with pytest.raises(NotInJob):
        _ = context.run
    with pytest.raises(AttributeError):
        _ = context.nothing


def test_a_command_is_sent_once_and_the_next_goes_on_a_new_connection(worker: socket.socket) -> None:
    heard: list[bytes] = []

    def serve() -> None:
        for answer in (b"", b":5\r\n"):
            link, _ = worker.accept()
            with link:
                data = b""
                while b"HELLO" not in data:
                    data += link.recv(4096)
                heard.append(data.split(b"\n")[0])
                link.sendall(b"%0\r\n")
                heard.append(link.recv(4096))
                link.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    assert context.in_job() and context.run == "r" and context.attempt == 2
    with pytest.raises(ConnectionLost, match="may or may not have been executed"):
        context.store.incr("n")
    assert context.store.incr("n") == 5
    thread.join(10)
    incr = b"*3\r\n$6\r\nINCRBY\r\n$1\r\nn\r\n$1\r\n1\r\n"
    assert heard == [b"TITAN 7 run ab", incr, b"TITAN 7 run ab", incr]
