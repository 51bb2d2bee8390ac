"""Settings that CONFIG GET shows and CONFIG SET changes. Values are strings, as in these
commands."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from titan.errors import CallerError

NO_EVICTION = "noeviction"
ALLKEYS_LRU = "allkeys-lru"
_UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1024, "m": 10**6, "mb": 1 << 20, "g": 10**9, "gb": 1 << 30}
_MOST = (1 << 63) - 1
LEAST_BULK = 1 << 20
MOST_BULK = 1 << 30
"""Maximum of proto-max-bulk-len, in bytes. The store must be able to send, journal and keep any
string."""
MOST_COMMAND = MOST_BULK - (1 << 20)
"""Maximum bytes of all arguments of one command or of one transaction, because they become one
record of the journal. A record has at most 1 GiB."""
MOST_PASSWORD = 512
HIDDEN = "(hidden)"
"""Text that is shown in place of a password. Only the SHA-256 of a password is stored."""


def _memory(text: str) -> str:
    digits = text.lower().rstrip("bkmg")
    unit = _UNITS.get(text.lower()[len(digits) :])
    if unit is None or not (digits.isascii() and digits.isdigit()) or len(digits) > 20 or int(digits) * unit > _MOST:
        raise CallerError("argument must be a memory value")
    return str(int(digits) * unit)


def _number(low: int, high: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 20:
            raise CallerError("argument couldn't be parsed into an integer")
        if not low <= int(text) <= high:
            raise CallerError(f"argument must be between {low} and {high} inclusive")
        return str(int(text))

    return check


def _bulk_length(text: str) -> str:
    value = _memory(text)
    if not LEAST_BULK <= int(value) <= MOST_BULK:
        raise CallerError(f"argument must be between {LEAST_BULK} and {MOST_BULK} inclusive")
    return value


def _choice(*words: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text.lower() not in words:
            raise CallerError(f"argument(s) must be one of the following: {', '.join(words)}")
        return text.lower()

    return check


def hashed(password: bytes) -> str:
    """Return the hash of a password, in the form that is stored."""
    return sha256(password).hexdigest()


def _password(text: str) -> str:
    if len(text) > MOST_PASSWORD:
        raise CallerError(f"argument must be no more than {MOST_PASSWORD} characters")
    if text == HIDDEN:
        raise CallerError(f"{HIDDEN} is not a password: CONFIG GET shows it in place of the password")
    return hashed(text.encode(errors="surrogateescape")) if text else ""


def _fixed(text: str) -> str:
    raise CallerError("can't set immutable config")


_KNOWN: dict[str, tuple[str, Callable[[str], str]]] = {
    "appendfsync": ("always", _choice("always", "everysec", "no")),
    "appendonly": ("yes", _fixed),
    "bind": ("127.0.0.1", _fixed),
    "client-query-buffer-limit": (str(1 << 30), _memory),
    "databases": ("16", _fixed),
    "hash-max-listpack-entries": ("512", _number(0, _MOST)),
    "hash-max-listpack-value": ("64", _number(0, _MOST)),
    "list-max-listpack-size": ("-2", _number(-5, _MOST)),
    "maxclients": ("10000", _number(1, 1 << 31)),
    "maxmemory": ("0", _memory),
    "maxmemory-policy": (NO_EVICTION, _choice(NO_EVICTION, ALLKEYS_LRU)),
    "port": ("0", _fixed),
    "proto-max-bulk-len": (str(512 << 20), _bulk_length),
    "requirepass": ("", _password),
    "save": ("", _fixed),
    "set-max-intset-entries": ("512", _number(0, _MOST)),
    "timeout": ("0", _number(0, 1 << 31)),
    "zset-max-listpack-entries": ("128", _number(0, _MOST)),
    "zset-max-listpack-value": ("64", _number(0, _MOST)),
}


class Settings:
    """Settings of a store. `values` replaces defaults, even of settings that CONFIG SET refuses to
    change. Raises CallerError for an unknown name or an invalid value.

    >>> Settings({"maxmemory": "100mb"})["maxmemory"]
    '104857600'
    """

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self._values = {name: default for name, (default, _) in _KNOWN.items()}
        for name, value in (values or {}).items():
            if name not in _KNOWN:
                raise CallerError(f"there is no setting {name!r}: `CONFIG GET *` lists all settings")
            check = _KNOWN[name][1]
            self._values[name] = value if check is _fixed else check(value)
        self._read()

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def shown(self, name: str) -> str:
        """Return the value as CONFIG GET shows it."""
        return HIDDEN if name == "requirepass" and self.password else self._values[name]

    def names(self) -> list[str]:
        return list(self._values)

    def checked(self, name: str, value: str) -> str:
        """Return the value in the form that is stored. Raises CallerError with the message of
        Redis, and KeyError if the setting does not exist."""
        return _KNOWN[name][1](value)

    def change(self, name: str, value: str) -> None:
        """Store a value that `checked` returned."""
        self._values[name] = value
        self._read()

    def number(self, name: str) -> int:
        return int(self._values[name])

    def _read(self) -> None:
        self.max_bulk = int(self._values["proto-max-bulk-len"])
        """Maximum bytes of a string."""
        self.max_clients = int(self._values["maxclients"])
        """Maximum connections to the port."""
        self.idle_s = int(self._values["timeout"])
        """Seconds after which an idle connection is closed; 0: never."""
        self.max_memory = int(self._values["maxmemory"])
        self.password = self._values["requirepass"]
        """Hash of the password; empty if there is none."""
        self.evicts = self._values["maxmemory-policy"] == ALLKEYS_LRU
