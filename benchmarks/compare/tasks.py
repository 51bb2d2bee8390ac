"""The functions that every peer runs, in a module that the peers' workers can import."""

from __future__ import annotations


def same(x: int) -> int:
    return x


def inc(x: int) -> int:
    return x + 1


def blob(n: int, size: int) -> bytes:
    """Return `size` bytes that identify the call."""
    return bytes([n % 256]) * size
