"""Secrets: `client.secrets`, the same for `Client` and `AsyncClient`.

Values cannot be read back.
"""

from __future__ import annotations

from dataclasses import dataclass

from titan.errors import CallerError, LimitExceeded
from titan.model.secrets import MAX_VALUE, SECRET_NAME_RULE, is_secret_name, value_problem
from titan.protocol import messages as msg
from titan.sdk.connection import Connection
from titan.sdk.waiting import Waiting


@dataclass(frozen=True, slots=True)
class SecretStatus:
    """A secret without its value.

    - `version`: number of times it was set.
    - `set_at`: time of the last change, in seconds since the epoch.
    """

    name: str
    version: int
    set_at: float


class AsyncSecrets:
    """Secrets: `AsyncClient.secrets`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def set(self, name: str, value: str | bytes) -> SecretStatus:
        """Set the value of a secret, whose name is that of an environment variable.

        The value has 4 bytes to 64 KiB, without NUL. Attempts that start later receive it; running
        attempts keep the old value. The value is encrypted on the master's disk when this returns.
        Raises CallerError, LimitExceeded.
        """
        if not isinstance(name, str) or not is_secret_name(name):
            raise CallerError(f"{str(name)[:80]!r} is not a valid name of a secret: a name is {SECRET_NAME_RULE}")
        if not isinstance(value, (str, bytes)):
            raise CallerError(f"secret {name}: the value must be a string or bytes, not a {type(value).__name__}")
        data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
        if problem := value_problem(data):
            raise (LimitExceeded if len(data) > MAX_VALUE else CallerError)(f"secret {name}: {problem}")
        answer = await self._connection.call(lambda n: msg.SetSecret(n, name, data))
        assert isinstance(answer, msg.SecretSet)
        return _status(answer.secret)

    async def list(self) -> list[SecretStatus]:
        """Return all secrets without their values, by name."""
        answer = await self._connection.call(msg.ListSecrets)
        assert isinstance(answer, msg.Secrets)
        return [_status(row) for row in answer.secrets]

    async def remove(self, name: str) -> None:
        """Remove a secret. Raises NotFound.

        Running attempts keep the value. An attempt that starts later and needs the secret is DEAD.
        """
        await self._connection.remove(lambda n: msg.RemoveSecret(n, name))


class Secrets:
    """Secrets: `Client.secrets`. See `AsyncSecrets` for arguments and errors.

    >>> with Client() as client:                   # doctest: +SKIP
    ...     client.secrets.set("API_TOKEN", token)
    ...     client.submit(DAG("fetch", [Job("fetch", file="fetch.py", secrets=["API_TOKEN"])]))
    """

    def __init__(self, client: Waiting, secrets: AsyncSecrets) -> None:
        self._client = client
        self._async = secrets

    def set(self, name: str, value: str | bytes) -> SecretStatus:
        """Set the value of a secret. Raises CallerError, LimitExceeded."""
        return self._client._wait(self._async.set(name, value))

    def list(self) -> list[SecretStatus]:
        """Return all secrets without their values, by name."""
        return self._client._wait(self._async.list())

    def remove(self, name: str) -> None:
        """Remove a secret. Raises NotFound."""
        self._client._wait(self._async.remove(name))


def _status(row: msg.SecretRow) -> SecretStatus:
    return SecretStatus(row.name, row.version, row.set_at)
