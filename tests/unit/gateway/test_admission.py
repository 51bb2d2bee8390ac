"""A message whose fields contradict each other is refused as a whole."""

from __future__ import annotations

import msgspec
import pytest

from titan.errors import CallerError, ProtocolError
from titan.gateway import admission
from titan.model.disk import FREE_DISK
from titan.model.files import FILE, FOLDER, StoredFile
from titan.protocol import messages as msg

HASH = "ab" * 32
REGISTER = msg.Register(1, "w1", "000001-a", "c", ("GENERAL",), 2, {"advertise": "node-7"}, [9], [1.0])
RESULTS = msg.Results(0, [5], [0], [0], [""], [1.0], [2.0], [0.5], [9])
OUTPUT = StoredFile("data", HASH, 10, FILE)


def changed(message: msg.Message, **fields: object) -> msg.Message:
    return msgspec.structs.replace(message, **fields)


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({"name": "two words"}, CallerError, "worker name 'two words' is malformed"),
        ({"name": "x" * 300}, CallerError, "malformed"),
        ({"incarnation": "1\n2"}, CallerError, "control characters"),
        ({"capabilities": ()}, CallerError, "capability '' is malformed"),
        ({"capabilities": ("GENERAL", "a b")}, CallerError, "capability 'a b' is malformed"),
        ({"capabilities": tuple(f"C{n}" for n in range(257))}, CallerError, "at most 256 capabilities, not 257"),
        ({"slots": 0}, CallerError, "1 to 65536 slots, not 0"),
        ({"slots": 65_537}, CallerError, "1 to 65536 slots, not 65537"),
        ({"leases": [1, 2]}, ProtocolError, "the columns of a Register differ in length"),
        ({"draws": ("x",), "draw_of": [1]}, ProtocolError, "a draw that the message does not list"),
        ({"draws": ("x",), "draw_of": [0, 0]}, ProtocolError, "the columns of a Register differ in length"),
    ],
)
def test_a_bad_registration_is_refused_with_its_fault(fields: dict[str, object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        admission.check_registration(changed(REGISTER, **fields))  # type: ignore[arg-type]


def test_registrations_at_the_limits_are_taken() -> None:
    admission.check_registration(REGISTER)
    most = changed(REGISTER, capabilities=tuple(f"C{n}" for n in range(256)), slots=65_536, draws=("x", "y"), draw_of=[1])
    admission.check_registration(most)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"outcomes": [99]}, "an outcome that does not exist"),
        ({"reasons": []}, "the columns of a Results differ in length"),
        ({"lost": ["", ""]}, "the columns of a Results differ in length"),
        ({"values": [b"x" * (admission.MAX_INLINE + 1)]}, "a result in a message exceeds 1,048,576 bytes"),
        ({"outputs": [(msgspec.structs.replace(OUTPUT, hash="ab"),)]}, "output 'data': its hash is not a SHA-256"),
        ({"outputs": [(msgspec.structs.replace(OUTPUT, size=-1),)]}, "its size or kind is out of range"),
        ({"outputs": [(msgspec.structs.replace(OUTPUT, kind=FOLDER + 1),)]}, "its size or kind is out of range"),
        ({"outputs": [(msgspec.structs.replace(OUTPUT, size=admission.MAX_FILE_SIZE + 1),)]}, "its size or kind is out of range"),
        ({"outputs": [(msgspec.structs.replace(OUTPUT, name="a\nb"),)]}, "printable characters"),
    ],
)
def test_bad_results_are_refused_with_their_fault(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        admission.check_results(changed(RESULTS, **fields))  # type: ignore[arg-type]


def test_results_with_values_and_outputs_are_taken() -> None:
    admission.check_results(RESULTS)
    whole = changed(RESULTS, values=[b"x" * admission.MAX_INLINE], outputs=[(OUTPUT,)], lost=[""])
    admission.check_results(whole)  # type: ignore[arg-type]


def test_the_free_disk_alone_changes_while_a_worker_is_connected() -> None:
    def facts(**said: object) -> dict[str, str | int | float]:
        return admission.changed_facts(msg.Heartbeat(0, [], [], facts=said))  # type: ignore[arg-type]

    assert facts(**{FREE_DISK: 7, "cpus": 9, "of a later Titan": "x"}) == {FREE_DISK: 7}
    assert facts(cpus=9) == {}
    for bad in (-1, 1.5, "much"):
        with pytest.raises(ProtocolError, match="is a number of bytes"):
            facts(**{FREE_DISK: bad})


def test_the_address_of_a_worker_is_the_advertised_host_or_the_source_of_its_connection() -> None:
    assert admission.facts_of(REGISTER, "10.0.0.7")["address"] == "node-7"
    plain = changed(REGISTER, facts={"os": "Linux \x1b[2J", "cpus": 4})
    facts = admission.facts_of(plain, "10.0.0.7")  # type: ignore[arg-type]
    assert (facts["address"], facts["cpus"]) == ("10.0.0.7", 4) and "\x1b" not in str(facts["os"])
    for host in ("two words", "node:7/x", "-x", "ü"):
        with pytest.raises(CallerError, match="is not a host"):
            admission.facts_of(changed(REGISTER, facts={"advertise": host}), "10.0.0.7")  # type: ignore[arg-type]
