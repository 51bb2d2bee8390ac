"""perm_files/ on a real disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from titan.errors import CallerError, Conflict, LimitExceeded, NotFound
from titan.master.registry import MAX_ARTIFACT, Registry

DATA = b"#!/bin/sh\necho hi\n"
HASH = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "perm_files")


def put(registry: Registry, data: bytes, name: str = "", *, piece: int = 7) -> str:
    hash_ = hashlib.sha256(data).hexdigest()
    upload = registry.begin(hash_, len(data))
    for at in range(0, len(data), piece):
        upload.write(at, data[at : at + piece])
    registry.enter(upload, name)
    return hash_


def objects(registry: Registry) -> list[str]:
    return sorted(os.listdir(registry.folder / ".objects"))


def test_an_upload_becomes_an_object(registry: Registry) -> None:
    assert not registry.has(HASH)
    assert put(registry, DATA) == HASH
    assert registry.has(HASH) and registry.path(HASH).read_bytes() == DATA
    assert objects(registry) == [HASH]
    assert Registry(registry.folder).has(HASH), "a restart finds it"


def test_the_same_content_again(registry: Registry) -> None:
    put(registry, DATA)
    put(registry, DATA)
    assert objects(registry) == [HASH]


def test_an_upload_under_a_name(registry: Registry) -> None:
    put(registry, b"old", "tools/x.sh")
    put(registry, DATA, "tools/x.sh")
    assert (registry.folder / "tools" / "x.sh").read_bytes() == DATA
    assert registry.resolve("tools/x.sh") == (HASH, len(DATA))
    assert os.listdir(registry.folder / "tools") == ["x.sh"]


def test_what_is_not_there(registry: Registry) -> None:
    with pytest.raises(NotFound, match="stage it first"):
        registry.path(HASH)
    assert not registry.has("../" + HASH) and not registry.has(HASH.upper()) and not registry.has("")


def test_another_content_than_the_hash_says(registry: Registry) -> None:
    upload = registry.begin(HASH, 3)
    upload.write(0, b"abc")
    with pytest.raises(CallerError, match="arrived with another content than its hash says: send it again"):
        registry.enter(upload, "")
    upload.abandon()
    assert objects(registry) == []


def test_a_piece_out_of_order(registry: Registry) -> None:
    upload = registry.begin(HASH, len(DATA))
    upload.write(0, DATA[:5])
    for at in (0, 4, 6):
        with pytest.raises(Conflict, match=f"a piece at {at} where 5 is due"):
            upload.write(at, b"x")
    upload.write(5, DATA[5:])
    registry.enter(upload, "")
    assert registry.path(HASH).read_bytes() == DATA


def test_more_than_was_announced(registry: Registry) -> None:
    upload = registry.begin(HASH, 4)
    upload.write(0, b"1234")
    with pytest.raises(CallerError, match="more bytes than the 4 announced"):
        upload.write(4, b"5")
    upload.abandon()


@pytest.mark.parametrize("hash_", ["", "x" * 64, HASH.upper(), HASH + "0", "../" + HASH, HASH + "\n"])
def test_what_is_no_hash(registry: Registry, hash_: str) -> None:
    with pytest.raises(CallerError, match="is no SHA-256 in hex"):
        registry.begin(hash_, 1)


@pytest.mark.parametrize("size", [-1, MAX_ARTIFACT + 1])
def test_a_size_that_is_out_of_bounds(registry: Registry, size: int) -> None:
    with pytest.raises(LimitExceeded, match="an artifact of"):
        registry.begin(HASH, size)


def test_half_an_upload_is_gone_after_a_restart(registry: Registry) -> None:
    upload = registry.begin(HASH, 10)
    upload.write(0, b"half")
    assert len(objects(registry)) == 1
    assert objects(Registry(registry.folder)) == []
    upload.abandon()


# -- names -----------------------------------------------------------------------------------------------------------------
BAD_NAMES = ["", "/etc/passwd", "..", "../x", "a/../../x", "a/..", ".objects/x", "a/.hidden", "./a", "a//b", "a/", "a\0b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leads_out_or_into_what_is_hidden(registry: Registry, name: str) -> None:
    with pytest.raises(CallerError, match="is no name inside perm_files/"):
        registry.resolve(name)
    with pytest.raises(CallerError, match="is no name inside perm_files/"):
        put(registry, DATA, name or "/")


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "../.."])
def test_a_link_that_leads_out(registry: Registry, target: str) -> None:
    (registry.folder.parent / "outside").write_text("secret")
    (registry.folder / "link").symlink_to(target)
    for name in ("link", "link/x"):
        with pytest.raises(CallerError, match="is a link that leads out of perm_files/"):
            registry.resolve(name)
        with pytest.raises(CallerError, match="is a link that leads out of perm_files/"):
            put(registry, DATA, name)
    assert (registry.folder.parent / "outside").read_text() == "secret"


def test_a_link_that_stays_inside(registry: Registry) -> None:
    (registry.folder / "x.sh").write_bytes(DATA)
    (registry.folder / "link").symlink_to("x.sh")
    assert registry.resolve("link") == (HASH, len(DATA))


def test_a_link_to_itself_is_refused(registry: Registry) -> None:
    (registry.folder / "loop").symlink_to("loop")
    with pytest.raises(CallerError):
        registry.resolve("loop")


def test_a_folder_is_no_file(registry: Registry) -> None:
    (registry.folder / "sub").mkdir()
    with pytest.raises(CallerError, match="perm_files/sub is no file"):
        registry.resolve("sub")


@pytest.mark.parametrize("name", ["x", "x/y", "n" * 300])
def test_nothing_of_that_name(registry: Registry, name: str) -> None:
    with pytest.raises(NotFound, match="put the file there, or submit it from your own disk"):
        registry.resolve(name)


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
def test_a_name_that_would_need_a_file_to_be_a_folder(registry: Registry, first: str, second: str) -> None:
    put(registry, b"first", first)
    with pytest.raises(CallerError):
        put(registry, DATA, second)
    assert (registry.folder / first).read_bytes() == b"first"
    assert not list(registry.folder.glob(".*.part"))


def test_a_name_that_the_disk_cannot_take(registry: Registry) -> None:
    with pytest.raises(CallerError):
        put(registry, DATA, "n" * 300)


# -- files that are dropped in ---------------------------------------------------------------------------------------------
def test_a_file_that_is_dropped_in_is_picked_up_and_so_is_its_change(registry: Registry) -> None:
    path = registry.folder / "x.sh"
    path.write_bytes(b"old")
    assert registry.resolve("x.sh") == (hashlib.sha256(b"old").hexdigest(), 3)
    path.write_bytes(DATA)
    assert registry.resolve("x.sh") == (HASH, len(DATA))
    assert registry.path(HASH).read_bytes() == DATA


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
    monkeypatch.setattr(registry, "_ingest", lambda path: pytest.fail(f"{path} was read again"))
    assert registry.resolve("x.sh") == (HASH, len(DATA))


def test_an_object_that_somebody_deleted_is_made_again(registry: Registry) -> None:
    (registry.folder / "x.sh").write_bytes(DATA)
    registry.resolve("x.sh")
    (registry.folder / ".objects" / HASH).unlink()
    assert registry.resolve("x.sh") == (HASH, len(DATA))
    assert registry.has(HASH)
