"""Names in perm_files/: their content, their grammar, and the content that they keep from garbage
collection."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

import titan.master.content_names
from support.content import content_of
from titan.content.blobs import put
from titan.content.directory import DirectoryStore
from titan.errors import CallerError, NotFound
from titan.master.content_names import Registry

DATA = b"#!/bin/sh\necho hello\n"
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "files", spare_bytes=0)


@pytest.fixture
def registry(tmp_path: Path, store: DirectoryStore) -> Registry:
    return Registry(tmp_path / "perm_files", store)


def give(registry: Registry, data: bytes, name: str) -> str:
    hash_ = hashlib.sha256(data).hexdigest()
    put(registry._store, hash_, data)
    assert registry.give(name, hash_) == len(data)
    return hash_


def test_a_name_is_given_to_content(registry: Registry) -> None:
    give(registry, b"old", "tools/x.sh")
    give(registry, DATA, "tools/x.sh")
    assert (registry.folder / "tools" / "x.sh").read_bytes() == DATA
    assert registry.resolve("tools/x.sh") == (HASH, len(DATA))
    assert os.listdir(registry.folder / "tools") == ["x.sh"]


def test_a_name_for_content_that_is_not_there(registry: Registry) -> None:
    with pytest.raises(NotFound):
        registry.give("x", HASH)
    assert os.listdir(registry.folder) == []


BAD_NAMES = ["", "/etc/passwd", "..", "../x", "a/../../x", "a/..", ".objects/x", "a/.hidden", "./a", "a//b", "a/", "a\0b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leads_out_of_the_folder_or_into_a_hidden_one_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(CallerError, match="is not a valid name inside perm_files/"):
        registry.resolve(name)
    with pytest.raises(CallerError, match="is not a valid name inside perm_files/"):
        give(registry, DATA, name or "/")


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "../.."])
def test_a_link_that_leads_out_of_the_folder_is_refused(registry: Registry, target: str) -> None:
    (registry.folder.parent / "outside").write_text("secret")
    (registry.folder / "link").symlink_to(target)
    for name in ("link", "link/x"):
        with pytest.raises(CallerError, match="is a link that leads out of perm_files/"):
            registry.resolve(name)
        with pytest.raises(CallerError, match="is a link that leads out of perm_files/"):
            give(registry, DATA, name)
    assert (registry.folder.parent / "outside").read_text() == "secret"


def test_a_link_that_stays_inside_the_folder_is_followed(registry: Registry) -> None:
    (registry.folder / "x.sh").write_bytes(DATA)
    (registry.folder / "link").symlink_to("x.sh")
    assert registry.resolve("link") == (HASH, len(DATA))


def test_a_link_to_itself_is_refused(registry: Registry) -> None:
    (registry.folder / "loop").symlink_to("loop")
    with pytest.raises(CallerError):
        registry.resolve("loop")


def test_a_folder_is_no_file(registry: Registry) -> None:
    (registry.folder / "sub").mkdir()
    with pytest.raises(CallerError, match="perm_files/sub is not a file"):
        registry.resolve("sub")


@pytest.mark.parametrize("name", ["x", "x/y", "n" * 300])
def test_an_unknown_name_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(NotFound, match="put the file there, or submit it from your own disk"):
        registry.resolve(name)


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
def test_a_name_that_would_need_a_file_to_be_a_folder(registry: Registry, first: str, second: str) -> None:
    give(registry, b"first", first)
    with pytest.raises(CallerError):
        give(registry, DATA, second)
    assert (registry.folder / first).read_bytes() == b"first"
    assert not list(registry.folder.glob(".*.part"))


def test_a_name_that_the_disk_cannot_take(registry: Registry) -> None:
    with pytest.raises(CallerError):
        give(registry, DATA, "n" * 300)


# -- files that are dropped in ---------------------------------------------------------------------
def test_a_file_that_is_dropped_in_is_picked_up_and_so_is_its_change(registry: Registry, store: DirectoryStore) -> None:
    path = registry.folder / "x.sh"
    path.write_bytes(b"old")
    assert registry.resolve("x.sh") == (hashlib.sha256(b"old").hexdigest(), 3)
    path.write_bytes(DATA)
    assert registry.resolve("x.sh") == (HASH, len(DATA))
    assert content_of(store, HASH) == DATA


def test_a_change_of_the_same_size_is_seen_by_its_time(registry: Registry) -> None:
    path = registry.folder / "x.sh"
    path.write_bytes(b"one")
    os.utime(path, ns=(1, 1))
    first, _ = registry.resolve("x.sh")
    path.write_bytes(b"two")
    assert registry.resolve("x.sh")[0] != first


def test_a_file_that_did_not_change_is_not_read_again(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    (registry.folder / "x.sh").write_bytes(DATA)
    registry.resolve("x.sh")
    monkeypatch.setattr(titan.master.content_names, "put_from", lambda store, source: pytest.fail("it was read again"))
    assert registry.resolve("x.sh") == (HASH, len(DATA))


def test_content_that_is_gone_is_made_again(registry: Registry, store: DirectoryStore) -> None:
    (registry.folder / "x.sh").write_bytes(DATA)
    registry.resolve("x.sh")
    store.remove_unreferenced(set(), before=time.time() + 60)
    assert not store.has(HASH)
    assert registry.resolve("x.sh") == (HASH, len(DATA))
    assert store.has(HASH)


def test_content_that_is_asked_for_by_name_stays_for_a_while(registry: Registry, store: DirectoryStore) -> None:
    (registry.folder / "x.sh").write_bytes(DATA)
    for _ in range(2):
        registry.resolve("x.sh")
        assert store.remove_unreferenced(set(), before=time.time() - 60).blobs == 0
        os.utime(store.folder / HASH, (1.0, 1.0))


# -- what names keep -------------------------------------------------------------------------------
def test_names_keep_their_content_also_after_a_restart(registry: Registry, store: DirectoryStore) -> None:
    give(registry, DATA, "tools/x.sh")
    for one in (registry, Registry(registry.folder, store)):
        assert one.contents({len(DATA)}) == {HASH}
    (registry.folder / "tools" / "x.sh").write_bytes(b"new")
    assert registry.contents({len(DATA)}) == set(), "the name has other content now"
    assert registry.contents({3}) == {hashlib.sha256(b"new").hexdigest()}


def test_no_file_is_read_of_which_there_can_be_no_blob(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    (registry.folder / "x.sh").write_bytes(DATA)
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: pytest.fail("it was read"))
    assert registry.contents({len(DATA) + 1}) == set()
