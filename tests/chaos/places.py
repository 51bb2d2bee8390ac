"""Hosts and disks of a chaos test: network namespaces on one bridge, and small disks that can be
filled.

All of them lie in a network namespace and a mount namespace that `enter` makes for the test. These
namespaces have no names, so the kernel removes them when no process is left in them. This also
works after a SIGKILL of the test.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HUB = "10.77.0.1"
INSIDE = "CHAOS_INSIDE"
LOSS_PERCENT = 30
RULES = """\
table ip chaos {
  chain from { type filter hook input priority 0; }
  chain to { type filter hook output priority 0; }
}
"""
TOOLS = ("ip", "nft", "nsenter", "unshare", "mount")


def why_not() -> str:
    """Return why this process may not have namespaces of its own; "" if it may."""
    found = {folder / tool for tool in TOOLS for folder in map(Path, ("/usr/sbin", "/usr/bin", "/sbin", "/bin"))}
    missing = sorted(set(TOOLS) - {path.name for path in found if path.exists()})
    if missing:
        return f"not installed: {', '.join(missing)} (sh tests/packages.sh)"
    script = f"ip link set lo up && ip link add name chaos0 type bridge && mount -t tmpfs tmpfs /mnt && echo '{RULES}' | nft -f -"
    tried = subprocess.run(["unshare", "--net", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
    return f"this user may not: {tried.stderr.strip() or tried.returncode}" if tried.returncode else ""


def enter(module: str, arguments: Sequence[str]) -> str:
    """Start `module` again in namespaces of its own. Return "" in the new process, and otherwise
    the reason why there is none."""
    if INSIDE in os.environ:
        _run("ip", "link", "set", "lo", "up")
        _run("mount", "-t", "tmpfs", "-o", "size=512m,mode=1777", "tmpfs", "/dev/shm")
        return ""
    reason = why_not()
    if not reason:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, "-m", module, *arguments])
    return reason


class Network:
    """Network with a host for each worker. The master is at HUB, in the namespace of this process.
    Each worker has a namespace of its own."""

    def __init__(self, names: Sequence[str]) -> None:
        self._hosts: dict[str, tuple[int, str]] = {}
        _run("ip", "link", "add", "name", "chaos0", "type", "bridge")
        _run("ip", "address", "add", f"{HUB}/24", "dev", "chaos0")
        _run("ip", "link", "set", "chaos0", "up")
        subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True)
        for number, name in enumerate(names):
            fd = _new_namespace()
            self._hosts[name] = (fd, f"10.77.0.{11 + number}")
            _run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", _path(fd))
            _run("ip", "link", "set", f"v{number}", "master", "chaos0", "up")
            for command in (("address", "add", f"10.77.0.{11 + number}/24", "dev", "eth0"), ("link", "set", "eth0", "up")):
                _run(*self.prefix(name), "ip", *command)
            _run(*self.prefix(name), "ip", "link", "set", "lo", "up")

    def prefix(self, name: str) -> list[str]:
        """Return the words to put before a command that runs on this host."""
        return ["nsenter", f"--net={_path(self._hosts[name][0])}"]

    def drop(self, name: str, *chains: str) -> None:
        self._rules(name, chains, "drop")

    def lose(self, name: str) -> None:
        self._rules(name, ("from", "to"), f"numgen random mod 100 < {LOSS_PERCENT} drop")

    def reset(self, name: str) -> None:
        self._rules(name, ("from",), "tcp flags & (syn | rst) == 0 reject with tcp reset")

    def heal(self) -> None:
        _run("nft", "flush", "table", "ip", "chaos")

    def close(self) -> None:
        for fd, _ in self._hosts.values():
            os.close(fd)

    def _rules(self, name: str, chains: Sequence[str], verdict: str) -> None:
        address = self._hosts[name][1]
        for chain in chains:
            _run("nft", f"add rule ip chaos {chain} ip {'saddr' if chain == 'from' else 'daddr'} {address} {verdict}")


class SmallDisk:
    """File system of its own at `folder`, which `fill` leaves without room."""

    def __init__(self, folder: Path, mib: int) -> None:
        self._filler = folder / "filler"
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=700", "tmpfs", str(folder))

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            while filler.write(bytes(1 << 16)):
                pass

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        _run("umount", "-l", str(self.folder))


def _new_namespace() -> int:
    """Return the descriptor of a new network namespace. The namespace exists as long as the
    descriptor is open."""
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; read line"], stdin=-1, stdout=-1) as made:
        assert made.stdout is not None and made.stdout.readline() == b"\n", "no network namespace"
        return os.open(f"/proc/{made.pid}/ns/net", os.O_RDONLY)


def _path(fd: int) -> str:
    return f"/proc/{os.getpid()}/fd/{fd}"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
