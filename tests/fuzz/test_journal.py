"""A short form of the fuzzer of journals. `make fuzz TARGET=journal SECONDS=600 SEED=7` runs it for
longer."""

from __future__ import annotations

from fuzz import journal
from fuzz.harness import fuzz


def test_whatever_is_in_its_files_a_journal_is_replayed_repaired_or_refused() -> None:
    done = fuzz(journal.FUZZER, cases=40, seed=1)
    assert 0 < done.refused < done.cases, "a fuzzer whose inputs are all refused, or all taken, tries little"
