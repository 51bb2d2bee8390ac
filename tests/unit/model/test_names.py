"""Names become parts of paths and of RUN/JOB."""

from __future__ import annotations

import doctest

import pytest

from titan.model import names
from titan.model.names import is_capability, is_name, run_id, split_job


@pytest.mark.parametrize("name", ["a", "0", "_", "job-1", "a.b", "a:b@c+d=e,f[3]", "x" * 128])
def test_a_name_is_taken(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "-x", ".x", "a/b", "a b", "a\n", "\n", "a\0", "é", "x" * 129])
def test_an_invalid_name_is_refused(name: str) -> None:
    assert not is_name(name)


def test_valid_and_invalid_capabilities_are_distinguished() -> None:
    assert all(map(is_capability, ["GENERAL", "GPU", "HIGH_MEM", "site:rack-1.a", "x" * 64]))
    assert not any(map(is_capability, ["", "-", "a@b", "a[0]", "GPU\n", "x" * 65]))


def test_run_ids_sort_by_time() -> None:
    ids = [run_id(ms, entropy) for ms in (0, 1, 1_700_000_000_000, 1_700_000_000_001) for entropy in (0, 12345, 0x7FFF)]
    assert ids == sorted(ids) and len(set(ids)) == len(ids)
    assert all(is_name(one) and len(one) == 12 for one in ids)


def test_a_run_id_uses_15_bits_of_entropy() -> None:
    assert run_id(1, 0x8000) == run_id(1, 0)


def test_the_examples_of_docstrings_run() -> None:
    assert doctest.testmod(names).failed == 0


@pytest.mark.parametrize(("text", "parts"), [("r/j", ("r", "j")), ("r", ("r", "")), ("r/a/b", ("r", "a/b")), ("", ("", ""))])
def test_a_target_is_split_into_run_and_job(text: str, parts: tuple[str, str]) -> None:
    assert split_job(text) == parts
