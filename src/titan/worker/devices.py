"""Resources of this host: CPUs, memory, and the GPUs that this process may use."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from titan.worker.state_machine.resources import Resources

VISIBLE = "CUDA_VISIBLE_DEVICES"
ASK_S = 10.0
_DEVICE = re.compile(r"nvidia\d+")


def find_resources(
    *, cpus: float | None = None, memory: int | None = None, gpus: int | None = None, environment: Mapping[str, str] = os.environ
) -> Resources:
    """Return the host's resources. Amounts passed as arguments override the measured ones. `memory`
    is in bytes.

    The GPUs are those in CUDA_VISIBLE_DEVICES. If the variable is not set, they are numbered from
    0. `gpus` sets their number.
    """
    devices = _visible(environment)
    if gpus is not None:
        named = devices if devices is not None and len(devices) >= gpus else tuple(map(str, range(gpus)))
        devices = named[:gpus]
    elif devices is None:
        devices = tuple(map(str, range(count_gpus())))
    return Resources(
        float(len(os.sched_getaffinity(0))) if cpus is None else cpus,
        _memory() if memory is None else memory,
        devices,
    )


def _memory() -> int:
    """Return the memory in bytes that /proc/meminfo shows: that of this machine, or of this
    container if the container replaces /proc/meminfo."""
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:")) << 10
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _visible(environment: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the devices in CUDA_VISIBLE_DEVICES, None if the variable is not set. As in CUDA, a
    negative entry ends the list."""
    text = environment.get(VISIBLE)
    if text is None:
        return None
    found: list[str] = []
    for name in (part.strip() for part in text.split(",")):
        if not name or name.startswith("-"):
            break
        if name not in found:
            found.append(name)
    return tuple(found)


def count_gpus(dev: Path = Path("/dev"), proc: Path = Path("/proc/driver/nvidia/gpus")) -> int:
    """Return the number of NVIDIA GPUs. nvidia-smi is asked first, because in a container it lists
    only the GPUs that the container may use. If nvidia-smi does not answer, the driver's device
    files are counted."""
    listed = _ask_driver()
    if listed is not None:
        return listed
    try:
        by_device = sum(_DEVICE.fullmatch(name) is not None for name in os.listdir(dev))
    except OSError:
        by_device = 0
    if by_device:
        return by_device
    return len(os.listdir(proc)) if proc.is_dir() else 0


def _ask_driver() -> int | None:
    """Return the number of GPUs that nvidia-smi lists, None if nvidia-smi is missing or fails."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    try:
        done = subprocess.run(
            [command, "--list-gpus"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ASK_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines()) if done.returncode == 0 else None
