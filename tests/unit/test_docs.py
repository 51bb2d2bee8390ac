"""The documents agree with the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from titan.model.states import JobState
from titan.protocol.codec import encode
from titan.protocol.messages import Hello
from titan.sdk.pipeline_keys import ROOT_KEYS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "docs").glob("make_*_table*.py")) + ["make_store_doc.py"])
def test_generated_tables_are_current(script: str) -> None:
    done = subprocess.run([sys.executable, ROOT / "docs" / script, "--check"], check=False)
    assert done.returncode == 0, f"run: python docs/{script}"


@pytest.mark.parametrize("key", ROOT_KEYS)
def test_the_pipelines_page_has_every_key_of_a_pipeline(key: str) -> None:
    assert f"| `{key}` | " in (ROOT / "docs/pipelines.md").read_text().partition("<!-- JOB -->")[0]


def test_the_protocols_example_is_what_goes_over_the_wire() -> None:
    page = (ROOT / "docs/protocol.md").read_text()
    header, body = re.findall(r"`((?:[0-9a-f]{2,} ?)+)`", page.partition("## An example")[2])[:2]
    assert bytes.fromhex(header + body) == encode(Hello(1, "client", 1, "app"))


@pytest.mark.parametrize("state", list(JobState), ids=lambda s: s.name)
def test_the_glossary_has_every_state(state: JobState) -> None:
    assert f"| {state.name} |" in (ROOT / "docs/glossary.md").read_text()
