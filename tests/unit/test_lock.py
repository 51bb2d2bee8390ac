"""requirements.lock has what pyproject.toml requires, pinned and with hashes, and does not tell
where it was made."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
ENTRY = re.compile(r"^([A-Za-z0-9._-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)


def wanted() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(text) for text in project["dependencies"]]


def test_every_dependency_is_locked_at_a_version_that_is_allowed() -> None:
    locked = {canonicalize_name(name): version for name, version, _ in ENTRY.findall(LOCK)}
    for requirement in wanted():
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in requirements.lock: make lock"
        assert requirement.specifier.contains(version), f"{requirement} is not met by {version}: make lock"


def test_the_lock_holds_entries_with_hashes_alone() -> None:
    rest = ENTRY.sub("", LOCK)
    assert all(not line or line.startswith("#") for line in rest.splitlines()), rest[:500]
    assert "://" not in LOCK and "--index" not in LOCK and "--find" not in LOCK
