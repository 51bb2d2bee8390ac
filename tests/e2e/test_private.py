"""A master and a worker protect their homes, keys and memory from other users and from jobs. Also
tested as a user without privileges."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest

from support.cluster import NONE, QUIET, Cluster, cluster
from support.users import NOBODY, as_nobody
from support.waiting import until
from titan import DAG, Job

PASSPHRASE = "correct horse battery staple"
WEBHOOK = "a secret of webhooks"
HERE, LIFE = "tests/e2e/test_private.py", "tests/e2e/test_worker_life.py"
AS_NOBODY = {
    "homes": [
        f"{HERE}::test_jobs_have_the_umask_of_the_command_and_their_worker_a_narrow_one",
        f"{HERE}::test_homes_are_closed_to_other_users_and_ignored_by_git",
    ],
    "keys": [
        f"{HERE}::test_keys_leave_the_environment",
        f"{HERE}::test_a_private_cluster_seals_secrets_with_a_passphrase_that_leaves_its_environment",
        f"{HERE}::test_a_job_cannot_read_the_memory_of_its_worker",
    ],
    "ends": [
        f"{LIFE}::test_a_worker_drains_on_sigterm",
        f"{LIFE}::test_a_killed_worker_leaves_no_process_and_its_jobs_run_elsewhere",
        f"{LIFE}::test_a_worker_that_is_started_again_after_its_death_runs_its_job_again",
    ],
}
"""Tests that a user without rights runs too."""


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def status_of(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))


def said_a_line(c: Cluster, job: str) -> bool:
    return c.output(job).decode().endswith("\n")


def umask_of_call() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


def test_jobs_have_the_umask_of_the_command_and_their_worker_a_narrow_one(tmp_path: Path, umask: int) -> None:
    script = tmp_path / "umask.py"
    script.write_text("import os\nm = os.umask(0)\nprint(f'{m:04o}')\n")
    (tmp_path / "project").mkdir()
    with cluster(tmp_path / "c", "w1", slots=4, settings={**QUIET, "burst_idle_s": 60}, options=("--scale", "CLOUD=0..1")) as c:
        jobs = {
            "command": Job("command", command="umask"),
            "warm": Job("warm", file=script),
            "process": Job("process", file=script, driver="process"),
            "elsewhere": Job("elsewhere", file=script, python=sys.executable),
            "limited": Job("limited", command="umask", limits={"processes": 100}),
            "burst": Job("burst", file=script, requirement="CLOUD"),
            "service": Job("service", type="service", command="umask; exec sleep 600", health="none", keep=True),
        }
        run = c.client.submit(DAG("d", list(jobs.values())))
        for name in jobs:
            until(partial(said_a_line, c, f"{run.id}/{name}"), f"{name} has printed", 60)
            assert c.printed(run, name) == "0027\n", name
        assert c.client.call(umask_of_call).result(60) == umask
        assert c.master is not None
        for pid in (c.master.pid, c.workers["w1"].pid):
            assert status_of(pid, "Umask") == "0077"
        for log in c.worker_home("w1").glob("titan_workspace/jobs/*/*.stdout"):
            assert mode(log) == 0o600
        c.client.cancel(run.id)


def test_homes_are_closed_to_other_users_and_ignored_by_git(tmp_path: Path) -> None:
    with cluster(tmp_path / "c", "w1") as c:
        for home in (c.home, c.worker_home("w1")):
            assert mode(home) == 0o700
            assert (home / ".gitignore").read_text() == "*\n"
        c.kill_worker("w1")
        c.worker_home("w1").chmod(0o777)
        c.home.chmod(0o755)
        (c.home / ".gitignore").unlink()
        c.restart_master()
        c.start_workers("w1")
        assert mode(c.home) == mode(c.worker_home("w1")) == 0o700
        assert not (c.home / ".gitignore").exists(), "a removed .gitignore is not written again"
        assert c.master is not None and "was open to other users (mode 755): it is closed now" in c.master.err


def test_the_home_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    for words in (["master", "--port", "0"], ["worker", "--name", "w", "--master", "127.0.0.1:1"], ["store", "--port", "0"]):
        done = subprocess.run(
            [sys.executable, "-m", "titan", *words, "--home", str(home)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 74, done
        assert f"the home {home} belongs to nobody, and this process runs as root" in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "titan", "master", "--port", "0", "--home", "/tmp"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 74 and "is a folder for all users" in done.stderr


class WithKeys(Cluster):
    def environment(self, more: Mapping[str, str] = NONE) -> dict[str, str]:
        return {**super().environment(more), "TITAN_SECRETS_PASSPHRASE": PASSPHRASE, "TITAN_WEBHOOK_SECRET": WEBHOOK}


def test_keys_leave_the_environment(tmp_path: Path) -> None:
    """The keys leave the environment of the master, of a worker that inherits them, and of all
    processes that they start."""
    c = WithKeys(tmp_path / "c")
    try:
        c.start_master("--scale", "CLOUD=1..1")
        c.start_workers("w1")
        c.client.secrets.set("TOKEN", "sealed value")
        run = c.client.submit(DAG("d", [Job("a", command='[ "$TOKEN" = "sealed value" ] && env', secrets=["TOKEN"])]))
        assert run.wait(timeout=60).ok
        said = c.printed(run, "a")
        c.restart_master()  # the master opens the secrets with the same passphrase
        assert [one.name for one in c.client.secrets.list()] == ["TOKEN"]
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{name}/cmdline").read_bytes()
                environment = Path(f"/proc/{name}/environ").read_bytes()
                if os.fsencode(c.base) in command:
                    assert PASSPHRASE.encode() not in environment and WEBHOOK.encode() not in environment, command
        assert PASSPHRASE not in said and WEBHOOK not in said
    finally:
        c.close()


def test_a_private_cluster_seals_secrets_with_a_passphrase_that_leaves_its_environment(tmp_path: Path) -> None:
    c = WithKeys(tmp_path / "c")
    try:
        up = c.spawn("up", "--port", "0", label="up")
        until(lambda: "Titan is up at" in up.err, "it is up")
        about = {"TITAN_MASTER": up.err.partition("Titan is up at ")[2].split()[0]}
        (tmp_path / "value").write_text("sealed value")
        assert c.cli("secret", "set", "TOKEN", "--file", str(tmp_path / "value"), env=about).returncode == 0
        (secrets,) = c.base.glob(".titan/secrets.sealed")
        assert b"passphrase" in secrets.read_bytes()
        environment = Path(f"/proc/{up.pid}/environ").read_bytes()
        assert PASSPHRASE.encode() not in environment
    finally:
        c.close()


def test_a_job_cannot_read_the_memory_of_its_worker(tmp_path: Path) -> None:
    if not os.geteuid():
        pytest.skip("root can read everything: see the test below")
    with cluster(tmp_path / "c", "w1", settings=QUIET) as c:
        assert c.master is not None
        peek = (
            f"for pid in {c.master.pid} {c.workers['w1'].pid}; do head -c 1 /proc/$pid/environ || head -c 1 /proc/$pid/maps; done"
        )
        run = c.client.submit(DAG("d", [Job("a", command=f"{peek} 2>/dev/null; true")]))
        assert run.wait(timeout=60).ok
        assert c.printed(run, "a") == ""


@pytest.mark.parametrize("part", AS_NOBODY)
def test_a_user_without_privileges_has_the_same_protection(part: str) -> None:
    """Run this file, and the tests of a worker's end and of the cleanup by the next worker, as an
    unprivileged user. Some entries of /proc that these need then belong to root."""
    root = Path(__file__).parents[2]
    home = Path(tempfile.mkdtemp(prefix="titan-nobody-"))  # this folder is not below a folder of root
    try:
        os.chown(home, NOBODY, NOBODY)
        pytest_ = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "--basetemp", str(home / "t")]
        env = {**os.environ, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*as_nobody(home / "python"), *pytest_, *AS_NOBODY[part]],
            cwd=root, env=env, capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        if done.returncode == 99:
            pytest.skip(f"python cannot be shown to another user: {done.stderr}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "skipped" not in done.stdout and f"{len(AS_NOBODY[part])} passed" in done.stdout
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_all_tests_of_this_file_that_need_no_root_run_as_a_user_without_privileges() -> None:
    here = {name for name in globals() if name.startswith("test_")}
    named = {name.partition("::")[2] for part in AS_NOBODY.values() for name in part if name.startswith(HERE)}
    assert {name for name in here - named if "without_privileges" not in name} == {"test_the_home_of_another_user_is_refused"}
