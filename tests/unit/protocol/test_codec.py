"""Messages: their bytes, and the answer to a frame without a valid message."""

from __future__ import annotations

import struct

import msgspec
import pytest

from titan.errors import Conflict, InvalidGraph, ProtocolError, VersionMismatch
from titan.model.dag import DagSpec, JobTemplate
from titan.model.timing import Timing
from titan.protocol import messages as msg
from titan.protocol.codec import MessageDecoder, Misfit, Received, encode, error_of
from titan.protocol.frames import BLOB, ERROR, encode_frame
from titan.protocol.handshake import answer, hello
from titan.protocol.opcodes import OPCODE_OF, OPCODES

TEMPLATE = JobTemplate(command="ls", retries=1, env=(("K", "v"),))

# Programs in other languages, and masters and workers of other versions, use these bytes. So they
# must not change.
GOLDEN: list[tuple[msg.Message, bytes | None, str]] = [
    (msg.Ping(1), None, "0104000000000002 91 01"),
    (
        msg.Hello(1, "worker", 1, "titan 0", ("zstd",)),
        None,
        "0101000000000019 96 01 a6776f726b6572 01 a7746974616e2030 91a47a737464 a0",
    ),
    (
        msg.Error(7, "conflict", "no", "j", True),
        None,
        "0103020000000011 95 07 a8636f6e666c696374 a26e6f a16a c3",
    ),
    (
        msg.Submit(2, "k", DagSpec("d", "1", [TEMPLATE], ["a", "b"], [0, 0], [(), ("x",)], [(), ("a",)])),
        None,
        "0110000000000079 95 02 a16b 9c a164 a131"
        "91 dc0025 a0 a0 a0 a26c73 90 a747454e4552414c 01 cb0000000000000000 c2 01 cb0000000000000000 91 92a14ba176 a0 a0 a0"
        "a0 c0 c0 c0 c0 c0 cb0000000000000000 a0 90 90 90 a0 a0 a0 00 90 90 a0 a0 c0 c2 c0"
        "92a161a162 920000 92 90 91a178 92 90 91a161 90 cb0000000000000000 a0 a0 c2 c2 90",
    ),
    (
        msg.Dispatch(0, [], [1 << 32], ["r"], ["j"], [1], [0], [("x",)]),
        None,
        "0144000000000021 9e 00 90 91cf0000000100000000 91a172 91a16a 9101 9100 9191a178 90 90 90 90 a0 90",
    ),
    (
        msg.Results(0, [1 << 32], [1], [3], ["why"], [1.5], [2.0], [0.25], [4096]),
        None,
        "014600000000003a 9c 00 91cf0000000100000000 9101 9103 91a3776879"
        "91cb3ff8000000000000 91cb4000000000000000 91cb3fd0000000000000 91cd1000 90 90 90",
    ),
    (
        msg.Values(3, [0, 1], [6, 7], [b"", b"i\x80"], ["", "no"], True),
        None,
        "0128000000000015 96 03 920001 920607 92c400c4026980 92a0a26e6f c3",
    ),
    (msg.Why(4, "r", "j"), None, "0132000000000006 93 04 a172 a16a"),
    (
        msg.Reasons(4, "r", "j", 2, [msg.ReasonRow("no_worker", "t", {"n": 1})], [msg.WorkerReasons("w", [])], 3),
        None,
        "013300000000001f 97 04 a172 a16a 02 9193a96e6f5f776f726b6572a17481a16e01 9192a17790 03",
    ),
    (
        msg.AddSchedule(2, "k", "n", DagSpec("d", "", [], [], [], [], []), Timing("@daily"), paused=True),
        None,
        "0180000000000046 99 02 a16b a16e 9c a164 a0 90 90 90 90 90 90 cb0000000000000000 a0 a0 c2"
        "94 a6406461696c79 a3555443 cb0000000000000000 cb0000000000000000 a4736b6970 a46c617374 c3 c2",
    ),
    (msg.SendFile(9, "n", 3, "00ff"), b"abc", "01c8080000000015 0000000e 98 09 a16e 03 a430306666 a0 a0 00 00 616263"),
    (
        msg.LogData(0, ["r"], ["j"], [1], [2], [0], [2]),
        b"hi",
        "0149080000000017 00000011 98 00 91a172 91a16a 9101 9102 9100 9102 90 6869",
    ),
]


@pytest.mark.parametrize(("message", "blob", "wire"), GOLDEN, ids=[type(m).__name__ for m, _, _ in GOLDEN])
def test_the_bytes_on_the_wire(message: msg.Message, blob: bytes | None, wire: str) -> None:
    data = bytes.fromhex(wire)
    assert encode(message, blob) == data
    assert MessageDecoder().receive_data(data) == [Received(message, blob or b"")]


def test_a_message_of_an_older_peer_lacks_the_newer_fields() -> None:
    older = bytes.fromhex("014400000000001b 98 00 90 91cf0000000100000000 91a172 91a16a 9101 9100 9191a178")
    assert MessageDecoder().receive_data(older) == [Received(msg.Dispatch(0, [], [1 << 32], ["r"], ["j"], [1], [0], [("x",)]), b"")]
    without_lost = bytes.fromhex(
        "0146000000000039 9b 00 91cf0000000100000000 9101 9103 91a3776879"
        "91cb3ff8000000000000 91cb4000000000000000 91cb3fd0000000000000 91cd1000 90 90"
    )
    results = msg.Results(0, [1 << 32], [1], [3], ["why"], [1.5], [2.0], [0.25], [4096])
    assert MessageDecoder().receive_data(without_lost) == [Received(results, b"")]
    without_seal = bytes.fromhex("01c8080000000013 0000000c 96 09 a16e 03 a430306666 a0 a0 616263")
    assert MessageDecoder().receive_data(without_seal) == [Received(msg.SendFile(9, "n", 3, "00ff"), b"abc")]


def test_no_two_messages_have_one_opcode_and_none_has_moved() -> None:
    assert {op: kind.__name__ for op, kind in OPCODES.items()} == {
        1: "Hello", 2: "Welcome", 3: "Error", 4: "Ping", 5: "Pong",
        16: "Submit", 17: "Submitted", 18: "Cancel", 19: "Cancelled", 20: "GetRun", 21: "RunStatus", 22: "ListRuns", 23: "Runs",
        24: "ListWorkers", 25: "Workers", 26: "ListDead", 27: "DeadJobs", 28: "Watch", 29: "Unwatch", 30: "Changes", 31: "ReadLogs",
        32: "LogChunk", 33: "Stage", 34: "Staged", 36: "Stored", 37: "Resolve", 38: "Resolved", 39: "Stop",
        40: "Values", 41: "ReadValues", 42: "NameContent", 48: "OpenRun", 49: "AddJobs", 50: "Why", 51: "Reasons",
        52: "GetDag", 53: "Dag", 54: "GetGraph", 55: "Graph", 56: "GetAttempts", 57: "Attempts",
        58: "WatchCluster", 59: "ClusterChanges",
        64: "Register", 65: "Registered", 66: "Heartbeat", 67: "Heard", 68: "Dispatch", 69: "Started", 70: "Results", 71: "Acked",
        72: "StopAttempts", 73: "LogData", 74: "LogResume", 77: "Draining", 78: "Leaving",
        79: "Recall", 80: "Awaiting",
        128: "AddSchedule", 129: "Scheduled", 130: "ListSchedules", 131: "Schedules", 132: "PauseSchedule", 133: "RemoveSchedule",
        134: "RunSchedule",
        138: "Decide", 139: "Decided", 140: "ListGates", 141: "Gates", 142: "RetryDead", 143: "Retried", 144: "PurgeDead",
        145: "Purged",
        156: "TellWorker", 157: "Told", 158: "GetScale", 159: "Scale", 160: "Leave",
        148: "ListServices", 149: "Services", 150: "StopService", 151: "ServicesStopped",
        152: "ReplaceService", 153: "ServiceReplaced", 154: "ServiceStates",
        216: "Grow", 217: "Grown", 218: "SavePipeline", 219: "Saved", 220: "RemovePipeline", 221: "ListPipelines",
        222: "Pipelines", 223: "GetPipeline", 224: "Pipeline",
        176: "SetSecret", 177: "SecretSet", 178: "ListSecrets", 179: "Secrets", 180: "RemoveSecret", 181: "SecretRemoved",
        182: "GiveSecrets",
        161: "GetDisk", 162: "DiskUsage", 163: "MeasureDisk", 164: "DiskMeasured",
        165: "ListLeftFiles", 166: "LeftFiles", 167: "ListFolder", 172: "FolderListed", 173: "FetchLeftFile", 174: "SendLeftFile",
        168: "StoreCommands", 169: "StoreReplies", 170: "CloseLane", 171: "StoreStream",
        184: "WhoAmI", 185: "Identity", 186: "Noted", 187: "ReportProgress", 188: "SetStatus", 189: "SetResult", 190: "ReadValue",
        191: "ValueRead", 192: "Progress", 193: "Statuses",
        200: "SendFile", 201: "SendFrom", 202: "FilePiece", 203: "FileEnd", 204: "FileTaken", 205: "FetchFile",
        206: "StopSending", 207: "Publish", 208: "FindArtifact", 209: "ListArtifacts", 210: "Artifacts", 211: "RemoveArtifact",
        212: "PublishPath", 213: "FetchPath", 214: "FileHere",
    }  # fmt: skip
    assert len(OPCODE_OF) == len(OPCODES)


def test_messages_of_an_older_peer_without_local_file_exchange_are_read() -> None:
    """Older peers send neither `proof` nor `path` nor `content`."""
    short: list[tuple[msg.Message, int]] = [
        (msg.SendFile(9, "n", 3, "00"), 4), (msg.SendFile(9, "n", 3, "00", "p", "/f"), 6),
        (msg.FetchFile(9, "00", 5), 3), (msg.Welcome(1, 1, "s", "c", 2, (), 3.0), 7)
    ]  # fmt: skip
    for message, fields in short:
        (received,) = MessageDecoder().receive_data(frame(type(message), *msgspec.structs.astuple(message)[:fields]))
        assert received == Received(message, b"")


def frame(kind: type[msg.Message], *fields: object) -> bytes:
    """Return a frame of this kind of message with any fields."""
    return encode_frame(OPCODE_OF[kind], msgspec.msgpack.encode(fields))


def misfit(data: bytes) -> msg.Error:
    """Return the error for a frame without a valid message. Also check that the next message of the
    stream is still read."""
    first, second = MessageDecoder().receive_data(data + encode(msg.Ping(8)))
    assert isinstance(first, Misfit)
    assert second == Received(msg.Ping(8), b"")
    assert (first.error.code, first.error.retryable) == ("protocol", False)
    return first.error


def test_fields_of_a_newer_peer_are_ignored() -> None:
    (got,) = MessageDecoder().receive_data(frame(msg.Cancel, 5, "r", "j", True, "new", {"x": 1}))
    assert got == Received(msg.Cancel(5, "r", "j", True), b"")


def test_fields_that_an_older_peer_does_not_know_have_defaults() -> None:
    (got,) = MessageDecoder().receive_data(frame(msg.GetRun, 5, "r"))
    assert got == Received(msg.GetRun(5, "r", "", 0, 10_000), b"")


def test_an_unknown_opcode_is_answered() -> None:
    error = misfit(encode_frame(255, msgspec.msgpack.encode([77, "x"])))
    assert (error.request, error.message) == (77, "opcode 255 is unknown here; the peer may be newer")


@pytest.mark.parametrize(
    ("fields", "why"),
    [((5, 1), "Expected `str`, got `int` - at `$[1]`"), ((5,), "Expected `array` of at least length 2, got 1")],
    ids=["a wrong type", "a field too few"],
)
def test_an_invalid_payload_is_answered_to_its_request(fields: tuple[object, ...], why: str) -> None:
    error = misfit(frame(msg.Cancel, *fields))
    assert (error.request, error.message) == (5, f"opcode 18 (Cancel) has an invalid payload: {why}")


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x91", b"\x80", b"\x90", b"\xc3", b"\x91\xc3", b"\x91\xa1a", b"\xdd\xff\xff\xff\xff"]
)
def test_an_invalid_payload_without_a_request_id_is_answered_with_the_id_0(payload: bytes) -> None:
    assert misfit(encode_frame(18, payload)).request == 0


def test_text_that_is_no_utf8_is_answered() -> None:
    assert misfit(encode_frame(18, b"\x92\x05\xa2\xff\xfe")).message.startswith("opcode 18 (Cancel) has an invalid payload")


def test_nesting_without_end_is_answered() -> None:
    assert misfit(encode_frame(200, b"\x91" * 100_000)).request == 0
    assert misfit(encode_frame(64, b"\x91" * 100_000)).request == 0


@pytest.mark.parametrize("payload", [b"", b"\0\0\0", struct.pack(">I", 2) + b"\x90"], ids=["none", "torn", "too long"])
def test_a_blob_frame_without_a_message_is_refused(payload: bytes) -> None:
    assert misfit(encode_frame(200, payload, BLOB)).message == "opcode 200: a blob frame whose message is longer than the frame"


def test_an_empty_blob_and_none_arrive_alike() -> None:
    put = msg.SendFile(1, "00", 0)
    assert MessageDecoder().receive_data(encode(put, b"") + encode(put)) == [Received(put, b"")] * 2


def test_an_error_frame_is_marked() -> None:
    assert encode(msg.Error(1, "bug", "x"))[2] == ERROR


def test_an_error_message_has_the_text_of_its_exception() -> None:
    assert error_of(3, Conflict("taken")) == msg.Error(3, "conflict", "taken", "", False)
    assert error_of(3, InvalidGraph("cycle", "a")) == msg.Error(3, "invalid_graph", "cycle", "a", False)
    assert error_of(3, InvalidGraph("cycle", "a"), "b").job == "b"


# -- the handshake ---------------------------------------------------------------------------------
def test_a_hello_is_welcomed() -> None:
    assert answer(hello("client", "titan 1"), software="titan 2", cluster="c", term=4) == msg.Welcome(
        1, 1, "titan 2", "c", 4, ("zstd",)
    )


def test_features_that_both_know_are_used() -> None:
    first = msg.Hello(1, "worker", 1, "x", ("lz4", "zstd"))
    assert answer(first, software="y", cluster="c", term=1).features == ("zstd",)
    assert answer(msg.Hello(1, "worker", 1, "x"), software="y", cluster="c", term=1).features == ()


def test_versions_may_differ_by_one_and_the_lower_is_used() -> None:
    assert answer(msg.Hello(1, "worker", 2, "x"), software="y", cluster="c", term=1).version == 1


@pytest.mark.parametrize("version", [3, -1, 1000])
def test_a_version_that_differs_by_more_than_one_is_refused(version: int) -> None:
    with pytest.raises(VersionMismatch) as caught:
        answer(msg.Hello(1, "worker", version, "x"), software="y", cluster="c", term=1)
    assert str(caught.value) == (
        f"the peer (x) speaks version {version} of TITAN_PROTO, the master (y) version 1; they may differ by one: upgrade the older"
    )


def test_a_peer_whose_first_message_is_no_hello_is_refused() -> None:
    with pytest.raises(ProtocolError, match="the first message must be a Hello, not a Ping"):
        answer(msg.Ping(1), software="y", cluster="c", term=1)


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ProtocolError, match="a Hello with the role 'admin': roles are client and worker"):
        answer(msg.Hello(1, "admin", 1, "x"), software="y", cluster="c", term=1)
