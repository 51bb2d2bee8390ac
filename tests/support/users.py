"""Commands that run as a user without rights."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOBODY = 65534
_SETPRIV = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --inh-caps=-all --bounding-set=-all"
_SHOW = f"""\
python=$1 hidden=$2 shown=$3; shift 3
if [ -n "$hidden" ]; then
    mkdir -p "$shown" && mount --bind "$python" "$shown" && mount -t tmpfs tmpfs "$hidden" &&
    chmod 755 "$hidden" && mkdir -p "$python" && mount --bind "$shown" "$python" || exit 99
fi
exec {_SETPRIV} "$@"
"""
"""If a folder of root hides the interpreter, an empty one takes its place in this mount namespace,
with the interpreter in it."""


def as_nobody(scratch: Path) -> list[str]:
    """Return the command that runs another one as a user without rights, who can read the
    interpreter. `scratch` is a folder that need not exist. Skips where this is not allowed."""
    if os.geteuid():
        pytest.skip("only root can become another user")
    if not shutil.which("setpriv") or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    python = Path(sys.base_prefix)
    hiding = [folder for folder in reversed(python.parents) if not folder.stat().st_mode & 0o001]
    return ["unshare", "-m", "sh", "-c", _SHOW, "sh", str(python), str(hiding[0]) if hiding else "", str(scratch)]
