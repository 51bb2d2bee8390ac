"""Effects become messages, each for the right connection."""

from __future__ import annotations

import typing

import msgspec
import pytest

from support.core import CLIENT, FIRST, Master, dag, register, results, submit, succeeded
from titan.core import effects as fx
from titan.gateway import outbound
from titan.gateway.outbound import dispatches, messages_of, order_of, reply_of
from titan.model.dag import JobTemplate
from titan.model.states import Outcome

OF_THE_SHELL = (fx.SendDispatch, fx.StartBurst, fx.StopBurst, fx.Disconnect, fx.AnnounceGate)
"""Effects that do not become one message. A dispatch may become several messages, and the shell
carries out the other effects."""


def made(kind: type[msgspec.Struct]) -> fx.Effect:
    """Return an effect of this kind with values in all fields."""
    known = {"worker": 1, "origin": CLIENT, "request": 7, "leases": [FIRST]}
    values = []
    for field in msgspec.structs.fields(kind):
        plain = typing.get_origin(field.type) or field.type
        values.append(known.get(field.name, {int: 3, str: "x", bool: True, float: 1.0, list: [], tuple: ()}.get(plain)))
    return typing.cast(fx.Effect, kind(*values))


@pytest.fixture
def master() -> Master:
    it = Master()
    it.see(register("w1"))
    return it


@pytest.mark.parametrize("kind", [kind for kind in typing.get_args(fx.Effect) if kind not in OF_THE_SHELL])
def test_every_message_effect_has_exactly_one_receiver(master: Master, kind: type[msgspec.Struct]) -> None:
    effect = made(kind)
    order, reply = order_of(master.state, effect), reply_of(master.state, effect)
    assert (order is None) is not (reply is None)
    (told,) = messages_of(master.state, effect)
    if reply is not None:
        assert told == reply and reply[0] == CLIENT and reply[1].request == 7
    elif order is not None:
        assert order[0] == 1 and told[1] == order[1]


@pytest.mark.parametrize("kind", [kind for kind in OF_THE_SHELL if kind is not fx.SendDispatch])
def test_effects_of_the_shell_send_no_message(master: Master, kind: type[msgspec.Struct]) -> None:
    assert messages_of(master.state, made(kind)) == []


def test_a_forgotten_worker_gets_no_message(master: Master) -> None:
    for effect in (fx.SendAck(99, [1]), fx.SendStop(99, [1]), fx.SendDispatch(99, [], FIRST)):
        assert messages_of(master.state, effect) == []


def dispatched(master: Master, effects: list[fx.Effect]) -> list[outbound.DispatchBatch]:
    (effect,) = [effect for effect in effects if isinstance(effect, fx.SendDispatch)]
    return dispatches(master.state, effect)


def test_templates_are_sent_once(master: Master) -> None:
    one, other = JobTemplate(command="one"), JobTemplate(command="other")
    master.see(register("w1", slots=4))
    decision = master.see(submit(dag({"a": "", "b": "", "c": "", "d": ""}, {"a": one, "b": other, "c": one, "d": one})))
    ((message, jobs, first_lease),) = dispatched(master, decision.effects)
    assert [message.templates[i].command for i in message.template_of] == [job.template.command for job in jobs]
    assert len(message.templates) == 2
    assert message.leases == list(range(first_lease, first_lease + 4))


def test_a_large_dispatch_is_sent_in_several_messages(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "DISPATCH_BYTES", 2000)
    master.see(register("w1", slots=9))
    spec = msgspec.structs.replace(dag(dict.fromkeys("abcdefghi", "")), args=[("x" * 900,)] * 9)
    parts = dispatched(master, master.see(submit(spec)).effects)
    assert len(parts) > 3
    assert [lease for part in parts for lease in part.message.leases] == [master.lease(i) for i in range(9)]
    assert all(part.message.leases[0] == part.first_lease for part in parts)
    assert [name for part in parts for name in part.message.jobs] == list("abcdefghi")


def test_a_handler_gets_the_name_of_the_dead_job(master: Master) -> None:
    handler = JobTemplate(command="tell", kind="handler", env=(("K", "v"),))
    master.see(submit(dag({"a": "", "h": "a"}, {"a": JobTemplate(command="false", retries=0), "h": handler})))
    decision = master.see(results(1, (master.lease(), Outcome.EXITED)))
    ((message, _, _),) = dispatched(master, decision.effects)
    assert message.templates[0].env == (("K", "v"), ("TITAN_FAILED_JOB", "a"))


def test_a_call_gets_the_values_of_its_parents(master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    call = JobTemplate(function="f" * 64)
    spec = msgspec.structs.replace(dag({"a": "", "b": "a"}, {"a": call, "b": call}), payloads=[b"one", b"two"])
    ((message, _, _),) = dispatched(master, master.see(submit(spec)).effects)
    assert (message.payloads, message.inputs) == ([b"one"], [])
    done = msgspec.structs.replace(succeeded(1, master.lease()), values=[b"icame"])
    effects = master.see(done).effects
    ((message, _, _),) = dispatched(master, effects)
    assert (message.payloads, message.inputs) == ([b"two"], [(b"icame",)])
    monkeypatch.setattr(outbound, "MAX_INPUT_BYTES", 4)
    ((message, _, _),) = dispatched(master, effects)
    assert message.inputs[0][0].startswith(b"xthe inputs of this call take 5 bytes")
