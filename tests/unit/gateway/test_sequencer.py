"""The sequencer: decide, then persist, then send."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from support.core import Master, cancel, dag, submit
from titan.core.inputs import TimePassed
from titan.gateway.sequencer import Sequencer
from titan.model.dag import JobTemplate


def say(said: list[int], what: int) -> Callable[[], None]:
    return lambda: said.append(what)


def let_go(order: Sequencer) -> None:
    for call in order.release():
        call()


def test_messages_wait_until_their_record_is_durable() -> None:
    order, said = Sequencer(7), list[int]()
    order.wrote(9)
    order.hold([say(said, 1), say(said, 2)])
    let_go(order)
    assert said == [] and not order.is_idle
    order.synced(8)
    let_go(order)
    assert said == []
    order.synced(9)
    let_go(order)
    assert said == [1, 2] and order.is_idle


def test_a_later_message_without_a_record_is_still_sent_later() -> None:
    order, said = Sequencer(), list[int]()
    order.wrote(1)
    order.hold([say(said, 1)])
    order.hold([say(said, 2)])
    let_go(order)
    assert said == []
    order.synced(1)
    order.synced(0)  # this report is late
    let_go(order)
    assert said == [1, 2]


def test_a_record_that_is_durable_at_once_delays_no_message() -> None:
    order, said = Sequencer(), list[int]()
    order.wrote(3, durable=True)
    order.hold([say(said, 1)])
    let_go(order)
    assert said == [1]


def test_a_released_message_may_hold_further_messages() -> None:
    order, said = Sequencer(), list[int]()
    order.hold([lambda: order.hold([say(said, 2)]), say(said, 1)])
    let_go(order)
    assert said == [1, 2]


def test_a_drop_discards_held_messages_and_inputs() -> None:
    order, said = Sequencer(), list[int]()
    order.see(cancel("r"))
    order.hold([say(said, 1)])
    order.drop()
    let_go(order)
    assert said == [] and order.is_idle and not order.has_inputs


@given(st.lists(st.tuples(st.sampled_from(("write", "hold", "sync")), st.integers(0, 3)), max_size=60))
def test_no_message_is_sent_before_it_is_durable_and_all_are_sent_in_the_end(steps: list[tuple[str, int]]) -> None:
    order, said, number = Sequencer(), list[int](), 0
    rests_on: list[int] = []
    for what, n in steps:
        if what == "write":
            order.wrote(order.seq + 1 + n)
        elif what == "hold":
            rests_on.append(order.seq)
            order.hold([say(said, number)])
            number += 1
        else:
            order.synced(min(order.seq, order.durable + n))
        let_go(order)
        assert said == list(range(len(said)))
        assert all(rests_on[told] <= order.durable for told in said)
    order.synced(order.seq)
    let_go(order)
    assert said == list(range(number))


def test_the_passing_of_time_is_last_and_only_where_something_is_due() -> None:
    master, order = Master(), Sequencer()
    assert order.take(master.state, 0.0) == []
    master.see(submit(dag({"a": ""}, {"a": JobTemplate(command="true", delay_s=5.0)})))
    assert order.take(master.state, 1.0) == []
    one, other = cancel("r"), cancel("s")
    order.see(one)
    order.see(other)
    assert order.take(master.state, 9.0, only_oldest=True) == [one] and order.has_inputs
    assert order.take(master.state, 9.0, only_oldest=True) == [other, TimePassed()]
    assert order.take(master.state, 9.0) == [TimePassed()]
