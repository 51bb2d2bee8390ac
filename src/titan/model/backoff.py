"""Exponential back-off: the wait after a number of failures in a row."""

from __future__ import annotations

_MOST_DOUBLINGS = 40


def backoff_delay(failures: int, first_s: float, most_s: float) -> float:
    """Return the wait in seconds after `failures` failures; it doubles up to `most_s`.

    >>> [backoff_delay(n, 0.5, 3.0) for n in (0, 1, 2, 3, 1_000_000)]
    [0.5, 1.0, 2.0, 3.0, 3.0]
    """
    return min(most_s, first_s * 2.0 ** min(failures, _MOST_DOUBLINGS))


def jittered(delay_s: float, jitter: float) -> float:
    """Return a delay between half of `delay_s` and all of it, chosen by `jitter` in [0, 1).

    >>> jittered(4.0, 0.0), jittered(4.0, 0.5)
    (2.0, 3.0)
    """
    return delay_s * (0.5 + 0.5 * jitter)
