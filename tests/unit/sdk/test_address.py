"""Sources of the master's address: options, environment, homes, the default port."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan.errors import CallerError, MasterUnreachable
from titan.host.home_lock import HomeLock, is_locked
from titan.sdk.address import DEFAULT_PORT, address_of_home, default_home, find_address


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("TITAN_MASTER", "TITAN_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def home_at(folder: Path, address: str) -> HomeLock:
    folder.mkdir()
    (folder / "master.json").write_text(json.dumps({"address": address}))
    return HomeLock(folder / "lock")


@pytest.fixture
def here(place: Path) -> Iterator[HomeLock]:
    """Provide a master that runs in .titan of the working directory."""
    with home_at(place / ".titan", "127.0.0.1:1111") as lock:
        yield lock


def test_the_order_in_which_a_master_is_searched(place: Path, here: HomeLock, monkeypatch: pytest.MonkeyPatch) -> None:
    with home_at(place / "other", "127.0.0.1:2222"):
        assert find_address() == ("127.0.0.1", 1111)
        monkeypatch.setenv("TITAN_HOME", str(place / "other"))
        assert (find_address(), default_home()) == (("127.0.0.1", 2222), place / "other")
        monkeypatch.setenv("TITAN_MASTER", "far:3333")
        assert find_address() == ("far", 3333)
        assert find_address("nearer:4444") == ("nearer", 4444)


def test_a_home_counts_only_while_its_master_runs(place: Path, here: HomeLock, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_locked(place / ".titan" / "lock")
    here.release()
    assert address_of_home(place / ".titan") == ""
    assert find_address() == ("127.0.0.1", DEFAULT_PORT)
    monkeypatch.setenv("TITAN_HOME", ".titan")
    with pytest.raises(MasterUnreachable, match=r"no master runs in the home \.titan: start one with `titan up --home .titan`"):
        find_address()
    here.acquire()
    (place / ".titan" / "master.json").write_text("not json")
    assert address_of_home(place / ".titan") == ""


def test_forms_of_an_address() -> None:
    assert find_address("host") == ("host", DEFAULT_PORT)
    assert find_address(":1") == ("127.0.0.1", 1)
    assert find_address("[::1]:9") == ("::1", 9)
    assert find_address("[::1]") == ("::1", DEFAULT_PORT)
    for text in ("http://localhost:9090", "user@host:1", "host:0", "host:99999", "host:http"):
        with pytest.raises(CallerError, match="give HOST:PORT, for example"):
            find_address(text)
