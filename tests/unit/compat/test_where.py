"""A program may set the address of the master until it makes a request."""

from __future__ import annotations

import pytest

import titan.compat
from titan.compat import TitanClient, titan_sdk, where


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TITAN_HOST", "TITAN_PORT", "TITAN_JOB", "TITAN_MASTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(where, "_HOST", "")
    monkeypatch.setattr(where, "_PORT", "")


def test_without_any_setting_titans_default_address_counts() -> None:
    assert where.find() is None


def test_the_environment_counts_when_the_request_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_PORT", "9100")
    assert where.find() == "127.0.0.1:9100"
    monkeypatch.setenv("TITAN_HOST", "10.0.0.1")
    monkeypatch.setenv("TITAN_PORT", "9200")
    assert where.find() == "10.0.0.1:9200"
    monkeypatch.delenv("TITAN_PORT")
    assert where.find() == "10.0.0.1:9090"


@pytest.mark.parametrize("module", [titan.compat, titan_sdk], ids=lambda module: module.__name__)
def test_a_variable_of_the_module_counts_before_the_environment(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    monkeypatch.setenv("TITAN_PORT", "9100")
    monkeypatch.setattr(module, "TITAN_PORT", 9300)
    assert where.find() == "127.0.0.1:9300"
    monkeypatch.setattr(module, "TITAN_HOST", "10.0.0.2")
    assert where.find() == "10.0.0.2:9300"


def test_arguments_count_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_HOST", "10.0.0.1")
    monkeypatch.setattr(titan.compat, "TITAN_PORT", 9300)
    assert where.find("10.0.0.9") == "10.0.0.9:9300"
    assert where.find(None, 9400) == "10.0.0.1:9400"


def test_in_a_job_only_an_address_that_the_job_itself_set_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_JOB", "api")
    monkeypatch.setenv("TITAN_PORT", "8099")
    monkeypatch.setattr(where, "_PORT", "8099")
    assert where.find() is None, "the port of a service is not that of the master"
    monkeypatch.setenv("TITAN_PORT", "9100")
    assert where.find() == "127.0.0.1:9100"


def test_a_port_that_is_none_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TITAN_PORT", "ninety")
    assert TitanClient().store_get("x").startswith("ERROR: '127.0.0.1:ninety' is not the address of a master")
