"""Bytes that no client would send, on the socket of a real master. The sender gets an error or its
connection is closed, and no other peer is affected."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from support.cluster import Cluster, cluster
from titan import DAG, Job
from titan.protocol import messages as msg
from titan.protocol.codec import MessageDecoder, Received, encode
from titan.protocol.frames import FIRST_FRAME, MAX_FRAME, VERSION
from titan.protocol.handshake import hello
from titan.sdk.staging import stage

HEADER = struct.Struct(">BBBBI")
HELLO_S = 10.0
DAG_SPEC = stage(DAG("cut", [Job("a", command="true")])).spec


class Raw:
    """Socket to the master, and the messages that the master sends on it."""

    def __init__(self, c: Cluster) -> None:
        self.socket = socket.create_connection(("127.0.0.1", c.port), timeout=HELLO_S + 5)
        self._decoder = MessageDecoder()
        self._messages: list[msg.Message] = []

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def greet(self, role: str = "client") -> None:
        self.send(encode(hello(role, "test")))
        assert isinstance(self.next(), msg.Welcome)

    def next(self) -> msg.Message | None:
        """Return the next message; None if the master has closed the connection."""
        while not self._messages:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._messages += [item.message for item in self._decoder.receive_data(data) if isinstance(item, Received)]
        return self._messages.pop(0)

    def error(self) -> msg.Error:
        message = self.next()
        assert isinstance(message, msg.Error), message
        return message


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("peers") / "c", "w1") as made:
        yield made


@pytest.fixture(scope="module", autouse=True)
def silent(c: Cluster) -> Iterator[tuple[Raw, float]]:
    """Connection that sends nothing, and the time at which it was opened."""
    raw = Raw(c)
    yield raw, time.monotonic()
    raw.socket.close()


@pytest.fixture(autouse=True)
def all_goes_on(c: Cluster) -> Iterator[None]:
    """Check after each test that the master still serves a client that was connected all the time,
    and the worker."""
    before = c.worker("w1").joined_at
    yield
    assert c.client.submit(DAG("after", [Job("a", command="true")])).wait(10).ok
    assert c.worker("w1").joined_at == before
    assert c.master is not None
    assert c.master.running
    assert "Traceback" not in c.master.err


@pytest.fixture
def raw(c: Cluster) -> Iterator[Raw]:
    made = Raw(c)
    yield made
    made.socket.close()


def test_another_version_of_frames_is_refused(raw: Raw) -> None:
    raw.send(HEADER.pack(VERSION + 8, 1, 0, 0, 4) + b"abcd")
    error = raw.error()
    assert error.code == "version_mismatch"
    assert f"this side speaks version {VERSION}" in error.message
    assert raw.next() is None


def test_a_hello_of_an_unsupported_version_is_refused(raw: Raw) -> None:
    raw.send(encode(msg.Hello(1, "client", VERSION + 2, "from afar")))
    error = raw.error()
    assert error.code == "version_mismatch"
    assert "they may differ by one: upgrade the older" in error.message
    assert raw.next() is None


def test_a_hello_of_the_next_version_is_welcome(raw: Raw) -> None:
    raw.send(encode(msg.Hello(1, "client", VERSION + 1, "from near")))
    welcome = raw.next()
    assert isinstance(welcome, msg.Welcome)
    assert welcome.version == VERSION


@pytest.mark.parametrize("greeted", [False, True])
def test_a_frame_over_the_limit_is_refused(raw: Raw, *, greeted: bool) -> None:
    if greeted:
        raw.greet()
    raw.send(HEADER.pack(VERSION, 1, 0, 0, MAX_FRAME + 1))
    error = raw.error()
    assert error.code == "protocol"
    assert f"the limit is {MAX_FRAME if greeted else FIRST_FRAME:,}" in error.message
    assert raw.next() is None


@pytest.mark.parametrize("length", [3, 8, 20])
def test_a_frame_that_is_cut(raw: Raw, length: int) -> None:
    raw.greet()
    raw.send(encode(msg.Submit(5, "key", DAG_SPEC))[:length])
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.next() is None


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_affect_no_other_peer(raw: Raw, seed: int) -> None:
    chance = random.Random(seed)
    if seed % 2:
        raw.greet()
    data = chance.randbytes(chance.randint(8, 5000))
    raw.send(data if seed % 4 < 2 else bytes([VERSION]) + data[1:4] + struct.pack(">I", len(data) - 8) + data[8:])
    with contextlib.suppress(OSError):  # the master may have closed it already
        raw.socket.shutdown(socket.SHUT_WR)
    while raw.next() is not None:
        pass


def test_an_http_request_is_refused(raw: Raw) -> None:
    raw.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert raw.error().code == "version_mismatch"
    assert raw.next() is None


def test_an_unknown_opcode_gets_an_error_and_the_connection_lives(raw: Raw) -> None:
    raw.greet()
    raw.send(HEADER.pack(VERSION, 250, 0, 0, 2) + b"\x91\x07")
    assert raw.error().code == "protocol"
    raw.send(encode(msg.Ping(9)))
    assert raw.next() == msg.Pong(9)


def test_a_payload_of_another_shape_gets_an_error_and_the_connection_lives(raw: Raw) -> None:
    raw.greet()
    opcode = encode(msg.GetRun(7, "x"))[1]
    raw.send(HEADER.pack(VERSION, opcode, 0, 0, 8) + b"\x93\x07\xa1x\x00\x00\x00\x00")
    assert raw.error().code == "protocol"
    raw.send(encode(msg.Ping(9)))
    assert raw.next() == msg.Pong(9)


def test_a_first_message_other_than_hello_is_refused(raw: Raw) -> None:
    raw.send(encode(msg.Ping(1)))
    assert "the first message must be a Hello" in raw.error().message
    assert raw.next() is None


def test_an_unknown_role_is_refused(raw: Raw) -> None:
    raw.send(encode(msg.Hello(1, "emperor", VERSION, "test")))
    assert "emperor" in raw.error().message
    assert raw.next() is None


def test_a_message_of_workers_from_a_client_is_refused(raw: Raw) -> None:
    raw.greet()
    raw.send(encode(msg.Results(4, [1], [0], [0], [""], [0.0], [0.0], [0.0], [0])))
    error = raw.error()
    assert (error.code, error.request) == ("protocol", 4)
    raw.send(encode(msg.Ping(9)))
    assert raw.next() == msg.Pong(9)


def test_messages_of_an_unregistered_worker_are_refused(raw: Raw) -> None:
    raw.greet("worker")
    raw.send(encode(msg.Results(4, [1], [0], [0], [""], [0.0], [0.0], [0.0], [0])))
    assert "not registered" in raw.error().message


@pytest.mark.parametrize(
    "register",
    [
        msg.Register(1, "../up", "i", "", ("GENERAL",), 1, {}, [], []),
        msg.Register(1, "ok", "i", "", ("G P",), 1, {}, [], []),
        msg.Register(1, "ok", "i", "", (), 1, {}, [], []),
        msg.Register(1, "ok", "i", "", ("GENERAL",), 0, {}, [], []),
        msg.Register(1, "ok", "i", "", ("GENERAL",), 1 << 40, {}, [], []),
        msg.Register(1, "ok", "i", "", ("GENERAL",), 1, {}, [1], []),
    ],
    ids=["name", "capability", "no capability", "no slots", "too many slots", "columns"],
)
def test_an_invalid_registration_is_refused(c: Cluster, raw: Raw, register: msg.Register) -> None:
    raw.greet("worker")
    raw.send(encode(register))
    assert raw.error().code in ("caller", "protocol")
    assert [worker.name for worker in c.client.workers()] == ["w1"]


def test_reports_about_unknown_attempts_are_ignored_or_refused(c: Cluster, raw: Raw) -> None:
    """The reports contain leases that were never issued, outcomes that do not exist, columns of
    unequal length, and output of no run."""
    raw.greet("worker")
    raw.send(encode(msg.Register(1, "liar", "i", "", ("LIES",), 1, {}, [], [])))
    assert isinstance(raw.next(), msg.Registered)
    for report, code in (
        (msg.Results(4, [77], [0], [0], [""], [0.0], [0.0], [0.0], [0]), ""),
        (msg.Results(5, [77], [99], [0], [""], [0.0], [0.0], [0.0], [0]), "protocol"),
        (msg.Results(6, [77, 78], [0], [0], [""], [0.0], [0.0], [0.0], [0]), "protocol"),
        (msg.Heartbeat(7, [-1, 1 << 60], [1.0, 2.0]), ""),
        (msg.Heartbeat(12, [], [], (), [], {"disk_free_bytes": "much"}), "protocol"),
        (msg.Heartbeat(13, [], [], (), [], {"disk_free_bytes": -1}), "protocol"),
        (msg.Heartbeat(14, [], [], (), [], {"cpus": 10**9, "address": "\x1b[2J", "disk_free_bytes": 7}), ""),
        (msg.Started(8, [5], [float("nan")]), ""),
        (msg.LogData(9, ["../../etc"], ["passwd"], [1], [1], [0], [3]), ""),
        (msg.FetchFile(10, "../../../etc/passwd"), "not_found"),
        (msg.Draining(11), ""),
    ):
        raw.send(encode(report, b"xyz" if isinstance(report, msg.LogData) else None))
        raw.send(encode(msg.Ping(99)))
        answers: list[msg.Message] = []
        while (answer := raw.next()) != msg.Pong(99):
            assert answer is not None, report
            answers.append(answer)
        errors = [a.code for a in answers if isinstance(a, msg.Error)]
        assert errors == ([code] if code and not isinstance(report, msg.FetchFile) else errors), report
    liar = next(worker for worker in c.client.workers() if worker.name == "liar")
    assert "cpus" not in liar.facts and liar.facts["address"] == "127.0.0.1" and liar.facts["disk_free_bytes"] == 7
    raw.send(encode(msg.Leaving(50)))


def test_no_hello_in_time(silent: tuple[Raw, float]) -> None:
    raw, since = silent
    error = raw.error()
    assert time.monotonic() - since >= HELLO_S - 0.5
    assert (error.code, error.message) == ("protocol", "no Hello within 10 s")
    assert raw.next() is None
