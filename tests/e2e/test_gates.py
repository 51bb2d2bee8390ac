"""Gates with real processes: opened and decided across a SIGKILL, sent to a webhook, and refused
where necessary."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cluster import QUIET, Cluster, cluster
from support.waiting import until
from support.webhooks import webhook_receiver
from titan import DAG, Client, Gate, Job
from titan.core.events.events import GatesDecided, GatesOpened, TokenIssued, WebhookEnded
from titan.errors import CallerError, Conflict, NotFound

LOOPBACK = ("--webhook-allow", "127.0.0.1")
HOOKED = {**QUIET, "webhook_backoff_s": 0.05, "webhook_timeout_s": 5}


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "w1", settings=HOOKED, options=LOOPBACK) as made:
        yield made


def gated(folder: Path, webhook: str = "", **fields: Any) -> DAG:
    """Return a DAG before -> ship -> after. `after` appends a line each time that it runs."""
    after = Job("after", command=f"echo ran >> {folder}/ran", parents=["ship"])
    return DAG("gated", [Job("before", command="true"), Gate("ship", "Ship it?", ["before"], webhook=webhook, **fields), after])


def wait_until_open(cluster: Cluster, run: str) -> None:
    until(lambda: [g.job for g in cluster.client.gates(run)] == ["ship"], "the gate opens")


def times_run(folder: Path) -> int:
    return len((folder / "ran").read_text().splitlines()) if (folder / "ran").exists() else 0


# -- decisions -------------------------------------------------------------------------------------
def test_a_gate_opened_before_a_kill_and_approved_after_it_lets_its_children_run_once(c: Cluster, tmp_path: Path) -> None:
    run = c.client.submit(gated(tmp_path))
    wait_until_open(c, run.id)
    assert c.worker("w1").held == 0
    c.restart_master()
    wait_until_open(c, run.id)
    done = c.client.approve(f"{run.id}/ship", by="ann", comment="looks good")
    assert (done.approved, done.by) == (True, "ann")
    assert run.wait(timeout=30).ok
    assert times_run(tmp_path) == 1 and c.completions(run.id) == {"before": 1, "after": 1}
    _, story = c.client.job(f"{run.id}/ship")
    assert any("approved by ann: looks good" in line for line in story)


@pytest.mark.parametrize("moment", range(4))
def test_a_gate_approved_at_the_moment_of_a_kill_lets_its_children_run_once(c: Cluster, tmp_path: Path, moment: int) -> None:
    """The client repeats the decision until it gets an answer. Whatever was on disk before, there
    is one decision, and the child runs once."""
    run = c.client.submit(gated(tmp_path))
    wait_until_open(c, run.id)
    with Client(c.address) as other:
        told = threading.Thread(target=lambda: other.approve(f"{run.id}/ship", by="ann"))
        if moment % 2:
            told.start()
        c.kill_master()
        if not moment % 2:
            told.start()
        c.start_master()
        told.join(30)
        assert not told.is_alive()
    assert run.wait(timeout=30).ok
    assert times_run(tmp_path) == 1 and c.completions(run.id)["after"] == 1
    decided = [event for event in c.events() if isinstance(event, GatesDecided)]
    assert [(event.approved, event.by) for event in decided] == [(True, "ann")]


def test_a_rejected_gate_cancels_its_descendants(c: Cluster, tmp_path: Path) -> None:
    run = c.client.submit(gated(tmp_path))
    wait_until_open(c, run.id)
    done = c.cli("reject", f"{run.id}/ship", "--by", "bob", "--comment", "not on a Friday")
    assert (done.returncode, done.stdout) == (0, f"{run.id}/ship rejected by bob\n"), done
    assert run.wait(timeout=30).state == "FAILED"
    jobs = {job.id: job for job in run.status().jobs}
    assert jobs["ship"].state == jobs["after"].state == "CANCELLED"
    assert jobs["after"].reason == "its ancestor ship was rejected by bob: not on a Friday"
    assert times_run(tmp_path) == 0 and not c.client.dead_jobs(run.id)


def test_a_gate_that_is_not_decided_in_time_is_rejected(c: Cluster, tmp_path: Path) -> None:
    run = c.client.submit(gated(tmp_path, max_wait=0.2))
    assert run.wait(timeout=30).state == "FAILED"
    assert c.client.job(f"{run.id}/ship")[0].reason == "rejected by the clock: nobody decided within 0.2 s"


def test_a_decision_that_cannot_be_made_is_refused_with_the_reason(c: Cluster, tmp_path: Path) -> None:
    hold = DAG("hold", [Gate("first"), Gate("second", parents=["first"]), Job("plain", command="true", parents=["second"])])
    run = c.client.submit(hold)
    until(lambda: c.client.gates(run.id), "the gate opens")
    with pytest.raises(Conflict, match="is not open yet: it waits for 1 of its 1 parents"):
        c.client.approve(f"{run.id}/second")
    assert c.client.approve(f"{run.id}/first", by="ann").by == "ann"
    with pytest.raises(Conflict, match="was approved already, by ann: a gate is decided once"):
        c.client.approve(f"{run.id}/first", by="ann")
    twice = c.cli("reject", f"{run.id}/first")
    assert (twice.returncode, twice.stderr) == (
        2,
        f"titan: gate {run.id}/first was approved already, by ann: a gate is decided once\n",
    )
    for args, code, says in [
        (("approve", f"{run.id}/plain"), 2, "is no gate"),
        (("approve", f"{run.id}/nobody"), 2, "has no job 'nobody'"),
        (("approve", "nope/first"), 2, "there is no run 'nope'"),
        (("approve", run.id), 2, "does not name a gate: pass RUN/GATE"),
        (("approve",), 2, "pass either RUN/GATE"),
        (("approve", "--token", "wrong"), 2, "no gate of a live run has this token"),
        (("approve", f"{run.id}/second", "--by", "a" * 200), 2, "1 to 128 printable characters"),
    ]:
        done = c.cli(*args)
        assert done.returncode == code and says in done.stderr, done
    run.cancel()


def test_the_open_gates_are_listed(c: Cluster, tmp_path: Path) -> None:
    assert c.cli("gates").stdout == "no open gates\n"
    run = c.client.submit(gated(tmp_path))
    wait_until_open(c, run.id)
    (gate,) = c.json("gates")
    assert {key: gate[key] for key in ("run", "dag", "job", "message", "webhook")} == {
        "run": run.id,
        "dag": "gated",
        "job": "ship",
        "message": "Ship it?",
        "webhook": "",
    }
    assert gate["expires_at"] - gate["opened_at"] == 48 * 3600
    assert f"{run.id}/ship" in c.cli("gates").stdout and "Ship it?" in c.cli("gates", run.id).stdout
    assert c.json("approve", f"{run.id}/ship", "--by", "ann")["approved"] is True
    run.wait(timeout=30)


def test_a_message_on_a_job_puts_a_gate_behind_it(c: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "hitl.yaml"
    path.write_text(
        "name: hitl\nproject: false\njobs:\n"
        "  - {id: part, command: 'true', foreach: 2, hitl_message: Go on?, max_wait_seconds: 60}\n"
        f"  - {{id: after, command: 'echo ran >> {tmp_path}/ran', depends_on: ['part[1]']}}\n"
    )
    run = c.cli("submit", str(path)).stdout.strip()
    until(lambda: [(g.job, g.message) for g in c.client.gates(run)] == [("part.gate", "Go on?")], "the gate behind the array opens")
    assert [job.id for job in c.client.status(run).jobs] == ["part[0]", "part[1]", "part.gate", "after"]
    c.client.approve(f"{run}/part.gate", by="ann")
    assert c.client.run(run).wait(timeout=30).ok and times_run(tmp_path) == 1


def test_a_second_decision_about_a_gate_of_an_archived_run_is_refused(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", settings={**QUIET, "keep_runs": 1}) as c:
        run = c.client.submit(gated(tmp_path))
        wait_until_open(c, run.id)
        c.client.approve(f"{run.id}/ship", by="ann")
        run.wait(timeout=30)
        for _ in range(3):
            c.client.submit(DAG("other", [Job("a", command="true")])).wait(timeout=30)
        with pytest.raises(Conflict, match="was approved already, by ann"):
            c.client.reject(f"{run.id}/ship")


# -- webhooks --------------------------------------------------------------------------------------


def ended(c: Cluster) -> list[str]:
    return [event.result for event in c.events() if isinstance(event, WebhookEnded)]


def test_a_failed_webhook_is_sent_again_signed_and_its_token_decides_once(c: Cluster, tmp_path: Path) -> None:
    with webhook_receiver([500, 503, 200]) as hook:
        run = c.client.submit(gated(tmp_path, hook.url))
        until(lambda: ended(c), "the webhook is delivered")
        assert ended(c) == ["delivered"] and len(hook.calls) == 3
        (gate,) = c.client.gates(run.id)
        assert gate.webhook == "delivered"
        secret = (c.home / "webhook.secret").read_bytes().strip()
        assert (c.home / "webhook.secret").stat().st_mode & 0o777 == 0o600
        bodies = [json.loads(body) for _, body in hook.calls]
        assert len({body["token"] for body in bodies}) == 1
        for headers, body in hook.calls:
            expected = hmac.new(secret, headers["x-titan-timestamp"].encode() + b"." + body, hashlib.sha256).hexdigest()
            assert headers["x-titan-signature"] == f"sha256={expected}"
            assert headers["content-type"] == "application/json" and headers["x-titan-gate"] == f"{run.id}/ship"
        told = bodies[0]
        assert (told["run"], told["job"], told["dag"], told["message"]) == (run.id, "ship", "gated", "Ship it?")
        assert told["expires"] == gate.expires_at and told["opened"] == gate.opened_at
        token = told["token"]
        # The master's disk has only the SHA-256 of the token.
        (issued,) = [event for event in c.events() if isinstance(event, TokenIssued)]
        assert issued.digest == hashlib.sha256(token.encode()).digest()
        kept = [path for path in c.base.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
        assert kept == []
        c.restart_master()
        done = c.cli("approve", "--token", token, "--by", "phone")
        assert (done.returncode, done.stdout) == (0, f"{run.id}/ship approved by phone\n"), done
        assert run.wait(timeout=30).ok and times_run(tmp_path) == 1
        again = c.cli("reject", "--token", token)
        assert again.returncode == 2 and "was approved already, by phone" in again.stderr
        assert len(hook.calls) == 3, "a webhook that was recorded as delivered is called again"


def test_a_webhook_is_sent_again_after_a_restart_and_all_its_tokens_are_valid(c: Cluster, tmp_path: Path) -> None:
    with webhook_receiver([500]) as hook:
        run = c.client.submit(gated(tmp_path, hook.url))
        until(lambda: len(hook.calls) >= 2, "the webhook is called twice")
        c.restart_master()
        first = json.loads(hook.calls[0][1])["token"]
        until(lambda: json.loads(hook.calls[-1][1])["token"] != first, "the webhook is called with another token")
        hook.answers = [204]
        until(lambda: ended(c) == ["delivered"], "the webhook is delivered")
        assert c.client.approve(token=first, by="ann").job == "ship"
        assert run.wait(timeout=30).ok and times_run(tmp_path) == 1


def test_a_webhook_that_refuses_is_given_up_and_its_gate_can_still_be_approved(c: Cluster, tmp_path: Path) -> None:
    with webhook_receiver([404]) as hook:
        run = c.client.submit(gated(tmp_path, hook.url))
        until(lambda: ended(c), "the webhook is given up")
        assert ended(c) == ["it answered 404"] and len(hook.calls) == 1
        assert "webhook: it answered 404" in c.cli("gates").stdout
        c.client.approve(f"{run.id}/ship", by="ann")
        assert run.wait(timeout=30).ok


def test_an_unanswered_webhook_delays_no_other_request(tmp_path: Path) -> None:
    """Many webhooks do not answer. The master serves other requests meanwhile."""
    import socket

    deaf = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
    with cluster(tmp_path / "c", "w1", settings={**HOOKED, "webhook_tries": 2, "webhook_timeout_s": 1}, options=LOOPBACK) as c:
        run = c.client.submit(DAG("deaf", [Gate(f"g{i}", webhook=url) for i in range(5)]))
        until(lambda: len(c.client.gates(run.id)) == 5, "the gates open")
        assert c.client.submit(DAG("other", [Job("a", command="true")])).wait(timeout=10).ok
        until(lambda: len(ended(c)) == 5, "the webhooks are given up")
        assert set(ended(c)) == {"no answer within 1 s"}
        run.cancel()
    deaf.close()


def test_the_secret_may_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret of my own\n")
    options = (*LOOPBACK, "--webhook-secret-file", str(secret))
    with webhook_receiver([200]) as hook, cluster(tmp_path / "c", "w1", options=options) as c:
        run = c.client.submit(gated(tmp_path, hook.url))
        until(lambda: ended(c), "the webhook is delivered")
        headers, body = hook.calls[0]
        mac = hmac.new(b"a secret of my own", headers["x-titan-timestamp"].encode() + b"." + body, hashlib.sha256)
        assert headers["x-titan-signature"] == f"sha256={mac.hexdigest()}"
        assert not (c.home / "webhook.secret").exists()
        run.cancel()
        secret.write_text("short")
        refused = c.cli("master", "--home", str(tmp_path / "h2"), "--port", "0", "--webhook-secret-file", str(secret))
        assert refused.returncode == 2 and "has 5 bytes: give at least 16" in refused.stderr


def test_a_webhook_leads_to_the_masters_own_machine_only_if_that_is_allowed(tmp_path: Path) -> None:
    with webhook_receiver([200]) as hook, cluster(tmp_path / "c", "w1", settings=HOOKED) as c:
        for url in (
            hook.url,
            hook.url.replace("127.0.0.1", "localhost"),
            "http://169.254.169.254/latest",
            "http://[::1]:1/",
            "http://2130706433/",
        ):
            with pytest.raises(CallerError, match=r"cannot be called: .* --webhook-allow"):
                c.client.submit(gated(tmp_path, url))
        assert not hook.calls


def test_a_redirect_is_not_followed_and_the_story_says_so(c: Cluster, tmp_path: Path) -> None:
    with webhook_receiver([302]) as hook:
        run = c.client.submit(gated(tmp_path, hook.url))
        until(lambda: ended(c), "the webhook is given up")
        assert len(hook.calls) == 1 and "redirects are not followed" in ended(c)[0]
        _, story = c.client.job(f"{run.id}/ship")
        assert any("redirects are not followed" in line for line in story)
        run.cancel()


def test_the_opening_and_the_decision_of_a_gate_are_in_the_journal(c: Cluster, tmp_path: Path) -> None:
    run = c.client.submit(gated(tmp_path))
    wait_until_open(c, run.id)
    c.client.reject(f"{run.id}/ship", by="ann", comment="why not")
    run.wait(timeout=30)
    opened = [event for event in c.events() if isinstance(event, GatesOpened)]
    (decided,) = [event for event in c.events() if isinstance(event, GatesDecided)]
    assert decided.jobs == opened[0].jobs and (decided.by, decided.comment, decided.approved) == ("ann", "why not", False)
    assert decided.at >= opened[0].at
    with pytest.raises(NotFound):
        c.client.gates("nope")
