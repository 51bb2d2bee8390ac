"""Handlers for secrets, and the secrets of attempts that are dispatched.

No reply to a client contains the value of a secret. A thread writes changes one after the other.
When a change is on the disk, the core records its author and answers the client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from titan.core.inputs import SecretWritten
from titan.core.state.state import Job
from titan.errors import EnvironmentFault, NotFound, TitanError
from titan.master.vault import Sealed, Vault, missing
from titan.model.dag import JobTemplate
from titan.net.peer import Peer
from titan.protocol import messages as msg
from titan.protocol.codec import error_of

log = logging.getLogger("titan.master")

MAX_WAITING = 64
"""Maximum number of changes that wait for the disk, over all clients."""


class SecretHandler:
    def __init__(self, vault: Vault, now: Callable[[], float], see: Callable[[SecretWritten], None]) -> None:
        """`see` passes the record of a change to the core."""
        self._vault = vault
        self._now = now
        self._see = see
        self._turn = asyncio.Lock()
        self._changes: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Wait for the changes that are being written."""
        await asyncio.gather(*self._changes, return_exceptions=True)

    def on_set_secret(self, peer: Peer, message: msg.SetSecret) -> None:
        self._begin(peer, message.request, self._set(message, peer))

    def on_remove_secret(self, peer: Peer, message: msg.RemoveSecret) -> None:
        self._begin(peer, message.request, self._remove(message, peer))

    def on_list_secrets(self, peer: Peer, message: msg.ListSecrets) -> None:
        peer.send(msg.Secrets(message.request, [_row(secret) for secret in self._vault.listed()]))

    def check(self, templates: Sequence[JobTemplate]) -> None:
        """Raise NotFound if a template names a secret that does not exist."""
        for template in templates:
            for name in template.secrets:
                if not self._vault.has(name):
                    raise NotFound(f"{_program(template)} needs the secret {name[:128]!r}: {missing(name)}")

    def secrets_for(self, first_lease: int, jobs: Sequence[Job]) -> msg.GiveSecrets | None:
        """Return the message with the secrets of attempts that are about to be dispatched.

        The attempts have consecutive leases from `first_lease` on. Returns None if no attempt needs
        a secret.
        """
        names: dict[str, int] = {}
        leases: list[int] = []
        positions: list[tuple[int, ...]] = []
        for lease, job in enumerate(jobs, first_lease):
            wanted = job.template.secrets
            if wanted:
                leases.append(lease)
                positions.append(tuple([names.setdefault(name, len(names)) for name in wanted]))
        if not leases:
            return None
        return msg.GiveSecrets(0, list(names), [self._vault.value(name) or b"" for name in names], leases, positions)

    # -- changes -----------------------------------------------------------------------------------
    def _begin(self, peer: Peer, request: int, change: Coroutine[Any, Any, SecretWritten]) -> None:
        if len(self._changes) >= MAX_WAITING:
            change.close()
            raise EnvironmentFault(f"{MAX_WAITING} changes of secrets wait for the master's disk: try again")
        task = asyncio.get_running_loop().create_task(self._made(peer, request, change))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    async def _made(self, peer: Peer, request: int, change: Coroutine[Any, Any, SecretWritten]) -> None:
        """Write a change to the disk, then pass it to the core, which journals and answers it."""
        try:
            async with self._turn:
                self._see(await change)
        except TitanError as e:
            peer.send(error_of(request, e))
        except OSError as e:
            log.error("a secret could not be written: %s", e.strerror)
            peer.send(error_of(request, EnvironmentFault(f"the master could not write the secret to its disk: {e.strerror}")))

    async def _set(self, message: msg.SetSecret, peer: Peer) -> SecretWritten:
        self._vault = await asyncio.to_thread(self._vault.put, message.name, message.value, self._now())
        secret = next(secret for secret in self._vault.listed() if secret.name == message.name)
        log.info("secret %s was set by %s at %s, version %d", message.name, peer.actor, peer.address, secret.version)
        return SecretWritten(peer.number, message.request, message.name, secret.version, secret.set_at, peer.actor)

    async def _remove(self, message: msg.RemoveSecret, peer: Peer) -> SecretWritten:
        self._vault = await asyncio.to_thread(self._vault.remove, message.name)
        log.info("secret %s was removed by %s at %s", message.name, peer.actor, peer.address)
        return SecretWritten(peer.number, message.request, message.name, 0, self._now(), peer.actor)


def _row(sealed: Sealed) -> msg.SecretRow:
    return msg.SecretRow(sealed.name, sealed.version, sealed.set_at)


def _program(template: JobTemplate) -> str:
    return template.file or (template.command or " ".join(template.argv) or "a job")[:60]
