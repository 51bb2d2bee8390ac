"""Jobs of one worker. No job can send requests for another job, whatever it knows of the other
job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.cluster import QUIET, Cluster, cluster
from support.waiting import until
from titan import DAG, Job
from titan.errors import CallerError

KNOWN = """
import json, os, sys, time
from pathlib import Path
from titan import context
context.store.set("secret", "of the victim")
lease = context._job_link.identify().lease if os.environ["TITAN_LEASE"].startswith("-") else int(os.environ["TITAN_LEASE"])
about = {"leases": [int(os.environ["TITAN_LEASE"]), lease], "token": os.environ.get("TITAN_CONTEXT_TOKEN", "")}
Path(sys.argv[1] + ".part").write_text(json.dumps(about))
os.rename(sys.argv[1] + ".part", sys.argv[1])
while not Path(sys.argv[2]).exists():
    time.sleep(0.01)
"""
IN_A_SHELL = """
titan context set secret 'of the victim'
echo '{"leases": ['$TITAN_LEASE'], "token": "'$TITAN_CONTEXT_TOKEN'"}' > "$1.part" && mv "$1.part" "$1"
until [ -e "$2" ]; do sleep 0.02; done
"""

ATTACK = """
import json, os, socket, sys
from pathlib import Path
from titan.net import job_link
from titan.net.job_link import SET_RESULT, SET_STATUS, WHO_AM_I, JobLink
known = json.loads(Path(sys.argv[1]).read_text())
own, told = os.environ.get("TITAN_CONTEXT_TOKEN", ""), []

def ask(lease, token):
    os.environ["TITAN_LEASE"], os.environ["TITAN_CONTEXT_TOKEN"] = str(lease), token
    job_link.PATIENCE_S = 0.2
    for opcode, fields, blob in ((SET_RESULT, (True, 6, 0), b'"evil"'), (SET_STATUS, ("evil",), None), (WHO_AM_I, (0,), None)):
        try:
            told.append(["job", opcode, repr(JobLink().ask(opcode, fields, blob))])
        except Exception as e:
            told.append(["job", opcode, f"refused: {e}"])

def store(lease, token, space):
    with socket.socket(socket.AF_UNIX) as it:
        it.settimeout(10)
        it.connect(os.environ["TITAN_CONTEXT"])
        answer = b""
        try:
            it.sendall(f"TITAN {lease} {space} {token}\\n".encode() + b"SET secret evil\\r\\n")
            while part := it.recv(4096):
                answer += part
                if b"\\r\\n" in answer:
                    break
        except OSError as e:
            answer = repr(e).encode()
        told.append([space, "SET", answer.decode()])

def attack():
    for lease in known["leases"]:
        for token in ("", own, known["token"], "0" * 32):
            ask(lease, token)
            for space in ("run", "shared"):
                store(lease, token, space)
    store(0, own, "shared")

attack()
if not os.fork():
    os.setsid()
    attack()
    Path(sys.argv[2]).write_text(json.dumps(told))
    os._exit(0)
os.wait()
"""


def attacked(c: Cluster, folder: Path) -> list[list[str]]:
    """Return all attempts to act for another job that were not refused."""
    script, told = folder / "attack.py", folder / "told"
    script.write_text(ATTACK)
    run = c.client.submit(DAG("attack", [Job("attack", file=script, args=[str(folder / "known"), str(told)], retries=0)]))
    assert run.wait(timeout=60).ok, c.client.logs(f"{run.id}/attack")
    done: list[list[str]] = json.loads(told.read_text())
    assert done
    return [one for one in done if "refused: " not in one[2] and not one[2].startswith("-NOPERM")]


@pytest.mark.parametrize("kind", ["script", "process", "command", "service"])
def test_another_job_cannot_send_requests_for_a_job(tmp_path: Path, kind: str) -> None:
    known, go, victim = tmp_path / "known", tmp_path / "go", tmp_path / "victim.py"
    victim.write_text(KNOWN)
    args = [str(known), str(go)]
    with cluster(tmp_path / "c", "w1", slots=4, settings=QUIET) as c:
        if kind == "command":
            (tmp_path / "victim.sh").write_text(IN_A_SHELL)
            job = Job("victim", file=tmp_path / "victim.sh", args=args, retries=0)
        elif kind == "service":
            job = Job("victim", type="service", file=victim, args=args, health="none", keep=True)
        else:
            job = Job("victim", file=victim, args=args, retries=0, driver="process" if kind == "process" else None)
        run = c.client.submit(DAG("d", [job]))
        until(known.exists, "the victim runs")
        assert attacked(c, tmp_path) == []
        assert c.client.job(f"{run.id}/victim")[0].status == ""
        go.touch()
        if kind != "service":
            assert run.wait(timeout=60).ok
            assert run.result("victim") is None


def known_call(folder: str) -> bytes | None:
    import sys

    sys.argv = ["", f"{folder}/known", f"{folder}/go"]
    exec(compile(KNOWN, "known", "exec"), {"__name__": "known"})
    from titan import context

    return context.store.get("secret")


def test_another_job_cannot_send_requests_for_a_call(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1", slots=4, settings=QUIET) as c:
        came = c.client.call(known_call, str(tmp_path))
        until((tmp_path / "known").exists, "the call runs")
        assert attacked(c, tmp_path) == []
        (tmp_path / "go").touch()
        assert came.result(60) == b"of the victim"


def test_a_job_cannot_set_reserved_variables(tmp_path: Path) -> None:
    for name in ("TITAN_LEASE", "TITAN_CONTEXT", "TITAN_CONTEXT_TOKEN", "TITAN_MASTER", "TITAN_ANYTHING"):
        with pytest.raises(CallerError, match=f"{name} is reserved"):
            Job("a", command="true", env={name: "1"})


CHILDREN = """
import os, subprocess, sys
from titan import context
context.result(subprocess.run([sys.executable, "-c", sys.argv[1]], check=True, capture_output=True).stdout.decode())
"""
GRANDCHILD = "import subprocess; print(subprocess.check_output(['titan', 'context', 'incr', 'n'], text=True), end='')"
LONE = """
sh -c 'setsid sh -c "while [ -d /proc/$$ ]; do sleep 0.01; done; titan context status alone; touch $0" & exit' "$1"
until [ -e "$1" ]; do sleep 0.02; done
"""


def test_grandchildren_can_send_requests_for_their_job(tmp_path: Path) -> None:
    """This includes grandchildren that left the session of the job, and one whose parents have
    ended."""
    script = tmp_path / "children.py"
    script.write_text(CHILDREN)
    lone = tmp_path / "lone.sh"
    lone.write_text(LONE)
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        jobs = [Job("a", file=script, args=[GRANDCHILD]), Job("b", command="setsid titan context status apart")]
        jobs.append(Job("c", file=lone, args=[str(tmp_path / "said")]))
        run = c.client.submit(DAG("d", jobs))
        assert run.wait(timeout=60).ok, [c.client.logs(f"{run.id}/{job}") for job in "abc"]
        assert run.result("a") == "1\n"
        assert [c.client.job(f"{run.id}/{job}")[0].status for job in "bc"] == ["apart", "alone"]
