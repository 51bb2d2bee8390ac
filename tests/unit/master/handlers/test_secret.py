"""Handlers of secrets. No answer contains the value of a secret."""

from __future__ import annotations

import errno

import pytest

from support.core import alike
from support.handlers import ANN, SocketlessMaster, answers, records, refuses
from titan.core.events import events as ev
from titan.master.handlers import secrets
from titan.master.vault import Vault
from titan.model.dag import JobTemplate
from titan.protocol import messages as msg


@records(msg.SetSecret, ev.SecretChanged)
@answers(msg.SetSecret, msg.ListSecrets)
def test_a_secret_is_set_and_listed_without_its_value(master: SocketlessMaster) -> None:
    client = master.client()
    row = client.ask(msg.SetSecret(0, "TOKEN", b"hush-hush"), msg.SecretSet).secret
    assert (row.name, row.version) == ("TOKEN", 1)
    assert client.ask(msg.SetSecret(0, "TOKEN", b"hush-more"), msg.SecretSet).secret.version == 2
    listed = client.ask(msg.ListSecrets(0), msg.Secrets).secrets
    assert [(one.name, one.version) for one in listed] == [("TOKEN", 2)]
    assert "hush" not in repr([m for m, _ in client.got])


def test_a_worker_gets_the_value_of_a_secret_before_the_job_that_names_it(master: SocketlessMaster) -> None:
    client, worker = master.client(), master.worker("trusted", offers="TRUSTED")
    client.ask(msg.SetSecret(0, "KEY", b"open-sesame"), msg.SecretSet)
    run = client.submit(alike("a", JobTemplate(command="true", requirement="TRUSTED", secrets=("KEY",))))
    lease = worker.lease_of(run, "a")
    kinds = [type(m) for m, _ in worker.got]
    given = worker.heard(msg.GiveSecrets)
    assert kinds.index(msg.GiveSecrets) < kinds.index(msg.Dispatch)
    assert (given.names, given.values, given.leases) == (["KEY"], [b"open-sesame"], [lease])


@refuses(msg.SetSecret)
def test_invalid_secrets_are_refused(master: SocketlessMaster) -> None:
    client = master.client()
    client.refused(msg.SetSecret(0, "no name", b"value"), "caller", "'no name'")
    client.refused(msg.SetSecret(0, "SHORT", b"abc"), "caller", "SHORT")
    client.refused(msg.SetSecret(0, "LONG", b"x" * (1 << 17)), "limit_exceeded", "LONG")


@records(msg.RemoveSecret, ev.SecretChanged)
@answers(msg.RemoveSecret)
def test_a_secret_is_removed(master: SocketlessMaster) -> None:
    client = master.client()
    client.ask(msg.SetSecret(0, "OLD", b"value"), msg.SecretSet)
    assert client.ask(msg.RemoveSecret(0, "OLD"), msg.SecretRemoved).name == "OLD"
    assert "OLD" not in [one.name for one in client.ask(msg.ListSecrets(0), msg.Secrets).secrets]


@refuses(msg.RemoveSecret)
def test_an_unknown_secret_cannot_be_removed(master: SocketlessMaster) -> None:
    master.client().refused(msg.RemoveSecret(0, "NOPE"), "not_found", "NOPE")


@refuses(msg.ListSecrets)
def test_a_list_of_secrets_for_a_worker_is_refused(master: SocketlessMaster) -> None:
    master.worker("spy").refused(msg.ListSecrets(0), "protocol", "a worker must not send a ListSecrets to the master")


def test_the_journal_names_the_actor_of_a_secrets_change_but_not_its_value(master: SocketlessMaster) -> None:
    client, before = master.client(), len(master.decided)
    client.ask(msg.SetSecret(0, "AUDITED", b"hush-hush"), msg.SecretSet)
    client.ask(msg.SetSecret(0, "AUDITED", b"hush-more"), msg.SecretSet)
    client.ask(msg.RemoveSecret(0, "AUDITED"), msg.SecretRemoved)
    client.refused(msg.RemoveSecret(0, "AUDITED"), "not_found", "AUDITED")
    found = [e for e in master.decided[before:] if isinstance(e, ev.SecretChanged)]
    assert [(e.name, e.version, e.actor) for e in found] == [("AUDITED", 1, ANN), ("AUDITED", 2, ANN), ("AUDITED", 0, ANN)]
    payload, _ = ev.encode(master.decided)
    assert b"AUDITED" in payload and b"hush" not in payload


def test_a_write_error_for_a_secret_is_an_environment_fault(master: SocketlessMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Vault:
        raise OSError(errno.ENOSPC, "No space left on device")

    client = master.client()
    monkeypatch.setattr(Vault, "put", full)
    client.refused(
        msg.SetSecret(0, "FULL", b"value"),
        "environment",
        "the master could not write the secret to its disk: No space left on device",
    )
    assert "FULL" not in [one.name for one in client.ask(msg.ListSecrets(0), msg.Secrets).secrets]


def test_changes_that_wait_for_the_disk_are_limited(master: SocketlessMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "MAX_WAITING", 0)
    master.client().refused(msg.SetSecret(0, "ONE", b"value"), "environment", "0 changes of secrets wait for the master's disk")


def test_a_job_that_names_an_unknown_secret_is_refused(master: SocketlessMaster) -> None:
    client = master.client()
    spec = alike("a", JobTemplate(command="curl x", secrets=("ABSENT",)))
    client.refused(msg.Submit(0, "", spec), "not_found", "curl x needs the secret 'ABSENT'")
