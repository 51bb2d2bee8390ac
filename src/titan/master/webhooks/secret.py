"""Secret that signs webhooks.

The secret comes from a file or the environment. Without either, the master creates a secret once
and keeps it in its home.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from titan.errors import CallerError, EnvironmentFault
from titan.host.privacy import take_key

VARIABLE = "TITAN_WEBHOOK_SECRET"
SHORTEST = 16


def webhook_secret(home: Path, file: Path | None) -> bytes:
    """Return the secret, at least 16 bytes.

    Raises CallerError if the secret is too short or its file cannot be read. Raises
    EnvironmentFault if the secret in the home cannot be created or read.
    """
    if file is not None:
        try:
            return _checked(file.read_bytes(), str(file))
        except OSError as error:
            raise CallerError(f"the webhook secret {file} cannot be read: {error.strerror}") from error
    if value := take_key(VARIABLE):
        return _checked(value.encode(), VARIABLE)
    own = home / "webhook.secret"
    try:
        if not own.exists():
            _write(own)
        return _checked(own.read_bytes(), str(own))
    except OSError as error:
        raise EnvironmentFault(f"the webhook secret {own} cannot be created or read: {error.strerror}") from error


def _write(path: Path) -> None:
    """Write a new secret atomically. Only its owner may read the file."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(secrets.token_hex(32) + "\n")
        out.flush()
        os.fsync(out.fileno())
    beside.rename(path)


def _checked(secret: bytes, where: str) -> bytes:
    secret = secret.strip()
    if len(secret) < SHORTEST:
        raise CallerError(f"the webhook secret in {where} has {len(secret)} bytes: give at least {SHORTEST}")
    return secret
