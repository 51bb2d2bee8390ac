"""README typed by hand on two machines: network namespaces with folders of their own.

    python -m support.two_machines               # the machines have this machine's files
    python -m support.two_machines --bare DIR    # each is a bare Debian 12 in DIR

The master listens on the first machine, and each machine has a worker. Every block of README is
typed on the first machine, each in a shell with the environment of the one before. With `--bare`,
so are `make demo` and the installation. Then the census runs on both machines. Exit code 0: all
worked, and both machines ran jobs of the census. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.places import Network, enter
from support.pages import ROOT, Block, blocks
from support.waiting import until

PORT = 9090
OUTSIDE = "TWO_MACHINES_OUTSIDE"
"""Variable with the descriptor of the network in which the program was started."""
ADDRESS = "10.77.0.11"
"""Of the first machine, as `Network` numbers its hosts."""
TYPED_IN_S = 600
NOT_TYPED = ("make test",)
"""CI runs it on a bare machine: `.ci/run`."""
INSTALLED_BEFORE = ("python3", "python3-pip", "git", "make", "ca-certificates")
"""Packages that README asks for, and the certificates for pip."""

SETTINGS = (
    ("/etc/resolv.conf", "etc/resolv.conf"),
    ("/etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/ca-certificates.crt"),
    ("/etc/pip.conf", "etc/pip.conf"),
    ("~/.config/pip/pip.conf", "root/.config/pip/pip.conf"),
)
"""Files with which a bare machine reaches the package index of this one."""


@dataclass
class Machine:
    """Where commands are typed. `folder` is the path of the checkout on this machine."""

    name: str
    prefix: Sequence[str]
    folder: str
    environment: dict[str, str] = field(default_factory=dict)
    kept: Path | None = None
    """File, as this process sees it, in which a shell leaves its environment for the next one."""

    def type(self, text: str, *, online: bool = False) -> str:
        """Return stdout of commands for bash. Raises AssertionError if the last command fails.

        `online`: outside the machine's network, because a package index is needed.
        """
        script = f"cd {self.folder}\n{text}\nenv -0 > {self.folder}/.environment\n"
        done = subprocess.run(
            [*(_outside(self.prefix) if online else self.prefix), "bash", "-euo", "pipefail", "-c", script],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TYPED_IN_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"on {self.name}, exit code {done.returncode}:\n{text}\n{done.stdout}\n{done.stderr}"
        if self.kept is not None:
            pairs = (item.partition("=") for item in self.kept.read_text().split("\0") if item)
            self.environment = {name: value for name, _, value in pairs}
        return done.stdout

    @contextlib.contextmanager
    def serve(self, command: str, ready: str) -> Iterator[None]:
        """Run a server from its first line with `ready` to the end of the context."""
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [*self.prefix, "bash", "-c", f"cd {self.folder} && exec {command}"],
                env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

            def said() -> str:
                output.seek(0)
                return output.read()

            try:
                until(lambda: ready in said() or process.poll() is not None, f"{command} on {self.name}", 60)
                assert process.poll() is None, f"{command} on {self.name}: {said()}"
                yield
            finally:
                process.terminate()
                process.wait(30)


def type_page(machine: Machine, page: Path, *, online: bool = False) -> int:
    """Type the blocks of a page, except those that the tests of pages skip. Return their number."""
    typed = 0
    for block in blocks(page):
        command = "" if block.skipped else _command(block)
        if command:
            print(f"{block.place}: {block.text.splitlines()[0]}", flush=True)
            machine.type(command, online=online)
            typed += 1
    return typed


def _command(block: Block) -> str:
    """What a reader types for a block; "" for nothing."""
    if block.file:
        return f"cat > {block.file} <<'END OF FILE'\n{block.text}END OF FILE"
    if block.language == "python":
        return f"python3 - <<'END OF PROGRAM'\n{block.text}END OF PROGRAM"
    if block.language == "sh":
        return "\n".join(line for line in block.text.splitlines() if not line.startswith(NOT_TYPED))
    return ""


def check_census(machine: Machine) -> str:
    """Run the census on both machines. Return the lines of its report."""
    machine.type("titan run examples/census/pipeline.yaml")
    status = json.loads(machine.type("titan status last --json"))
    jobs = {name: sum(job["worker"] == name for job in status["jobs"]) for name in ("one", "two")}
    assert sum(jobs.values()) == 32 and min(jobs.values()) > 0, jobs
    machine.type("titan artifact get last/report.report.md report.md")
    print(f"census: {jobs['one']} jobs on one, {jobs['two']} on two", flush=True)
    return machine.type("cat report.md")


def play(one: Machine, two: Machine, *, bare: bool) -> None:
    """Type README, with a master and two workers on two machines. Raises AssertionError."""
    page = ROOT / "README.md"
    with contextlib.ExitStack() as stack:
        if bare:  # its first blocks install what the servers need
            type_page(one, _installation(page, stack), online=True)
            two.environment = dict(one.environment)
        stack.enter_context(one.serve(f"titan master --host {ADDRESS} --insecure", f"{ADDRESS}:{PORT}"))
        for machine in (one, two):
            worker = f"titan worker --master {ADDRESS}:{PORT} --name {machine.name} --slots 2"
            stack.enter_context(machine.serve(worker, "registered"))
        assert type_page(one, page) >= 3
        assert "Census" in check_census(one)


def _installation(page: Path, stack: contextlib.ExitStack) -> Path:
    """Return a page with the blocks that the tests of README skip: they install Titan."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    made = folder / "installation.md"
    made.write_text("".join(f"```sh\n{block.text}```\n" for block in blocks(page) if block.skipped))
    return made


def on_this_system(base: Path, network: Network) -> None:
    """Both machines have the files of this one, but the checkout of each is a file system of its
    own."""
    machines = []
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    inherited = {"PATH": path, "HOME": str(base), **_named("PYTHONPATH")}
    for name in ("one", "two"):
        folder = base / "checkout"
        folder.mkdir(exist_ok=True)
        keeper = _own_mounts(network.prefix(name), f"mount -t tmpfs tmpfs {folder}")
        enter_it = ["nsenter", f"--mount=/proc/{keeper.pid}/ns/mnt"]
        kept = Path(f"/proc/{keeper.pid}/root{folder}/.environment")
        machines.append(Machine(name, [*network.prefix(name), *enter_it], str(folder), dict(inherited), kept))
    one, two = machines
    subprocess.run([*one.prefix, "cp", "-r", str(ROOT / "examples"), one.folder], check=True)
    play(one, two, bare=False)


def on_bare_debian(base: Path, network: Network, binds: Sequence[str]) -> None:
    """Both machines are a Debian 12 with only the packages that README names, and a clone of this
    checkout. A system that an earlier run left in `base` is used again."""
    root = base / "one"
    if not (base / "two").exists():
        if shutil.which("debootstrap") is None:
            sys.exit("debootstrap is not installed: apt-get install debootstrap")
        options = ["--variant=minbase", f"--include={','.join(INSTALLED_BEFORE)}"]
        subprocess.run([*_outside(), "debootstrap", *options, "bookworm", str(root), *_mirror()], check=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(root), str(base / "two")], check=True)
    for machine in (root, base / "two"):
        shutil.rmtree(machine / "root/titan", ignore_errors=True)
        subprocess.run(["git", "clone", "-q", str(ROOT), str(machine / "root/titan")], check=True)
        for source, target in SETTINGS:
            if (path := Path(source).expanduser()).exists():
                (machine / target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, machine / target)
    machines = []
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", **_named("PIP_")}
    for name in ("one", "two"):
        inside = base / name
        mounts = [f"mount -t proc proc {inside}/proc", f"mount --rbind /dev {inside}/dev"]
        mounts += [f"mkdir -p {inside}{bind} && mount --bind {bind} {inside}{bind}" for bind in binds]
        keeper = _own_mounts(network.prefix(name), " && ".join(mounts))
        prefix = [*network.prefix(name), "nsenter", f"--mount=/proc/{keeper.pid}/ns/mnt", "chroot", str(inside)]
        machines.append(Machine(name, prefix, "/root/titan", dict(environment), inside / "root/titan/.environment"))
    one, two = machines
    # the second machine is installed in the same way, without being watched
    two.type("make demo", online=True)
    play(one, two, bare=True)


def _outside(prefix: Sequence[str] = ()) -> list[str]:
    """Return the prefix of a command in the network in which this program was started.

    `prefix`: of a machine, whose network is replaced.
    """
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{os.environ[OUTSIDE]}", *prefix[2:]]


def _mirror() -> list[str]:
    """Return the address from which this machine has its packages, if apt knows one."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", "Codename: bookworm"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    return found[:1]


def _named(start: str) -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(start)}


def _own_mounts(prefix: Sequence[str], mounts: str) -> subprocess.Popen[bytes]:
    """A process that keeps a mount namespace with these mounts until this process ends."""
    script = f"{mounts} && echo && exec cat"
    keeper = subprocess.Popen([*prefix, "unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert keeper.stdout is not None and keeper.stdout.readline() == b"\n", "no file systems of its own"
    return keeper


def main() -> None:
    if OUTSIDE not in os.environ:
        network = os.open("/proc/self/ns/net", os.O_RDONLY)
        os.set_inheritable(network, True)
        os.environ[OUTSIDE] = str(network)
    reason = enter("support.two_machines", sys.argv[1:])
    if reason:
        sys.exit(f"two machines cannot be made here: {reason}")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bare", metavar="DIR", type=Path)
    parser.add_argument("--bind", action="append", default=[], help="a folder of this machine that the bare machines see too")
    asked = parser.parse_args()
    hosts = Network(["one", "two"])
    if asked.bare:
        asked.bare.mkdir(parents=True, exist_ok=True)
        on_bare_debian(asked.bare.resolve(), hosts, asked.bind)
    else:
        with tempfile.TemporaryDirectory() as folder:
            on_this_system(Path(folder), hosts)
    print("README works on two machines")


if __name__ == "__main__":
    main()
