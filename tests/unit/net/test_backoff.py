"""Back-off: doubling, limit, jitter and reset."""

from __future__ import annotations

import doctest

import titan.model.backoff
from titan.net.backoff import Backoff


def test_the_examples_hold() -> None:
    assert doctest.testmod(titan.model.backoff).failed == 0


def test_waits_double_up_to_the_limit_and_lose_up_to_half_to_jitter() -> None:
    backoff = Backoff(0.1, 1.0)
    waits = [backoff.next_s() for _ in range(60)]
    for wait, full in zip(waits, [0.1, 0.2, 0.4, 0.8, *[1.0] * 56], strict=True):
        assert full / 2 <= wait < full
    assert len(set(waits[4:])) > 40, "many peers that lost one server do not return together"


def test_a_success_resets_the_backoff() -> None:
    backoff = Backoff(0.1, 10.0)
    for _ in range(8):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() < 0.1
