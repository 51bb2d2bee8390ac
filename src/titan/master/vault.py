"""Vault of secrets: the file `secrets.sealed` in the master's home.

Each value is sealed, that is encrypted and authenticated with AES-256-GCM. The key is derived by
scrypt from a passphrase or from the content of a key file, with a salt that is stored in
`secrets.sealed`. Each value has its own nonce. The name, version and time of a secret are
authenticated with its value, so a value cannot be moved to another name.

A change writes a new file, syncs it and renames it over the old file. If the master is killed
during the change, either the old or the new file is there. Values are unsealed one by one when they
are needed. This module owns the file and the key. It must not know who requests a secret.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import stat
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import msgspec

from titan.errors import CallerError, EnvironmentFault, LimitExceeded, NotFound
from titan.host.core_dumps import forbid_core_dumps
from titan.host.privacy import take_key
from titan.journal.files import sync_directory
from titan.model.secrets import MAX_SECRETS, MAX_TOTAL, MAX_VALUE, new_name_problem, value_problem

log = logging.getLogger("titan.master")

VARIABLE = "TITAN_SECRETS_PASSPHRASE"
PASSPHRASE_HINT = f"give it by --secrets-passphrase-file or {VARIABLE}"
FILE, KEY_FILE = "secrets.sealed", "secrets.key"
MAGIC = "titan secrets"
FORMAT = 1
SALT_BYTES, NONCE_BYTES, TAG_BYTES = 16, 12, 16
SHORTEST_PASSPHRASE, SHORTEST_KEY = 8, 32
SCRYPT_MEMORY = 64 * 1024 * 1024
"""Memory limit of scrypt in bytes: twice the memory that n=2**15 and r=8 need."""
MAX_KEY_BYTES = 64 * 1024
MOST_BYTES = MAX_TOTAL + 64 * 1024 * 1024
"""Maximum bytes of the file, including the metadata of the values."""


class Key(NamedTuple):
    """Key of the vault. `where` is the path or the variable from which the key was read."""

    kind: Literal["passphrase", "key file"]
    material: bytes
    where: str

    def __repr__(self) -> str:
        return f"Key({self.kind} from {self.where})"


class Cipher(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes: ...


class Sealed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    name: str
    version: int
    set_at: float
    nonce: bytes
    sealed: bytes


class _File(msgspec.Struct, frozen=True, array_like=True):
    magic: str
    format: int
    kind: str
    salt: bytes
    check_nonce: bytes
    check: bytes
    """Sealed empty value. A key that unseals it is the right key."""
    secrets: list[Sealed]


class Vault:
    """Immutable set of secrets. `put` and `remove` block on the disk and return a new vault."""

    def __init__(self, path: Path, key: Key | None, file: _File | None, cipher: Cipher | None) -> None:
        self._path = path
        self._key = key
        self._file = file
        self._cipher = cipher
        self._entries = {entry.name: entry for entry in file.secrets} if file is not None else {}

    @classmethod
    def open(cls, home: Path, key: Key | None = None) -> Vault:
        """Open the vault of a home.

        If `key` is None, the vault uses the home's own key file, which is created with the first
        secret. Raises CallerError for a key that does not open the vault. Raises EnvironmentFault
        for a damaged or unreadable file.
        """
        path = home / FILE
        try:
            data = _read(path)
        except FileNotFoundError:
            return cls(path, key, None, None)
        except OSError as e:
            raise EnvironmentFault(f"the secrets in {path} cannot be read: {e.strerror}") from e
        file = _decoded(path, data)
        if key is None and file.kind == "key file":
            key = _own_key(home, make=False)
        if key is None:
            raise CallerError(f"the secrets in {path} are sealed by a passphrase: {PASSPHRASE_HINT}")
        if key.kind != file.kind:
            raise CallerError(_other_kind(path, file.kind, key))
        forbid_core_dumps()
        cipher = _cipher(key, file.salt)
        if _unsealed(cipher, file.check_nonce, file.check, _bound("", 0, 0.0)) is None:
            raise CallerError(
                f"the {key.kind} from {key.where} does not open the secrets in {path}: give the {key.kind} with which they were set"
            )
        vault = cls(path, key, file, cipher)
        for entry in file.secrets:
            if vault.value(entry.name) is None:
                raise _damaged(path, f"the value of {entry.name} was changed")
        return vault

    # -- queries -----------------------------------------------------------------------------------
    def has(self, name: str) -> bool:
        return name in self._entries

    def listed(self) -> list[Sealed]:
        """Return all secrets, sorted by name. Their values stay sealed."""
        return [self._entries[name] for name in sorted(self._entries)]

    def value(self, name: str) -> bytes | None:
        entry = self._entries.get(name)
        if entry is None or self._cipher is None:
            return None
        return _unsealed(self._cipher, entry.nonce, entry.sealed, _bound(entry.name, entry.version, entry.set_at))

    # -- changes -----------------------------------------------------------------------------------
    def put(self, name: str, value: bytes, at: float) -> Vault:
        """Set a value durably and return the new vault. Raises CallerError, LimitExceeded,
        OSError."""
        if problem := new_name_problem(name):
            raise CallerError(problem)
        if problem := value_problem(value):
            raise (LimitExceeded if len(value) > MAX_VALUE else CallerError)(f"secret {name}: {problem}")
        old = self._entries.get(name)
        if old is None and len(self._entries) >= MAX_SECRETS:
            raise LimitExceeded(f"there are {MAX_SECRETS:,} secrets, which is the limit: remove some")
        others = sum(len(entry.sealed) - TAG_BYTES for entry in self._entries.values() if entry is not old)
        if others + len(value) > MAX_TOTAL:
            raise LimitExceeded(f"the values of all secrets together would exceed {MAX_TOTAL >> 20} MiB: remove some")
        vault = self if self._file is not None else self._founded()
        version = 1 if old is None else old.version + 1
        nonce = secrets.token_bytes(NONCE_BYTES)
        assert vault._cipher is not None
        sealed = vault._cipher.encrypt(nonce, value, _bound(name, version, at))
        return vault._written({**self._entries, name: Sealed(name, version, at, nonce, sealed)})

    def remove(self, name: str) -> Vault:
        """Remove a secret durably and return the new vault. Raises NotFound, OSError."""
        if name not in self._entries:
            raise NotFound(missing(name))
        return self._written({other: entry for other, entry in self._entries.items() if other != name})

    def _founded(self) -> Vault:
        """Return an empty vault with a new key. Its file is not written yet."""
        forbid_core_dumps()
        key = self._key or _own_key(self._path.parent, make=True)
        salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
        cipher = _cipher(key, salt)
        check = cipher.encrypt(nonce, b"", _bound("", 0, 0.0))
        return Vault(self._path, key, _File(MAGIC, FORMAT, key.kind, salt, nonce, check, []), cipher)

    def _written(self, entries: dict[str, Sealed]) -> Vault:
        assert self._file is not None
        file = msgspec.structs.replace(self._file, secrets=list(entries.values()))
        _replace(self._path, msgspec.msgpack.encode(file))
        return Vault(self._path, self._key, file, self._cipher)


def missing(name: str) -> str:
    """Return the error text for a secret that does not exist."""
    return f"there is no secret {name[:128]!r} on this master: set it with `titan secret set {name[:128]}`"


# -- keys ------------------------------------------------------------------------------------------
def find_key(passphrase_file: Path | None, key_file: Path | None) -> Key | None:
    """Return the configured key, or None. A key is a key file or a passphrase.

    A passphrase comes from a file or from an environment variable. The variable is removed from the
    environment, so that no child process inherits it. Raises CallerError.
    """
    passphrase = take_key(VARIABLE)
    if key_file is not None and (passphrase_file is not None or passphrase):
        other = "--secrets-passphrase-file" if passphrase_file is not None else VARIABLE
        raise CallerError(f"--secrets-key-file and {other} exclude each other: give one of them")
    if key_file is not None:
        return _key_in(key_file)
    if passphrase_file is not None:
        line = _content(passphrase_file, "passphrase file").partition(b"\n")[0].strip(b"\r")
        return _passphrase(line, str(passphrase_file))
    return _passphrase(os.fsencode(passphrase), VARIABLE) if passphrase else None


def _passphrase(text: bytes, where: str) -> Key:
    if len(text) < SHORTEST_PASSPHRASE:
        raise CallerError(f"the secrets passphrase from {where} has {len(text)} bytes: give at least {SHORTEST_PASSPHRASE}")
    return Key("passphrase", text, where)


def _key_in(path: Path) -> Key:
    material = _content(path, "key file").strip()
    if len(material) < SHORTEST_KEY:
        hint = f"give at least {SHORTEST_KEY}, for example from: openssl rand -hex 32"
        raise CallerError(f"the secrets key file {path} has {len(material)} bytes: {hint}")
    return Key("key file", material, str(path))


def _content(path: Path, kind: str) -> bytes:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                log.warning("%s can be read by other users, and so can the secrets: chmod 600 %s", path, path)
            return file.read(MAX_KEY_BYTES)
    except OSError as e:
        raise CallerError(f"the secrets {kind} {path} cannot be read: {e.strerror}") from e


def _own_key(home: Path, *, make: bool) -> Key:
    path = home / KEY_FILE
    if make and not path.exists():
        _replace(path, secrets.token_hex(32).encode() + b"\n")
    return _key_in(path)


def _other_kind(path: Path, kind: str, key: Key) -> str:
    if kind == "passphrase":
        return f"the secrets in {path} are sealed by a passphrase: {PASSPHRASE_HINT}"
    return (
        f"the secrets in {path} are sealed by a key file, not by the {key.kind} from {key.where}: start with --secrets-key-file, "
        f"or without a key option if the key file is {KEY_FILE} in the home. "
        "To use another key, remove the file and set the secrets again"
    )


# -- sealing ---------------------------------------------------------------------------------------
def _cipher(key: Key, salt: bytes) -> Cipher:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as e:
        raise EnvironmentFault(
            "secrets need the package cryptography, which is not installed here: pip install cryptography"
        ) from e
    made = hashlib.scrypt(key.material, salt=salt, n=2**15, r=8, p=1, maxmem=SCRYPT_MEMORY, dklen=32)
    return AESGCM(made)


def _bound(name: str, version: int, set_at: float) -> bytes:
    """Return the metadata that is authenticated with a value."""
    return msgspec.msgpack.encode((MAGIC, FORMAT, name, version, set_at))


def _unsealed(cipher: Cipher, nonce: bytes, sealed: bytes, bound: bytes) -> bytes | None:
    """Return the unsealed value, or None if another key sealed the value or the value was
    changed."""
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(nonce, sealed, bound)
    except (InvalidTag, ValueError):
        return None


# -- the file --------------------------------------------------------------------------------------
def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            os.fchmod(file.fileno(), 0o600)
        return file.read(MOST_BYTES + 1)


def _decoded(path: Path, data: bytes) -> _File:
    try:
        file = msgspec.msgpack.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise _damaged(path, "it is cut off or overwritten") from e
    if file.magic != MAGIC or file.kind not in ("passphrase", "key file") or len(file.salt) != SALT_BYTES:
        raise _damaged(path, "it does not begin with the header of a secrets file")
    if file.format != FORMAT:
        raise EnvironmentFault(f"the secrets in {path} have the format {file.format}: this Titan reads {FORMAT}")
    if len({entry.name for entry in file.secrets}) < len(file.secrets):
        raise _damaged(path, "a name is in it twice")
    return file


def _damaged(path: Path, how: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the file of secrets {path} is damaged ({how}): restore it from a backup, or remove it and set the secrets again"
    )


def _replace(path: Path, data: bytes) -> None:
    """Replace a file atomically. Only its owner may read the new file. Raises OSError."""
    beside = path.with_name(f"{path.name}.part")
    beside.unlink(missing_ok=True)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
