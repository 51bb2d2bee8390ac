"""Addresses that webhooks may reach, whatever a host name resolves to now and at the next try."""

from __future__ import annotations

import asyncio

import pytest

from support.webhooks import webhook_receiver
from titan.core.state.state import State
from titan.errors import CallerError
from titan.host.clock import SteadyClock
from titan.master.core_loop import CoreLoop
from titan.master.webhooks.delivery import Call, WebhookDelivery
from titan.master.webhooks.targets import Refused, Targets, rule
from titan.model.settings import Settings

OWN = (
    *(
        "http://127.0.0.1/",
        "http://127.9.9.9:80/",
        "http://[::1]/",
        "http://localhost/",
        "http://LocalHost.:8080/",
        "http://a.localhost/",
    ),
    *(
        "http://0.0.0.0/",
        "http://0.1.2.3/",
        "http://[::]/",
        "http://169.254.169.254/latest/",
        "http://[fe80::1]/",
        "http://224.0.0.1/",
    ),
    *(
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[::7f00:1]/",
    ),
    *(
        "http://2130706433/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://0177.0.0.1/",
        "http://255.255.255.255/",
        "http://[ff02::1]/",
    ),
    *("http://100.100.100.200/", "http://[fd00:ec2::254]/"),
)


def names(**known: list[str]) -> Targets:
    async def resolve(host: str, port: int) -> list[str]:
        return known[host.partition(".")[0]]

    return Targets(resolve=resolve)


def reached(targets: Targets, url: str) -> list[str]:
    return asyncio.run(targets.addresses(url))


@pytest.mark.parametrize("url", OWN)
def test_without_a_list_nothing_leads_to_the_own_machine(url: str) -> None:
    assert "--webhook-allow" in Targets().problem(url)
    literal = "localhost" not in url.lower()
    targets = Targets() if literal else names(localhost=["127.0.0.1"], a=["::1"])
    with pytest.raises(Refused):
        reached(targets, url)


@pytest.mark.parametrize(
    "url", ["http://10.1.2.3/", "https://192.168.0.9:8443/x", "http://[fd12::1]/", "https://93.184.215.14/", "http://chat.example/"]
)
def test_without_a_list_other_hosts_are_reached(url: str) -> None:
    assert Targets().problem(url) == ""
    assert len(reached(names(chat=["172.16.0.4"]), url)) == 1


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["93.184.215.14", "127.0.0.1"], ["::ffff:169.254.169.254"], ["0.0.0.0"]])
def test_a_name_that_stands_for_a_forbidden_address_is_refused(addresses: list[str]) -> None:
    targets = names(evil=addresses)
    assert targets.problem("http://evil.example/") == ""
    with pytest.raises(Refused, match=r"evil\.example \("):
        reached(targets, "http://evil.example/")


def allowed(*texts: str, **known: list[str]) -> Targets:
    async def resolve(host: str, port: int) -> list[str]:
        return known[host.partition(".")[0]]

    return Targets([rule(text) for text in texts], resolve)


def test_a_list_names_the_only_ones() -> None:
    targets = allowed(
        "chat.example:443", "10.0.0.0/8", "127.0.0.1:8099", chat=["93.184.215.14"], other=["10.2.3.4"], away=["1.1.1.1"]
    )
    for url in ("https://chat.example/x", "http://10.9.9.9/", "http://127.0.0.1:8099/", "http://other.example/"):
        assert targets.problem(url) == ""
        assert reached(targets, url)
    for url in (
        "http://chat.example/x",
        "http://127.0.0.1:8098/",
        "http://11.0.0.1/",
        "http://away.example/",
        "http://169.254.169.254/",
    ):
        with pytest.raises(Refused, match="--webhook-allow"):
            reached(targets, url)


def test_a_name_or_a_wide_range_on_the_list_does_not_open_the_own_machine() -> None:
    targets = allowed("chat.example", "0.0.0.0/0", "::/0", chat=["127.0.0.1"])
    for url in ("http://chat.example/", "http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/"):
        with pytest.raises(Refused):
            reached(targets, url)
    assert reached(allowed("localhost", localhost=["127.0.0.1", "::1"]), "http://localhost:5/") == ["127.0.0.1", "::1"]
    assert reached(allowed("127.0.0.0/8"), "http://127.0.0.5/") == ["127.0.0.5"]


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "http://x/", "a b", "host:x", "host:99999", "/", "u@h", "h/x"])
def test_a_rule_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(CallerError, match="--webhook-allow"):
        rule(text)


# -- the connection --------------------------------------------------------------------------------


def call(targets: Targets, *urls: str) -> list[tuple[str, bool]]:
    async def main() -> list[tuple[str, bool]]:
        core = CoreLoop(
            State(Settings()),
            SteadyClock(0.0),
            prepare=lambda effects: [],
            on_events=lambda events: None,
            on_pressure=lambda pressed: None,
            on_fatal=lambda error: None,
        )
        keeper = WebhookDelivery(core, b"a secret of this test", targets)
        try:
            return [await keeper._try(Call(url, b"{}"), "run/gate", Settings()) for url in urls]
        finally:
            await keeper.close()

    return asyncio.run(main())


def test_a_name_that_changes_between_two_tries_reaches_nothing_new() -> None:
    """DNS rebinding: the master connects to the address that it checked. It checks the addresses
    again at the next try."""
    with webhook_receiver() as hook:
        asked: list[str] = []

        async def rebinding(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

        targets = Targets([rule("127.0.0.1")], rebinding)
        url = f"http://hook.example:{hook.port}/x"
        results = call(targets, url, url)
        assert results[0] == ("delivered", True)
        assert "127.0.0.2" in results[1][0] and results[1][1]
        assert asked == ["hook.example"] * 2, "each try resolves once"
        assert [headers["host"] for headers, _ in hook.calls] == [f"hook.example:{hook.port}"], (
            "the Host header has the host's name"
        )


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with webhook_receiver() as hook:
        assert call(Targets([rule("127.0.0.1")]), f"http://127.0.0.1:{hook.port}/") == [("delivered", True)]
        assert len(hook.calls) == 1


def test_the_next_address_of_a_name_is_tried() -> None:
    with webhook_receiver() as hook:

        async def two(host: str, port: int) -> list[str]:
            return ["127.0.0.77", "127.0.0.1"]

        assert call(Targets([rule("127.0.0.0/8")], two), f"http://hook.example:{hook.port}/") == [("delivered", True)]
        assert len(hook.calls) == 1
