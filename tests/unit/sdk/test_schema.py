"""The JSON Schema of pipelines: it accepts what Titan accepts, and refuses typical errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from support.pages import PAGES, ROOT, Block, blocks
from titan.sdk.field_table import Form
from titan.sdk.pipeline_keys import JOB_KEYS, ROOT_KEYS
from titan.sdk.schema import _FORMS, pipeline_schema
from titan.sdk.yaml_nodes import Entries, Items, Node, Source, load_documents, value_of

SCHEMA = pipeline_schema()
EXAMPLES = sorted((ROOT / "examples").glob("*/*.yaml"))
BLOCKS = [block for page in PAGES for block in blocks(page) if block.language == "yaml" and block.marker != "data"]
JOB = "name: x\njobs:\n  - {{id: a, command: x, {}}}\n"


def content(node: Node) -> Any:
    """The value of a node, as an editor sees it."""
    match node:
        case Entries():
            return {key: content(value) for key, (_, value) in node.entries.items()}
        case Items():
            return [content(item) for item in node.items]
    return value_of(node)


def faults(path: Path) -> list[str]:
    check = jsonschema.Draft7Validator(SCHEMA)
    return [error.message for root in load_documents(Source(str(path))) for error in check.iter_errors(content(root))]


def faults_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return faults(path)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert set(_FORMS) == set(Form)


def test_every_key_is_described() -> None:
    for keys, found in ((ROOT_KEYS, SCHEMA["properties"]), (JOB_KEYS, SCHEMA["definitions"]["job"]["properties"])):
        assert tuple(found) == keys
        assert all(value["description"] and "](" not in value["description"] for value in found.values())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_examples_are_valid(path: Path) -> None:
    assert faults(path) == []


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_the_pipelines_of_the_docs_are_valid(block: Block, tmp_path: Path) -> None:
    assert faults_of(tmp_path, block.text) == []


@pytest.mark.parametrize(
    "keys",
    [
        "retries: '${params.n}'", "timeout: 1h30m", "timeout: null", "timeout: 90", "delay: 0.5", "args: --a b",
        "args: [1, b, true]",
        "depends_on: b", "depends_on: [b]", "foreach: 3", "foreach: [a, 1, {k: v}]", "matrix: {k: [1, b]}", "memory: 1GiB",
        "memory: 5", "on_failure: {run: b}", "outputs: [a]", "outputs: {a: {path: b, optional: true}}", "inputs: {a: b.c}",
        "no_retry: [2]",
        "type: task", "type: service, health: {type: tcp}", "limits: {memory: 1GiB}", "run_at: 2040-01-31T12:00",
        "requirement: [A, B]",
        "hitl_message: ok?, webhook: 'https://h/'", "env: {A: 1, B: ''}", "driver: process", "affinity: '${params.a}'",
    ],
)  # fmt: skip
def test_accepted_values_are_valid(keys: str, tmp_path: Path) -> None:
    assert faults_of(tmp_path, JOB.format(keys)) == []


@pytest.mark.parametrize(
    "keys",
    [
        "retry: 3", "needs: [b]", "retries: many", "retries: -1", "retries: 1001", "retries: 1.5", "priority: high",
        "timeout: soon",
        "timeout: -1", "args: {a: b}", "depends_on: {a: b}", "depends_on: [1]", "type: batch", "driver: fork", "affinity: 1",
        "env: [A=1]", "env: {A: [1]}", "foreach: {a: b}", "foreach: 0", "matrix: {k: 1}", "matrix: [1]", "no_retry: 2",
        "on_failure: retry", "on_failure: {do: b}", "limits: {disk: 1}", "memory: [1]", "outputs: a", "inputs: {a: {path: b}}",
        "secrets: A", "file: s.sh", "message: go", "keep: yes",
    ],
)  # fmt: skip
def test_typical_errors_of_jobs_are_not_valid(keys: str, tmp_path: Path) -> None:
    assert faults_of(tmp_path, JOB.format(keys))


@pytest.mark.parametrize(
    "text",
    [
        "jobs: [{id: a, command: x}]",
        "name: x",
        "name: x\njobs: []",
        "name: 5\njobs: [{id: a, command: x}]",
        "name: x\njob: [{id: a, command: x}]",
        "name: x\njobs: {a: {command: x}}",
        "name: x\njobs: [{command: x}]",
        "name: x\njobs: [{id: a}]",
        "name: x\njobs: [{id: g, type: gate, command: x}]",
        "name: x\ndefaults: {retry: 1}\njobs: [{id: a, command: x}]",
        "name: x\ndefaults: {id: b}\njobs: [{id: a, command: x}]",
        "name: x\nparams: {n: {tpye: integer}}\njobs: [{id: a, command: x}]",
        "name: x\nparams: [n]\njobs: [{id: a, command: x}]",
        "name: x\nproject: ./src\njobs: [{id: a, command: x}]",
    ],
)
def test_typical_errors_of_pipelines_are_not_valid(text: str, tmp_path: Path) -> None:
    assert faults_of(tmp_path, text)


def test_defaults_may_give_the_work_and_ignored_keys_are_free(tmp_path: Path) -> None:
    assert faults_of(tmp_path, "name: x\nx-any: [1]\ndefaults: {command: x}\njobs: [{id: a}]") == []
    assert faults_of(tmp_path, "name: x\ndefaults: {type: gate}\njobs: [{id: g, message: go}]") == []
