"""Facts about the machine and the versions that a reader needs to judge the figures. No fact
identifies the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil


def facts(scratch: Path) -> dict[str, str]:
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _processor(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "filesystem of the data": _filesystem(scratch),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _filesystem(path: Path) -> str:
    best = max(
        (each for each in psutil.disk_partitions(all=True) if path.resolve().is_relative_to(each.mountpoint)),
        key=lambda each: len(each.mountpoint),
        default=None,
    )
    return best.fstype if best is not None else "?"
