"""Secrets on disk: the content of the file, the key that opens it, and damaged files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from titan.errors import CallerError, EnvironmentFault, LimitExceeded, NotFound
from titan.master import vault as vaults
from titan.master.vault import FILE, KEY_FILE, VARIABLE, Key, Vault, find_key

VALUE = b"a value that nobody may read"
PHRASE = Key("passphrase", b"correct horse", "a test")


def filled(home: Path, key: Key | None = None) -> Vault:
    return Vault.open(home, key).put("A", VALUE, 1.5).put("B", b"another", 2.5)


def test_values_come_back_and_are_not_in_the_file(tmp_path: Path) -> None:
    assert Vault.open(tmp_path).listed() == [] and list(tmp_path.iterdir()) == []
    filled(tmp_path)
    again = Vault.open(tmp_path)
    assert (again.value("A"), again.value("B"), again.value("C")) == (VALUE, b"another", None)
    assert [(one.name, one.version, one.set_at) for one in again.listed()] == [("A", 1, 1.5), ("B", 1, 2.5)]
    for name in (FILE, KEY_FILE):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        assert VALUE not in (tmp_path / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [KEY_FILE, FILE]


def test_each_change_is_a_version_with_a_nonce_of_its_own(tmp_path: Path) -> None:
    vault = filled(tmp_path)
    before = vault.listed()[0]
    after = vault.put("A", VALUE, 3.0)
    (one, _) = after.listed()
    assert (one.version, one.set_at) == (2, 3.0) and one.nonce != before.nonce and one.sealed != before.sealed
    assert vault.listed()[0] is before, "a listed secret does not change"
    gone = after.remove("A")
    assert not gone.has("A") and not Vault.open(tmp_path).has("A") and gone.put("A", VALUE, 4.0).listed()[0].version == 1
    with pytest.raises(NotFound, match="titan secret set C"):
        gone.remove("C")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (Key("passphrase", b"wrong horse", "x"), "the passphrase from x does not open the secrets"),
        (None, f"sealed by a passphrase: give it by --secrets-passphrase-file or {VARIABLE}"),
        (Key("key file", b"k" * 32, "x"), "sealed by a passphrase"),
    ],
)
def test_a_wrong_key_is_refused(tmp_path: Path, key: Key | None, why: str) -> None:
    filled(tmp_path, PHRASE)
    with pytest.raises(CallerError, match=why) as caught:
        Vault.open(tmp_path, key)
    assert "horse" not in str(caught.value) and "horse" not in repr(key)


def test_a_key_file_that_is_gone_or_another_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    with pytest.raises(CallerError, match="sealed by a key file, not by the passphrase"):
        Vault.open(tmp_path, PHRASE)
    (tmp_path / KEY_FILE).write_text("0" * 64)
    with pytest.raises(CallerError, match=r"the key file from .* does not open"):
        Vault.open(tmp_path)
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(CallerError, match="cannot be read"):
        Vault.open(tmp_path)


def test_any_damage_is_found_before_the_master_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, PHRASE)
    whole = (tmp_path / FILE).read_bytes()
    salt = msgspec.msgpack.decode(whole, type=vaults._File).salt
    ciphers = {True: vaults._cipher(PHRASE, salt), False: vaults._cipher(PHRASE, bytes(16))}
    # Deriving a key takes 0.1 s each time.
    monkeypatch.setattr(vaults, "_cipher", lambda key, other: ciphers[other == salt])
    for at in range(len(whole)):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            (tmp_path / FILE).write_bytes(data)
            with pytest.raises((EnvironmentFault, CallerError), match=r"is damaged|does not open|have the format"):
                Vault.open(tmp_path, PHRASE)


def test_a_value_cannot_be_passed_off_under_another_name_or_version(tmp_path: Path) -> None:
    filled(tmp_path)
    file = msgspec.msgpack.decode((tmp_path / FILE).read_bytes())
    for field, other in ((0, "C"), (1, 2), (2, 9.0)):
        changed = [*file[:6], [[*file[6][0]], file[6][1]]]
        changed[6][0][field] = other
        (tmp_path / FILE).write_bytes(msgspec.msgpack.encode(changed))
        with pytest.raises(EnvironmentFault, match="was changed"):
            Vault.open(tmp_path)


def test_names_and_sizes_of_secrets_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = filled(tmp_path)
    for name, value, error, why in (
        ("TITAN_X", b"aaaa", CallerError, "not a valid name of a secret"),
        ("X", b"aaa", CallerError, "less than 4"),
        ("X", b"aa\0aa", CallerError, "NUL"),
        ("X", b"a" * 65_537, LimitExceeded, "more than 65,536"),
    ):
        with pytest.raises(error, match=why):
            vault.put(name, value, 0.0)
    monkeypatch.setattr(vaults, "MAX_TOTAL", 40)
    with pytest.raises(LimitExceeded, match="all secrets together"):
        vault.put("C", b"a" * 6, 0.0)
    assert vault.put("A", b"a" * 33, 0.0).value("A") == b"a" * 33, "the replaced value does not count towards the limit"
    monkeypatch.setattr(vaults, "MAX_SECRETS", 2)
    with pytest.raises(LimitExceeded, match="2 secrets, which is the limit"):
        vault.put("C", b"aaaa", 0.0)
    assert vault.put("A", b"aaaa", 0.0).has("A")


def test_a_write_error_leaves_all_secrets_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = filled(tmp_path)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        vault.put("A", b"newer", 3.0)
    monkeypatch.undo()
    assert vault.value("A") == VALUE and Vault.open(tmp_path).value("A") == VALUE
    assert not list(tmp_path.glob("*.part"))


def test_where_a_key_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phrase, key = tmp_path / "phrase", tmp_path / "key"
    phrase.write_text("correct horse\r\nand more")
    key.write_text("k" * 40 + "\n")
    assert find_key(None, None) is None
    assert find_key(phrase, None) == Key("passphrase", b"correct horse", str(phrase))
    assert find_key(None, key) == Key("key file", b"k" * 40, str(key))
    monkeypatch.setenv(VARIABLE, "from the shell")
    assert find_key(None, None) == Key("passphrase", b"from the shell", VARIABLE)
    assert VARIABLE not in os.environ
    with pytest.raises(CallerError, match="give one of them"):
        find_key(phrase, key)
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(CallerError, match="has 5 bytes: give at least 8"):
        find_key(None, None)
    key.write_text("short")
    with pytest.raises(CallerError, match="openssl rand -hex 32"):
        find_key(None, key)
    with pytest.raises(CallerError, match="cannot be read"):
        find_key(tmp_path / "none", None)
