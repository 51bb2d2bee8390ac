"""Delivery of the webhooks of open gates. Each webhook is tried until it succeeds or no try is
left.

This module owns the unencrypted tokens (no other module has them), the signing secret and the
tries. The result of a delivery is an input of the core. When this result is durable, no master
delivers the webhook again. A master that restarts before then delivers it again with a new token. A
receiver can therefore get a webhook more than once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from titan.core.events import events as ev
from titan.core.inputs import TokenDrawn, WebhookAnswered
from titan.gateway.inbound import digest_of
from titan.master.core_loop import CoreLoop
from titan.master.webhooks.targets import Refused, Targets
from titan.model.settings import Settings
from titan.model.states import JobState
from titan.net.backoff import Backoff

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("titan.master")

AT_ONCE = 16
"""Maximum number of concurrent deliveries. Further deliveries wait."""
TRANSIENT = (408, 425, 429)
"""4xx replies after which a retry may succeed."""
DELIVERED = "delivered"
ADDRESSES = 4
"""Maximum number of addresses of one host that are tried in turn."""


@dataclass(frozen=True)
class Call:
    """Request of one webhook."""

    url: str
    body: bytes


class WebhookDelivery:
    def __init__(self, core: CoreLoop, secret: bytes, targets: Targets | None = None) -> None:
        self._core = core
        self._secret = secret
        self._targets = targets or Targets()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._http: httpx.AsyncClient | None = None

    async def close(self) -> None:
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()

    def announce(self, number: int) -> list[Callable[[], None]]:
        """Return the call that starts the delivery.

        The core loop makes the call when the opening of the gate is durable.
        """
        return [lambda: self._begin(number)]

    def note(self, events: list[ev.Event]) -> None:
        """Stop the delivery for gates that were decided or cancelled."""
        if not self._tasks:
            return
        for event in events:
            if isinstance(event, (ev.GatesDecided, ev.JobsCancelled)):
                for number in event.jobs:
                    task = self._tasks.get(number)
                    if task is not None:
                        task.cancel()

    # -- one webhook -------------------------------------------------------------------------------
    def _begin(self, number: int) -> None:
        if number in self._tasks:
            return
        task = asyncio.get_running_loop().create_task(self._deliver(number))
        self._tasks[number] = task

        def ended(done: asyncio.Task[None]) -> None:
            self._tasks.pop(number, None)
            if not done.cancelled() and (error := done.exception()) is not None:
                log.error("a webhook was not delivered: %s", error, exc_info=error)

        task.add_done_callback(ended)

    async def _deliver(self, number: int) -> None:
        job = self._core.state.jobs.get(number)
        if job is None or job.state is not JobState.PAUSED:
            return
        gate = job.template.gate
        facts = job.extra.gate if job.extra is not None else None
        assert gate is not None and facts is not None, job.name
        where = f"{job.run.id}/{job.name}"
        token = secrets.token_urlsafe(32)
        self._core.see(TokenDrawn(number, digest_of(token)))
        await self._core.settled()  # a sent token must be valid after a crash
        about = {
            "run": job.run.id,
            "dag": job.run.name,
            "job": job.name,
            "message": gate.message,
            "opened": facts.opened_at,
            "expires": facts.expires_at,
            "token": token,
        }
        call = Call(gate.webhook, json.dumps(about).encode())
        settings = self._core.state.settings
        backoff = Backoff(settings.webhook_backoff_s, settings.webhook_backoff_max_s)
        for failed in range(settings.webhook_tries):
            async with self._turns:
                result, final = await self._try(call, where, settings)
            if result == DELIVERED or final or failed + 1 >= settings.webhook_tries:
                break
            log.warning("webhook of gate %s: %s; trying again", where, result)
            await asyncio.sleep(backoff.next_s())
        if result != DELIVERED:
            log.error("webhook of gate %s is given up: %s", where, result)
        self._core.see(WebhookAnswered(number, result))
        await self._core.settled()

    async def _try(self, call: Call, where: str, settings: Settings) -> tuple[str, bool]:
        """Post once. Return ("delivered" or the problem, whether a retry is pointless)."""
        import httpx

        if self._http is None:
            # httpx would log each URL, which may hold a password
            logging.getLogger("httpx").setLevel(logging.WARNING)
            # No connection is kept alive, because a host with another certificate may have the same
            # address.
            self._http = httpx.AsyncClient(
                follow_redirects=False, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
            )
        headers = {"content-type": "application/json", "x-titan-gate": where, **signed(self._secret, call.body, int(time.time()))}
        try:
            async with asyncio.timeout(settings.webhook_timeout_s):
                addresses = await self._targets.addresses(call.url)
                status = await self._post(self._http, call, headers, addresses)
        except Refused as error:
            return f"it must not be called: {error}", True
        except TimeoutError:
            return f"no answer within {settings.webhook_timeout_s:g} s", False
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            return f"its URL cannot be used: {error}", True
        except (httpx.HTTPError, OSError) as error:
            return f"{type(error).__name__}: {error}", False
        if 200 <= status < 300:
            return DELIVERED, True
        if 300 <= status < 400:
            return f"it answered {status}: redirects are not followed, give the URL that it redirects to", True
        return f"it answered {status}", 400 <= status < 500 and status not in TRANSIENT

    @staticmethod
    async def _post(client: httpx.AsyncClient, call: Call, headers: dict[str, str], addresses: list[str]) -> int:
        """Post to the first address that accepts a connection. Return the HTTP status.

        The Host header and the expected certificate are those of the host in the URL.
        """
        import httpx

        url = httpx.URL(call.url)
        named = {**headers, "host": url.netloc.decode("ascii")}
        for tries_left, address in reversed(list(enumerate(reversed(addresses[:ADDRESSES])))):
            try:
                async with client.stream(
                    "POST",
                    url.copy_with(host=address),
                    content=call.body,
                    headers=named,
                    timeout=None,
                    extensions={"sni_hostname": url.host},
                ) as answer:
                    return answer.status_code
            except httpx.ConnectError:
                if not tries_left:
                    raise
        raise OSError(f"{url.host} has no address")


def signed(secret: bytes, body: bytes, at_s: int) -> dict[str, str]:
    """Return headers that prove the sender and the age of a body to a holder of the secret.

    >>> signed(b"secret", b"{}", 1700000000)["x-titan-signature"][:20]
    'sha256=b8569b78799ff'
    """
    mac = hmac.new(secret, b"%d." % at_s + body, hashlib.sha256).hexdigest()
    return {"x-titan-timestamp": str(at_s), "x-titan-signature": f"sha256={mac}"}
