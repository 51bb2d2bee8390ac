"""All public names of `titan` can be imported, are listed, and are documented."""

from __future__ import annotations

import inspect
import subprocess
import sys

import titan


def test_dir_lists_public_names_before_they_are_imported() -> None:
    program = "import titan; assert 'Client' not in vars(titan); print(*sorted(set(titan.__all__) - set(dir(titan))))"
    listed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "\n", "")


def test_every_public_name_has_a_docstring_of_its_own() -> None:
    for name in titan.__all__:
        value = getattr(titan, name)
        if name != "__version__":
            assert len(inspect.getdoc(value) or "") > 20, name
