"""Access to the dashboard: one-use links, sessions of browsers, and API tokens of programs.

Every user who can read the folder `dashboard` of a home may make links and tokens. A link is
exchanged for a session, which a browser keeps in a cookie. A program sends a token with each
request.

    HOME/dashboard/key          signs links and sessions
    HOME/dashboard/tokens.json  names, roles and hashes of API tokens

Links and sessions are signed texts, so they survive a restart of the dashboard. Owns both files.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec
from itsdangerous import BadSignature, URLSafeSerializer

from titan.errors import Conflict, EnvironmentFault, NotFound
from titan.model.names import NAME_RULE, is_name

LINK_S = 60.0
SESSION_S = 12 * 3600.0
TOKEN_PREFIX = "titan_"
KEY_BYTES = 32


class Role(StrEnum):
    """Rights in the dashboard."""

    VIEWER = "viewer"
    """Reads everything but values of secrets, which nobody reads."""
    OPERATOR = "operator"
    """Also changes the cluster: submits, cancels, decides."""


class Identity(msgspec.Struct, frozen=True):
    """Sender of a request."""

    actor: str
    """Name under which the master records its changes."""
    role: Role
    session: str = ""
    """Id of the browser's session; "" for a program with a token."""


class Token(msgspec.Struct, frozen=True):
    """API token, without its secret text. `created_at` is in seconds since the epoch."""

    name: str
    role: Role
    sha256: str
    created_at: float
    created_by: str


class Denied(Exception):
    """Refusal of a link, a session or a token. Its text says what to do."""


class Access:
    """Links, sessions and tokens of a home. `now` returns seconds since the epoch."""

    def __init__(self, home: Path, now: Callable[[], float] = time.time) -> None:
        """Make the key if it is missing. Raises EnvironmentFault if the folder cannot be written or
        read."""
        self.folder = home / "dashboard"
        self._now = now
        self._begun_at = now()
        try:
            key = self._key()
        except OSError as error:
            raise EnvironmentFault(f"{self.folder} cannot be used: {error.strerror}: run this as the user of the home") from error
        self._links = URLSafeSerializer(key, salt="link", signer_kwargs={"digest_method": hashlib.sha256})
        self._sessions = URLSafeSerializer(key, salt="session", signer_kwargs={"digest_method": hashlib.sha256})
        self._csrf_key = hashlib.sha256(b"csrf" + key).digest()
        self._used: dict[str, float] = {}
        """Id of a used link -> its end."""
        self._tokens: tuple[int, dict[str, Token]] = (0, {})
        """Modification time of tokens.json, and its tokens by hash."""

    def _key(self) -> bytes:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / "key"
        beside = self.folder / f"key.{secrets.token_hex(8)}"
        if not path.exists():
            _write_private(beside, secrets.token_bytes(KEY_BYTES))
            try:
                os.link(beside, path)  # of two processes that make a key, one wins
            except FileExistsError:
                pass
            finally:
                beside.unlink()
        key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise EnvironmentFault(f"{path} is damaged: remove it, and open the dashboard by a new link")
        return key

    # -- links and sessions ------------------------------------------------------------------------
    def new_link(self, actor: str, role: Role) -> str:
        """Return the text of a link that can be used once, within LINK_S seconds."""
        return str(self._links.dumps([secrets.token_hex(8), self._now(), actor, role]))

    def use_link(self, text: str) -> Identity:
        """Return the identity of a new session. Raises Denied."""
        again = "get a new link: titan open"
        try:
            number, at, actor, role = msgspec.convert(self._links.loads(text), tuple[str, float, str, Role])
        except (BadSignature, msgspec.ValidationError):
            raise Denied(f"this link is not of this dashboard: {again}") from None
        now = self._now()
        if not max(now - LINK_S, self._begun_at) <= at <= now:  # a link from before the start may have been used
            raise Denied(f"this link is older than {LINK_S:.0f} s, or than the dashboard's start: {again}")
        if number in self._used:
            raise Denied(f"this link was used already: {again}")
        self._used = {known: end for known, end in self._used.items() if end > now}
        self._used[number] = now + LINK_S
        return Identity(actor, role, secrets.token_hex(16))

    def cookie_of(self, identity: Identity) -> str:
        """Return the text of a session's cookie."""
        return str(self._sessions.dumps([identity.session, self._now() + SESSION_S, identity.actor, identity.role]))

    def session(self, cookie: str) -> Identity | None:
        """Return the identity behind a cookie; None if the cookie is not valid, or over."""
        try:
            number, end, actor, role = msgspec.convert(self._sessions.loads(cookie), tuple[str, float, str, Role])
        except (BadSignature, msgspec.ValidationError):
            return None
        return Identity(actor, role, number) if self._now() < end else None

    def csrf_token(self, identity: Identity) -> str:
        """Return the token that a page sends with each change."""
        return hmac.new(self._csrf_key, identity.session.encode(), hashlib.sha256).hexdigest()

    def is_csrf_token(self, identity: Identity, text: str) -> bool:
        return hmac.compare_digest(self.csrf_token(identity).encode(), text.encode())

    # -- tokens ------------------------------------------------------------------------------------
    def tokens(self) -> list[Token]:
        """Return all API tokens, by name."""
        return sorted(self._by_hash().values(), key=lambda token: token.name)

    def new_token(self, name: str, role: Role, created_by: str) -> str:
        """Make an API token and return its text, which is not stored. Raises Conflict."""
        if not is_name(name):
            raise Conflict(f"{name[:80]!r} is not a name for a token: {NAME_RULE}")
        known = self.tokens()
        if any(token.name == name for token in known):
            raise Conflict(f"there is a token {name!r} already: remove it first, or choose another name")
        text = TOKEN_PREFIX + secrets.token_urlsafe(32)
        self._write([*known, Token(name, role, _sha256(text), self._now(), created_by)])
        return text

    def remove_token(self, name: str) -> None:
        """Raises NotFound."""
        known = self.tokens()
        kept = [token for token in known if token.name != name]
        if len(kept) == len(known):
            raise NotFound(f"there is no token {name[:80]!r}: `titan token list` lists them")
        self._write(kept)

    def bearer(self, text: str) -> Identity | None:
        """Return the identity of a program; None if there is no such token."""
        token = self._by_hash().get(_sha256(text))
        return Identity(f"token:{token.name}", token.role) if token is not None else None

    def _by_hash(self) -> dict[str, Token]:
        path = self.folder / "tokens.json"
        try:
            changed = path.stat().st_mtime_ns
            if self._tokens[0] != changed:
                found = msgspec.json.decode(path.read_bytes(), type=list[Token])
                self._tokens = changed, {token.sha256: token for token in found}
        except FileNotFoundError:
            self._tokens = 0, {}
        except (OSError, msgspec.DecodeError) as error:
            raise EnvironmentFault(f"{path} cannot be read ({error}): restore it, or remove it and make new tokens") from error
        return self._tokens[1]

    def _write(self, tokens: list[Token]) -> None:
        path = self.folder / "tokens.json"
        beside = self.folder / f"tokens.{secrets.token_hex(8)}"
        try:
            _write_private(beside, msgspec.json.format(msgspec.json.encode(tokens)))
            beside.replace(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise EnvironmentFault(f"{path} cannot be written: {error.strerror}") from error
        self._tokens = 0, {}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write_private(path: Path, data: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
