"""The routing table is complete: each message has a row, a receiver and at least one sender."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from titan.errors import Bug, ProtocolError
from titan.gateway.routes import PARTY_OF, ROUTES, Party, Route, Router
from titan.protocol import messages as msg
from titan.protocol.opcodes import OPCODES


class Handler:
    """Handler that accepts all messages and records them."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *given: self.taken.append((name, given))


def handlers() -> dict[str, Handler]:
    return {route.handler: Handler() for route in ROUTES.values() if route.handler}


def bare(kind: type[msg.Message]) -> msg.Message:
    """Return a message of this kind, with any values."""
    nothing: list[Any] = [None for field in msgspec.structs.fields(kind) if field.required]
    return kind(*nothing)


def test_each_opcode_has_a_row_and_each_row_an_opcode() -> None:
    assert set(ROUTES) == set(OPCODES.values())


@pytest.mark.parametrize("route", ROUTES.values(), ids=lambda route: route.message.__name__)
def test_a_message_is_accepted_only_from_the_senders_of_its_row(route: Route) -> None:
    assert route.senders
    made = handlers()
    router = Router(made)
    for role, party in PARTY_OF.items():
        message = bare(route.message)
        if route.handler and party in route.senders:
            router.take(role, "peer", message, b"blob")
            given = ("peer", message, b"blob") if route.blob else ("peer", message)
            assert made[route.handler].taken.pop() == (route.method, given)
        else:
            with pytest.raises(ProtocolError, match=f"a {role} must not send a {route.message.__name__}"):
                router.take(role, "peer", message, b"")
    assert not any(handler.taken for handler in made.values())


def test_every_message_to_the_master_except_hello_has_a_handler() -> None:
    said = [route for route in ROUTES.values() if route.senders & (Party.CLIENT | Party.WORKER)]
    assert [route.message for route in said if not route.handler] == [msg.Hello]
    assert all(route.senders & (Party.CLIENT | Party.WORKER) for route in ROUTES.values() if route.handler)


def test_a_row_whose_handler_is_missing_is_a_bug() -> None:
    made: dict[str, object] = {**handlers()}
    made["runs"] = object()
    with pytest.raises(Bug, match="the handler 'runs' has no method on_submit"):
        Router(made)
    del made["runs"]
    with pytest.raises(Bug, match="runs"):
        Router(made)


def test_only_requests_of_clients_and_jobs_change_the_state() -> None:
    """Workers only report. The core records their reports under the worker's name."""
    changing = [route for route in ROUTES.values() if route.changes]
    assert all(route.senders & (Party.CLIENT | Party.JOB) or route.message is msg.StoreStream for route in changing)
    assert msg.Cancel in [route.message for route in changing] and msg.GetRun not in [route.message for route in changing]
