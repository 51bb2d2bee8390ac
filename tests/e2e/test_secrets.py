"""Secrets with real processes. The jobs have them, and no other process, file or message contains
them."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from support.cluster import NONE, QUIET, TITAN, Cluster, cluster, processes_below
from support.waiting import until
from titan import DAG, Job
from titan.errors import CallerError, InvalidGraph, LimitExceeded, NotFound
from titan.protocol import messages as msg
from titan.sdk.run import Run
from titan.sdk.staging import stage
from titan.worker.secret_forms import forms_of

TOKEN = "tok/9f8e&7d6c+5b4a 39281706 Zürich"
PEM = (
    "-----BEGIN KEY-----\n" + "\n".join(base64.b64encode(bytes([n]) * 45).decode() for n in range(60, 72)) + "\n-----END KEY-----\n"
)
SHOW = """\
import base64, hashlib, json, os, sys, time, urllib.parse
token, pem = os.environ["TOKEN"], os.environ["PEM"]
for value in (token, pem):
    print(value)
    for half in (value[: len(value) // 2], value[len(value) // 2 :]):
        sys.stdout.write(half)
        sys.stdout.flush()
        time.sleep(0.02)
    for stream in (sys.stdout, sys.stderr):
        for piece in value:
            stream.write(piece)
            stream.flush()
    print(base64.b64encode(value.encode()).decode(), file=sys.stderr)
    print(urllib.parse.quote(value), json.dumps(value), repr(value))
    print(hashlib.sha256(value.encode()).hexdigest())
print(os.environ, file=sys.stderr)
sys.exit(int(os.environ["CODE"]))
"""
SHELL = """\
set -x
echo "$TOKEN"; printf %s "$PEM"; printf %s "$TOKEN" | base64; printf 'user:%s' "$TOKEN" | base64 -w0; env
printf %s "$TOKEN" | head -c 12; sleep 0.05; printf %s "$TOKEN" | tail -c +13
printf %s "$TOKEN" | sha256sum
"""
SERVE = """\
import http.server, os, sys
print("serving with", os.environ["TOKEN"], flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["TITAN_PORT"])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
DIGESTS = [hashlib.sha256(value.encode()).hexdigest() for value in (TOKEN, PEM)]
BOTH = ["TOKEN", "PEM"]


def needles() -> list[bytes]:
    """Return the byte strings that must not appear anywhere: the values, their lines, and the forms
    in which a program is likely to write them."""
    found = [TOKEN.encode(), PEM.encode(), *PEM.encode().split(b"\n")[1:-2]]
    for value in (TOKEN.encode(), PEM.encode()):
        found += [base64.b64encode(value), quote(value).encode(), value[: len(value) // 2] + value[len(value) // 2 :]]
    return found


def leaks(text: bytes) -> list[bytes]:
    return [needle for needle in needles() if needle in text]


def files_with_a_secret(folder: Path) -> list[tuple[Path, list[bytes]]]:
    found = [(path, leaks(path.read_bytes())) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(found) > 20
    return [(path, there) for path, there in found if there]


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "c", "ada", slots=4, settings={**QUIET, "snapshot_bytes": 2000}, options=("--store-port", "0")) as made:
        yield made


def set_secrets(c: Cluster) -> None:
    for name, value in (("TOKEN", TOKEN), ("PEM", PEM)):
        done = subprocess.run(
            [*TITAN, "secret", "set", name], input=value.encode(), env=c.environment(), capture_output=True, check=False
        )
        assert done.returncode == 0, done


SAYS = """
import base64, os
from titan import context
from titan.errors import CallerError
token, pem = os.environ["TOKEN"], os.environ["PEM"]
context.status(f"with {token} and {base64.b64encode(token.encode()).decode()}")
context.progress(0.5, pem[:500])
for value in (token, {"token": [token]}, "x" * 200_000 + token, ("x" * 1_048_570, token, "y" * 1000), {1: pem}):
    try:
        context.result(value)
    except CallerError as e:
        print(e)
    else:
        raise SystemExit(f"a result with a secret is kept: {type(value)}")
context.result({"fine": "x" * 100_000})
"""


def jobs(folder: Path) -> list[Job]:
    folder.mkdir()
    (folder / "show.py").write_text(SHOW)
    (folder / "serve.py").write_text(SERVE)
    show: dict[str, Any] = {"file": folder / "show.py", "secrets": BOTH, "env": {"CODE": 0}}
    health = {"command": 'echo "not yet: $TOKEN"; test -e ' + f"{folder}/go", "interval": 0.1, "start": 60}
    (folder / "says.py").write_text(SAYS)
    return [
        Job("says", file=folder / "says.py", secrets=BOTH, retries=0),
        Job("warm", **show),
        Job("cold", driver="process", **show),
        Job("other", python=os.path.realpath(sys.executable), **show),
        Job("shell", command=SHELL, secrets=BOTH),
        Job("argv", command=["sh", "-c", SHELL], secrets=BOTH, limits={"processes": 200}),
        Job("bad", file=folder / "show.py", secrets=BOTH, env={"CODE": 3}, retries=1, on_failure="continue"),
        Job("web", type="service", file=folder / "serve.py", secrets=["TOKEN"], health=health, parents=["shell"]),
        Job("without", command='echo "[$TOKEN][$PEM]"; ulimit -c', parents=["bad"]),
        Job("last", command="true", parents=["web"]),
    ]


def test_jobs_have_their_secrets_and_no_file_log_or_answer_contains_them(one: Cluster, tmp_path: Path) -> None:
    set_secrets(one)
    one.restart_master()
    one.wait_for_workers("ada")
    run = one.client.submit(DAG("d", jobs(tmp_path / "s")))
    until(lambda: [s for s in one.client.services(run.id) if "not yet" in s.reason], "the health command has spoken")
    check_processes(one)
    (tmp_path / "s" / "go").touch()
    assert run.wait(60).state == "FAILED"
    for job in ("warm", "cold", "other", "shell", "argv", "bad"):
        said = one.output(f"{run.id}/{job}")
        assert DIGESTS[0].encode() in said and b"***" in said, (job, said)
        assert job in ("shell", "argv") or DIGESTS[1].encode() in said
    says, _ = one.client.job(f"{run.id}/says")
    assert (says.state, says.status) == ("COMPLETED", "with *** and ***"), one.output(f"{run.id}/says")
    assert one.output(f"{run.id}/says").count(b"the result contains a secret of the job") == 5
    assert run.result("says") == {"fine": "x" * 100_000}
    status, _ = one.client.job(f"{run.id}/bad")
    assert (status.attempt, status.exit_code) == (2, 3)
    assert b"[][]" in one.output(f"{run.id}/without")
    assert b"serving with ***" in one.output(f"{run.id}/web")
    assert not leaks(answers(one, run)), leaks(answers(one, run))
    one.cli("store", "set", "k", "v")
    until(lambda: list(one.store.glob("*.snap")), "there is a snapshot")
    assert files_with_a_secret(one.base) == []
    (listed,) = [row for row in one.json("secret", "list") if row["name"] == "TOKEN"]
    assert set(listed) == {"name", "version", "set_at"} and listed["version"] == 1


def answers(c: Cluster, run: Run) -> bytes:
    """Return everything that the master tells about the run, from all commands and requests."""
    said = [c.output(f"{run.id}/{job.id}", attempt=attempt) for job in run.status().jobs for attempt in range(1, job.attempt + 1)]
    asked = [("status",), ("status", run.id), ("runs",), ("services",), ("dlq",), ("dlq", "show", f"{run.id}/bad"), ("workers",)]
    asked += [(word, f"{run.id}/{job}") for job in ("says", "bad") for word in ("status", "why")]
    asked += [("journal", "inspect", "--home", str(c.home), "--events"), ("secret", "list")]
    said += [c.cli(*words, "--json").stdout.encode() for words in asked]
    targets = [f"{run.id}/{job.id}" for job in run.status().jobs]
    said += [msgspec.msgpack.encode((c.client.job(target), c.client.why(target))) for target in targets]
    port = re.search(r'"store": "127.0.0.1:(\d+)"', (c.home / "master.json").read_text())
    assert port is not None
    said += [c.cli("store", "keys", "*").stdout.encode(), c.cli("store", "xrange", "titan:events", "-", "+").stdout.encode()]
    said += [c.cli("store", "hgetall", f"titan:job:{target}").stdout.encode() for target in targets[:2]]
    derived = [c.client.store.execute("HGETALL", f"titan:job:{target}") for target in targets]
    assert all([*said[-2:], *derived])
    said += [msgspec.msgpack.encode(reply) for reply in derived]
    return b"\n".join(said)


def check_processes(c: Cluster) -> None:
    """Check that no command line contains a value, and that a process that may have a value in its
    memory makes no core dump."""
    assert c.master is not None
    below = processes_below(c.base)
    for pid in below:
        assert not leaks(Path(f"/proc/{pid}/cmdline").read_bytes())
    web = [pid for pid in below if b"TOKEN=" in Path(f"/proc/{pid}/environ").read_bytes() or "serve" in below[pid]]
    for pid in (c.master.pid, c.workers["ada"].pid, *web):
        limit = re.search(r"Max core file size +(\S+)", Path(f"/proc/{pid}/limits").read_text())
        assert limit is not None and limit[1] in ("0", "1"), (below.get(pid), limit)


def test_a_missing_secret_is_refused_at_once_or_at_the_dispatch(one: Cluster, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no secret 'TOKEN' on this master: set it with `titan secret set TOKEN`"):
        one.client.submit(DAG("d", [Job("a", command="true", secrets=["TOKEN"])]))
    with pytest.raises(NotFound, match="TOKEN"):
        one.client.schedules.add("n", DAG("d", [Job("a", command="true", secrets=["TOKEN"])]), every=60)
    assert one.client.secrets.set("TOKEN", TOKEN).version == 1
    first = Job("first", command=f"while ! test -e {tmp_path}/go; do sleep 0.05; done")
    run = one.client.submit(DAG("d", [first, Job("a", command="echo $TOKEN", secrets=["TOKEN"], retries=50, parents=[first])]))
    one.client.secrets.remove("TOKEN")
    (tmp_path / "go").touch()
    assert run.wait(20).state == "FAILED"
    status, _ = one.client.job(f"{run.id}/a")
    assert (status.state, status.attempt) == ("DEAD", 1)
    assert status.reason.startswith("the secret TOKEN was removed after it was submitted: set it with `titan secret set TOKEN`")
    assert one.client.secrets.set("TOKEN", TOKEN).version == 1
    assert one.client.secrets.set("TOKEN", "another value").version == 2
    one.client.retry_dead(f"{run.id}/a")
    assert run.wait(20).ok and one.output(f"{run.id}/a") == b"***\n"
    connection, spec = one.client._async._connection, stage(DAG("d", [Job("a", command="true", secrets=["TOKEN"])])).spec
    first_answer = one.client._wait(connection.call(lambda n: msg.Submit(n, "key", spec)))
    one.client.secrets.remove("TOKEN")
    again = one.client._wait(connection.call(lambda n: msg.Submit(n, "key", spec)))
    assert isinstance(again, msg.Submitted) and isinstance(first_answer, msg.Submitted)
    assert again.run == first_answer.run, "a repeated submission is not refused after the first was accepted"
    with pytest.raises(NotFound, match="there is no secret 'NONE'"):
        one.client.secrets.remove("NONE")


def test_bad_input_is_refused_and_never_repeated(one: Cluster) -> None:
    for name, value, error, why in (
        ("1X", "abcd", CallerError, "is not a valid name of a secret"),
        ("TITAN_X", "abcd", CallerError, "is not a valid name of a secret"),
        ("A B", "abcd", CallerError, "is not a valid name of a secret"),
        ("X", "abc", CallerError, "less than 4 could not be masked"),
        ("X", "hush\0hush", CallerError, "holds a NUL byte"),
        ("X", "y" * 65_537, LimitExceeded, "more than 65,536 bytes"),
    ):
        with pytest.raises(error, match=why) as caught:
            one.client.secrets.set(name, value)
        assert "hush" not in str(caught.value) and "abc" not in str(caught.value)
        with pytest.raises(error, match=why):  # the master checks the value too, because a client may not
            connection = one.client._async._connection
            one.client._wait(connection.call(lambda n, name=name, value=value: msg.SetSecret(n, name, value.encode())))  # type: ignore[misc]
    assert one.client.secrets.list() == []
    for secrets, why in ((["TITAN_X"], "not a valid name"), (["A", "A"], "twice"), ([f"S{n}" for n in range(65)], "too many")):
        with pytest.raises(InvalidGraph, match=why):
            Job("a", command="true", secrets=secrets)
    with pytest.raises(InvalidGraph, match="HOME is in env too"):
        Job("a", command="true", secrets=["HOME"], env={"HOME": "/"})
    done = one.cli("run", "--secret", "NOPE", "--", "true")
    assert done.returncode == 2 and "titan secret set NOPE" in done.stderr


class Inheriting(Cluster):
    """Cluster whose processes all inherit these variables."""

    inherited: Mapping[str, str] = NONE

    def environment(self, more: Mapping[str, str] = NONE) -> dict[str, str]:
        return super().environment({**self.inherited, **more})


@pytest.mark.parametrize("by", ["environment", "file"])
def test_a_passphrase_is_asked_for_again_and_no_process_of_a_job_has_it(tmp_path: Path, by: str) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text("correct horse battery\n")
    given = ("--secrets-passphrase-file", str(phrase)) if by == "file" else ()
    c = Inheriting(tmp_path / "c")
    c.inherited = {} if by == "file" else {"TITAN_SECRETS_PASSPHRASE": "correct horse battery"}
    look = "env; tr '\\0' '\\n' </proc/$PPID/environ; printf %s $TOKEN"
    try:
        c.start_master(*given)
        c.start_workers("ada")
        set_secrets(c)
        assert not (c.home / "secrets.key").exists()
        told = c.cli("run", "--secret", "TOKEN", "--", "sh", "-c", look)
        assert told.returncode == 0 and "TITAN_RUN" in told.stdout and "correct horse" not in told.stdout
        c.restart_master()
        assert [one.name for one in c.client.secrets.list()] == ["PEM", "TOKEN"]
    finally:
        c.close()
    (tmp_path / "wrong").write_text("wrong horse battery, and long enough for a key file\n")
    plain = Cluster(tmp_path / "plain")
    for more, said in (
        ((), "are sealed by a passphrase: give it by --secrets-passphrase-file or TITAN_SECRETS_PASSPHRASE"),
        (("--secrets-passphrase-file", str(tmp_path / "wrong")), "does not open the secrets in"),
        (("--secrets-key-file", str(tmp_path / "wrong")), "are sealed by a passphrase"),
        (("--secrets-passphrase-file", str(tmp_path / "none")), "cannot be read: No such file"),
    ):
        done = plain.cli("master", "--home", str(c.home), "--port", "0", *more)
        assert done.returncode == 2 and said in done.stderr, done
    sealed = c.home / "secrets.sealed"
    sealed.write_bytes(sealed.read_bytes()[:-7])
    done = plain.cli("master", "--home", str(c.home), "--port", "0", "--secrets-passphrase-file", str(phrase))
    assert done.returncode == 74 and "is damaged (it is cut off or overwritten): restore it from a backup" in done.stderr


def test_every_form_that_the_test_searches_for_is_masked() -> None:
    forms = forms_of([TOKEN.encode(), PEM.encode()])
    assert all(needle in forms for needle in needles())
