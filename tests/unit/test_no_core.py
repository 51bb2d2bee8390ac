"""Core dumps are forbidden once. A program that is started within `core_dumps_as_before` has the
previous limit."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """\
import resource, subprocess, sys
from titan.host.core_dumps import core_dumps_as_before, forbid_core_dumps
own = lambda: resource.getrlimit(resource.RLIMIT_CORE)[0]
child = lambda: int(subprocess.check_output(["sh", "-c", "grep 'core file' /proc/self/limits"]).split()[4])
resource.setrlimit(resource.RLIMIT_CORE, (4096, HARD))
with core_dumps_as_before():
    said = [own(), child()]
forbid_core_dumps()
forbid_core_dumps()
said += [own(), child()]
with core_dumps_as_before(), core_dumps_as_before():
    said += [own(), child()]
said += [own()]
print(said)
"""


@pytest.mark.parametrize("hard", [-1, 8192])
def test_core_dumps_are_forbidden_and_allowed_again_for_children(hard: int) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.replace("HARD", str(hard))], capture_output=True, text=True, check=False)
    if "not allowed to raise" in done.stderr:
        pytest.skip("the limit on core dumps cannot be raised here")
    assert done.stdout == "[4096, 4096, 1, 1, 4096, 4096, 1]\n", done.stderr
